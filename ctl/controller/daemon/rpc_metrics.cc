// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/daemon/rpc_metrics.h"

#include <vector>

namespace berth {
namespace {

Metrics::Labels LabelsOf(const RpcCall& call) {
  return {{kRpcLabelType, std::string(call.type)},
          {kRpcLabelService, std::string(call.service)},
          {kRpcLabelMethod, std::string(call.method)}};
}

// From a read in memory to a store that is behind.
std::vector<double> Bounds() {
  return {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5};
}

}  // namespace

RpcMetrics::Method& RpcMetrics::MethodOf(const RpcCall& call) {
  const std::pair<std::string, std::string> key(call.service, call.method);
  const auto found = methods_.find(key);
  if (found != methods_.end()) return found->second;
  const Metrics::Labels labels = LabelsOf(call);
  Method method{.started = metrics_->AddCounter(kRpcStartedTotal, "Calls that were begun.", labels),
                .seconds = metrics_->AddHistogram(
                    kRpcHandlingSeconds, "How long calls took, in seconds.", Bounds(), labels),
                .handled = {}};
  return methods_.emplace(key, std::move(method)).first->second;
}

void RpcMetrics::OnStarted(const RpcCall& call) {
  absl::MutexLock lock(&mu_);
  MethodOf(call).started.Increment();
}

void RpcMetrics::OnHandled(const RpcCall& call, absl::StatusCode code, absl::Duration elapsed) {
  absl::MutexLock lock(&mu_);
  Method& method = MethodOf(call);
  method.seconds.Observe(absl::ToDoubleSeconds(elapsed));
  auto handled = method.handled.find(code);
  if (handled == method.handled.end()) {
    Metrics::Labels labels = LabelsOf(call);
    labels[kRpcLabelCode] = std::string(RpcCodeLabel(code));
    handled = method.handled
                  .emplace(code, metrics_->AddCounter(kRpcHandledTotal,
                                                      "Calls that ended, by code.", labels))
                  .first;
  }
  handled->second.Increment();
}

}  // namespace berth
