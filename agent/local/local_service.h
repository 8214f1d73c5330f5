// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_LOCAL_LOCAL_SERVICE_H_
#define BERTH_AGENT_LOCAL_LOCAL_SERVICE_H_

#include <functional>
#include <memory>

#include "agent/grants/grant_manager.h"
#include "agent/inventory/inventory.h"
#include "berth/agent/v1/agent_local.pb.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace berth {

// Implements berth.agent.v1.AgentLocal. Everything pointed to outlives the service. Thread-safe.
struct LocalServiceOptions {
  const GrantManager* grants = nullptr;
  const Inventory* inventory = nullptr;
  std::function<agent::v1::AgentStatus()> status;
};

std::unique_ptr<grpc::Service> MakeLocalService(LocalServiceOptions options);

}  // namespace berth

#endif  // BERTH_AGENT_LOCAL_LOCAL_SERVICE_H_
