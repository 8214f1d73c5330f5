// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_DAEMON_BIND_DEVICES_H_
#define BERTH_AGENT_DAEMON_BIND_DEVICES_H_

#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "berth/internal/v1/agent_config.pb.h"

namespace berth {

// `berth-agent bind` and `berth-agent unbind`.
struct BindRequest {
  enum class To { kVfio, kFormerDriver };
  To to = To::kVfio;
  std::vector<std::string> addresses;
  bool dry_run = false;
};

// Does it on this machine, and says in `out` what was done. What is remembered of former drivers
// stands in RUNTIME_DIR/bound. The agent may run or not. Errors: those of PciBinder; UNSUPPORTED on
// an emulated host.
absl::Status BindDevices(const internal::v1::AgentConfig& config, const BindRequest& request,
                         std::ostream& out);

}  // namespace berth

#endif  // BERTH_AGENT_DAEMON_BIND_DEVICES_H_
