// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>

#include "absl/strings/str_cat.h"
#include "ctl/cli/commands/flags.h"

namespace berth::cli {
namespace {

std::string FlagsOf(const CLI::App& app) {
  std::string flags;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) absl::StrAppend(&flags, " --", name);
    for (const std::string& name : option->get_snames()) absl::StrAppend(&flags, " -", name);
  }
  return flags;
}

std::string CommandsOf(const CLI::App& app) {
  std::string names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    absl::StrAppend(&names, " ", command->get_name());
  }
  return names;
}

bool TakesTargets(const CLI::App& command) {
  return command.get_option_no_throw("resource") != nullptr;
}

// One case per command: its own subcommands or types of resources, and its flags.
std::string BashScript(const CLI::App& root) {
  std::string types;
  for (const ResourceType* type : ResourceTypes()) {
    types += absl::StrCat(" ", std::string(type->singular()), " ", std::string(type->collection()));
  }
  std::string cases;
  for (const CLI::App* command : root.get_subcommands([](const CLI::App*) { return true; })) {
    absl::StrAppend(&cases, "    ", command->get_name(), ") words=\"", CommandsOf(*command),
                    TakesTargets(*command) ? types : "", FlagsOf(*command), "\" ;;\n");
  }
  return absl::StrCat(
      "# bash completion of berthctl: source <(berthctl completion bash)\n"
      "_berthctl() {\n"
      "  local word command='' words i\n"
      "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
      "    word=${COMP_WORDS[i]}\n"
      "    case $word in -*) ;; *) command=$word; break ;; esac\n"
      "  done\n"
      "  case $command in\n",
      cases, "    *) words=\"", CommandsOf(root), "\" ;;\n",
      "  esac\n"
      "  words=\"$words",
      FlagsOf(root),
      "\"\n"
      "  mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\")\n"
      "}\n"
      "complete -o default -F _berthctl berthctl\n");
}

}  // namespace

void AddCompletion(CLI::App& app, Run* run) {
  CLI::App* command = AddCommand(app, "completion", "Print a completion script for a shell", run,
                                 [&app](Session& session) -> absl::Status {
                                   session.out() << BashScript(app);
                                   return absl::OkStatus();
                                 });
  command->add_option("shell", "Which shell")
      ->required()
      ->check(CLI::IsMember({"bash"}).description(""))
      ->type_name("bash");
}

}  // namespace berth::cli
