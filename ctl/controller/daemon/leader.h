// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_DAEMON_LEADER_H_
#define BERTH_CTL_CONTROLLER_DAEMON_LEADER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "berth/internal/v1/controller_config.pb.h"
#include "lib/base/clock.h"
#include "lib/daemon/logging.h"
#include "lib/daemon/metrics.h"
#include "lib/store/store.h"

namespace berth {

// A controller that has the store: book, registry, API, agents' listener, and a thread for what
// happens by time.
class Leader {
 public:
  // All pointers outlive the object; `metrics` may be null.
  struct Options {
    const internal::v1::ControllerConfig* config = nullptr;  // finished
    Clock* clock = nullptr;
    Logger* log = nullptr;
    Metrics* metrics = nullptr;
    // The store has failed. Called at most once, on a thread of the store's.
    std::function<void(const absl::Status&)> on_store_failed;
  };

  // Takes `store` over and loads it; nobody is served yet. Errors: those of the store and of the
  // cluster key's file.
  static absl::StatusOr<std::unique_ptr<Leader>> Load(Options options,
                                                      std::unique_ptr<Store> store);
  // Says NOT_SERVING, ends streams, waits for calls that run, closes the store.
  ~Leader();
  Leader(const Leader&) = delete;
  Leader& operator=(const Leader&) = delete;

  // Listens at these addresses in place of those of the configuration. Once. Errors: those of
  // RpcServer::Start().
  absl::Status Serve(const std::string& api_address, const std::string& agent_link_address);

  // After Serve(): where to dial, with the ports that were bound.
  const std::string& api_address() const;
  const std::string& agent_link_address() const;

 private:
  class Impl;
  explicit Leader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_DAEMON_LEADER_H_
