// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_VMM_EXAMPLE_OUTCOME_H_
#define BERTH_LIB_VMM_EXAMPLE_OUTCOME_H_

#include <string>

namespace berth::example {

// The exit codes of berth-example-vmm.
enum class ExitCode {
  kDone = 0,
  kUsage = 2,     // the command line, the token file or a trace
  kRefused = 3,   // the agent refused the attachment
  kCall = 4,      // a call after that failed
  kHardware = 5,  // a command was not executed, or an error was not reported
  kSystem = 6,    // a system call of this program failed
};

// Success, or what went wrong.
struct [[nodiscard]] Outcome {
  ExitCode code = ExitCode::kDone;
  std::string message;

  [[nodiscard]] bool ok() const { return code == ExitCode::kDone; }
};

}  // namespace berth::example

#define BERTH_EXAMPLE_TRY(expr)                                      \
  do {                                                               \
    if (::berth::example::Outcome outcome = (expr); !outcome.ok()) { \
      return outcome;                                                \
    }                                                                \
  } while (false)

#endif  // BERTH_LIB_VMM_EXAMPLE_OUTCOME_H_
