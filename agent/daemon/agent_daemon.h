// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_DAEMON_AGENT_DAEMON_H_
#define BERTH_AGENT_DAEMON_AGENT_DAEMON_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "berth/internal/v1/agent_config.pb.h"
#include "lib/base/clock.h"
#include "lib/daemon/fd_store.h"
#include "lib/daemon/logging.h"
#include "lib/daemon/metrics.h"

namespace berth {

// A whole agent. The composition root; tests start it in their own process.
class AgentDaemon {
 public:
  struct Options {
    internal::v1::AgentConfig config;   // finished
    Clock* clock = nullptr;             // outlives the daemon
    Logger* log = nullptr;              // outlives the daemon
    Metrics* metrics = nullptr;         // null: nothing is counted; else outlives the daemon
    FdStore fd_store = {};              // what outlives it is kept there
    std::vector<StoredFd> passed = {};  // what the agent before this one has kept there
  };

  // Serves when it returns. A kernel or an emulator that does not answer is no error: the host is
  // reported broken until it does. Errors: those of the state folder and the sockets.
  static absl::StatusOr<std::unique_ptr<AgentDaemon>> Start(Options options);
  // In order: no new VMMs, no session with the controller, grants that no VMM has are destroyed.
  ~AgentDaemon();

  // Gives the service manager all fds again that it is to keep, as it may be another one now. From
  // any thread; the grants' follow when it has returned.
  void StoreAgain();

  AgentDaemon(const AgentDaemon&) = delete;
  AgentDaemon& operator=(const AgentDaemon&) = delete;

 private:
  class Impl;
  explicit AgentDaemon(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace berth

#endif  // BERTH_AGENT_DAEMON_AGENT_DAEMON_H_
