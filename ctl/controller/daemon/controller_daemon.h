// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_DAEMON_CONTROLLER_DAEMON_H_
#define BERTH_CTL_CONTROLLER_DAEMON_CONTROLLER_DAEMON_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "berth/internal/v1/controller_config.pb.h"
#include "lib/base/clock.h"
#include "lib/daemon/logging.h"
#include "lib/daemon/metrics.h"
#include "lib/store/store.h"

namespace berth {

// A whole controller, which leads (leader.h) or stands by (standby.h) until it does. The
// composition root; tests start it in their own process.
class ControllerDaemon {
 public:
  struct Options {
    internal::v1::ControllerConfig config;  // finished
    Clock* clock = nullptr;                 // outlives the daemon
    Logger* log = nullptr;                  // outlives the daemon
    Metrics* metrics = nullptr;             // null: nothing is counted; else outlives the daemon
    // The store has failed, or another controller may lead now: stop, and start anew. Called on any
    // thread, which must not wait for the daemon's end; perhaps twice.
    std::function<void(const absl::Status&)> on_fatal;
    // Empty: the store that the configuration names.
    std::function<absl::StatusOr<std::unique_ptr<Store>>()> open_store = nullptr;
  };

  // Loads the store and serves. With a store that controllers share, returns also when it has begun
  // to stand by for another. Errors: those of the store, the key file and the listeners.
  static absl::StatusOr<std::unique_ptr<ControllerDaemon>> Start(Options options);
  // Says NOT_SERVING, ends streams, waits for calls that run, closes the store.
  ~ControllerDaemon();
  ControllerDaemon(const ControllerDaemon&) = delete;
  ControllerDaemon& operator=(const ControllerDaemon&) = delete;

  // Where it listens, with the ports that were bound; the same whether it leads or stands by.
  std::string api_address() const;
  std::string agent_link_address() const;

 private:
  class Impl;
  explicit ControllerDaemon(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_DAEMON_CONTROLLER_DAEMON_H_
