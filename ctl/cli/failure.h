// SPDX-License-Identifier: Apache-2.0
//
// How berthctl says that something went wrong: the text on stderr and the exit code.
#ifndef BERTH_CTL_CLI_FAILURE_H_
#define BERTH_CTL_CLI_FAILURE_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace berth::cli {

// Part of the interface: scripts test for these. README.md and --help list them.
enum ExitCode : int {
  kExitOk = 0,
  kExitFailed = 1,
  kExitUsage = 2,
  kExitNotFound = 4,
  kExitConflict = 5,
  kExitUnavailable = 6,
  kExitPermission = 7,
  kExitExhausted = 8,
  kExitDiffers = 9,
  kExitInterrupted = 130,
};

ExitCode ExitCodeOf(absl::StatusCode code);

// "Error: message (REASON)\n", and a line with a hint where one helps. Nothing in it can move the
// cursor of a terminal.
std::string FailureText(const absl::Status& status);

// Wrong command line; has no reason.
absl::Status UsageError(std::string_view message);

// The list of exit codes, for --help.
std::string ExitCodesHelp();

}  // namespace berth::cli

#endif  // BERTH_CTL_CLI_FAILURE_H_
