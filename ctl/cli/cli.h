// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CLI_CLI_H_
#define BERTH_CTL_CLI_CLI_H_

#include "ctl/cli/session.h"

namespace berth::cli {

// Parses the command line and does what it says. Returns an ExitCode.
int RunCli(int argc, const char* const* argv, const CliEnvironment& environment);

// From now on SIGINT ends the process with kExitInterrupted. What has been flushed stays.
void ExitOnInterrupt();

}  // namespace berth::cli

#endif  // BERTH_CTL_CLI_CLI_H_
