// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_DAEMON_AGENT_CONFIG_H_
#define BERTH_AGENT_DAEMON_AGENT_CONFIG_H_

#include <string>

#include "absl/status/status.h"
#include "berth/internal/v1/agent_config.pb.h"

namespace berth {

// Fills in every default that proto/berth/internal/v1/agent_config.proto names, makes the paths
// that are relative to the file `config_path` absolute, and checks the rest. `program_dir` is the
// folder of berth-agent, where the emulator's program is looked for. Errors: MISSING_FIELD,
// INVALID_FIELD.
absl::Status FinishAgentConfig(const std::string& config_path, const std::string& program_dir,
                               internal::v1::AgentConfig* config);

}  // namespace berth

#endif  // BERTH_AGENT_DAEMON_AGENT_CONFIG_H_
