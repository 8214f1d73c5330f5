// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_DAEMON_AGENT_MAIN_H_
#define BERTH_AGENT_DAEMON_AGENT_MAIN_H_

#include <string>

#include "lib/daemon/daemon.h"

namespace berth {

// The program berth-agent. `program_dir` is the folder that it is in. Returns an ExitCode.
int AgentMain(int argc, const char* const* argv, const DaemonEnvironment& environment,
              const std::string& program_dir);

}  // namespace berth

#endif  // BERTH_AGENT_DAEMON_AGENT_MAIN_H_
