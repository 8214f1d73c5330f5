// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "ctl/cli/commands/flags.h"
#include "lib/base/reason.h"
#include "lib/base/status.h"

namespace berth::cli {
namespace {

struct Options {
  std::vector<std::string> names;
};

constexpr Reason kAllReasons[] = {
#define BERTH_CLI_REASON(number, enumerator, name, code, meaning) Reason::enumerator,
    BERTH_REASONS(BERTH_CLI_REASON)
#undef BERTH_CLI_REASON
};

TableRow ReasonRow(Reason reason) {
  const absl::StatusCode code = ReasonCode(reason);
  return {std::string(ReasonName(reason)), absl::StatusCodeToString(code),
          absl::StrCat(static_cast<int>(ExitCodeOf(code))), TextCell(ReasonMeaning(reason))};
}

absl::Status RunErrors(const Options& options, Session& session) {
  std::vector<TableRow> rows;
  for (const std::string& name : options.names) {
    const auto reason = ReasonFromName(absl::AsciiStrToUpper(name));
    if (!reason.has_value()) {
      return Error(Reason::kNotFound, absl::StrCat("there is no reason \"", name, "\""));
    }
    rows.push_back(ReasonRow(*reason));
  }
  if (options.names.empty()) {
    for (const Reason reason : kAllReasons) rows.push_back(ReasonRow(reason));
  }
  session.out() << Table({"REASON", "CODE", "EXIT", "MEANING"}, rows);
  return absl::OkStatus();
}

}  // namespace

void AddErrors(CLI::App& app, Run* run) {
  auto [command, options] =
      AddCommand(app, "errors", "List the reasons of errors and what they mean", run, &RunErrors);
  command->add_option("reason", options->names, "Only these")->type_name("REASON");
}

}  // namespace berth::cli
