// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_DAEMON_RPC_METRICS_H_
#define BERTH_CTL_CONTROLLER_DAEMON_RPC_METRICS_H_

#include <map>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "lib/daemon/metrics.h"
#include "lib/rpc/interceptors.h"

namespace berth {

// Counts and times the calls of a server, under the names of lib/rpc/interceptors.h. Thread-safe.
class RpcMetrics : public RpcObserver {
 public:
  // `metrics` outlives the observer.
  explicit RpcMetrics(Metrics* metrics) : metrics_(metrics) {}

  void OnStarted(const RpcCall& call) override;
  void OnHandled(const RpcCall& call, absl::StatusCode code, absl::Duration elapsed) override;

 private:
  // Of one method; a server has few.
  struct Method {
    Counter started;
    Histogram seconds;
    std::map<absl::StatusCode, Counter> handled;
  };
  Method& MethodOf(const RpcCall& call) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Metrics* const metrics_;
  absl::Mutex mu_;
  std::map<std::pair<std::string, std::string>, Method> methods_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_DAEMON_RPC_METRICS_H_
