// SPDX-License-Identifier: Apache-2.0
#include "lib/vmm/example/options.h"

#include <CLI/CLI.hpp>
#include <fstream>

namespace berth::example {
namespace {

constexpr char kFooter[] =
    "Exit codes: 0 done; 2 command line, token file or trace; 3 the agent refused the attachment;\n"
    "4 a later call failed; 5 a command was not executed or an error not reported; 6 a system call "
    "failed.";

bool ReadToken(const std::string& path, std::string* token) {
  std::ifstream file(path);
  return static_cast<bool>(file >> *token);
}

}  // namespace

bool ParseOptions(int argc, char** argv, Options* options, int* exit_status) {
  CLI::App app("Attaches to an assignment as a VM would and drives its command queues.");
  app.footer(kFooter);
  app.add_option("--socket", options->socket, "the agent's VMM socket")->required();
  app.add_option("--assignment", options->assignment, "uid of the assignment")->required();
  auto* token = app.add_option("--token", options->token, "attach token");
  auto* file = app.add_option("--token-file", options->token_file, "file with the attach token");
  token->excludes(file);
  app.add_option("--trace", options->traces,
                 "recorded commands to play: NAME or DIRECTORY/NAME; repeatable (default: all that "
                 "are installed)");
  app.add_option("--repeat", options->repeat, "how often each trace is played")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  app.add_option("--memory", options->memory, "guest memory, e.g. 64M")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(size_t{1} << 20, size_t{1} << 40))
      ->default_str("64M");
  app.add_flag("--json", options->json, "print one JSON object");
  app.add_flag("--hold", options->hold,
               "stay attached after the play until SIGTERM, SIGINT or the end of stdin");
  app.add_flag("!--without-error", options->provoke,
               "send no illegal command: of those in a CMDQV without an interrupt nobody hears");
  app.add_option("--bench", options->bench,
                 "attach: only measure attaching; continuity: invalidate until SIGTERM, SIGINT or "
                 "the end of stdin, and measure each batch; prints JSON")
      ->check(CLI::IsMember({"attach", "continuity"}));
  app.add_option("--samples", options->samples, "attachments of --bench")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
    if (token->count() + file->count() == 0) {
      throw CLI::RequiredError("--token or --token-file");
    }
    if (file->count() != 0 && !ReadToken(options->token_file, &options->token)) {
      throw CLI::ValidationError("--token-file", "cannot be read: " + options->token_file);
    }
  } catch (const CLI::ParseError& error) {
    *exit_status = app.exit(error) == 0 ? 0 : static_cast<int>(ExitCode::kUsage);
    return false;
  }
  return true;
}

}  // namespace berth::example
