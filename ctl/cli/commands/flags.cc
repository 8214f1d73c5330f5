// SPDX-License-Identifier: Apache-2.0
#include "ctl/cli/commands/flags.h"

#include <CLI/CLI.hpp>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "ctl/cli/failure.h"
#include "lib/base/absl_view.h"
#include "lib/base/ids.h"
#include "lib/base/status.h"
#include "lib/config/duration.h"

namespace berth::cli {

CLI::App* AddCommand(CLI::App& app, const char* name, const char* description, Run* run, Run work) {
  CLI::App* command = app.add_subcommand(name, description);
  command->fallthrough();
  command->footer("`berthctl --help` lists the options of all commands, and the exit codes.");
  command->callback([run, work = std::move(work)] { *run = work; });
  return command;
}

void AddOutput(CLI::App* command, Formats formats, Format* format) {
  std::map<std::string, Format> choices = {{"json", Format::kJson}, {"yaml", Format::kYaml}};
  if (formats != Formats::kData) choices["name"] = Format::kName;
  if (formats == Formats::kAll) choices["wide"] = Format::kWide;
  std::string names;
  for (const auto& [name, unused] : choices)
    absl::StrAppend(&names, names.empty() ? "" : "|", name);
  command->add_option("-o,--output", *format, "How to print")
      ->transform(CLI::Transformer(choices).description(""))
      ->check(CLI::Validator(
          [names](const std::string& value) {
            // The transformer has replaced what it knows by a number.
            return value.find_first_not_of("0123456789") == std::string::npos
                       ? ""
                       : absl::StrCat("\"", value, "\" is none of ", names);
          },
          ""))
      ->type_name(names);
}

CLI::Option* AddTargets(CLI::App* command, std::vector<std::string>* words) {
  return command
      ->add_option("resource", *words, "TYPE, TYPE NAME... or TYPE/NAME...; TYPE,TYPE for several")
      ->type_name("TYPE [NAME]...")
      ->required();
}

void AddNames(CLI::App* command, const char* name, const char* description,
              std::vector<std::string>* words) {
  command->add_option(name, *words, description)->required()->type_name("NAME");
}

CLI::Option* AddFiles(CLI::App* command, std::vector<std::string>* files) {
  return command->add_option("-f,--filename", *files, "YAML or JSON; - is the standard input")
      ->type_name("FILE")
      ->required()
      ->allow_extra_args(false);
}

absl::StatusOr<Filter> ViewFlags::filter() const {
  Filter filter;
  for (const std::string& pair : selector) {
    const size_t equals = pair.find('=');
    if (equals == 0 || equals == std::string::npos) {
      return UsageError(absl::StrCat("--selector ", pair, ": expected KEY=VALUE"));
    }
    filter.labels[pair.substr(0, equals)] = pair.substr(equals + 1);
  }
  if (!host.empty()) {
    BERTH_ASSIGN_OR_RETURN(filter.host, FullName(HostType(), host));
  }
  return filter;
}

void AddViewFlags(CLI::App* command, ViewFlags* flags) {
  AddOutput(command, Formats::kAll, &flags->format);
  command->add_flag_callback(
      "--no-headers", [flags] { flags->headers = Headers::kNo; }, "Leave out the first line");
  command->add_option("-l,--selector", flags->selector, "Only with these labels")
      ->type_name("KEY=VALUE,...")
      ->delimiter(',')
      ->allow_extra_args(false);
  command->add_option("--host", flags->host, "Only assignments on this host")->type_name("HOST");
}

void AddTokenFlags(CLI::App* command, TokenFlags* flags) {
  command->add_option("--token-file", flags->file, "Write the attach token to a file, mode 0600")
      ->type_name("FILE");
  command->add_flag("--show-token", flags->show,
                    "Print the attach token, also as part of -o json|yaml");
}

absl::StatusOr<google::protobuf::Duration> ParseDuration(std::string_view name,
                                                         std::string_view text) {
  absl::Duration duration;
  if (!absl::ParseDuration(AbslView(text), &duration) || duration < absl::ZeroDuration() ||
      duration == absl::InfiniteDuration()) {
    return UsageError(absl::StrCat(AbslView(name), ": expected a duration: 90s, 10m, 1h30m"));
  }
  return ToProtoDuration(duration);
}

void AddRequestId(CLI::App* command, std::string* request_id) {
  command
      ->add_option("--request-id", *request_id, "Makes repeating the command harmless [new UUID]")
      ->type_name("ID");
}

std::string RequestIdOr(const std::string& given) { return given.empty() ? NewUuid() : given; }

}  // namespace berth::cli
