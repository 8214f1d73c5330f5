// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_LINK_AGENT_LINK_SERVICE_H_
#define BERTH_CTL_CONTROLLER_LINK_AGENT_LINK_SERVICE_H_

#include <memory>

#include "ctl/controller/audit/auditor.h"
#include "ctl/controller/book/grant_tracker.h"
#include "ctl/controller/hosts/host_registry.h"
#include "lib/daemon/logging.h"
#include "lib/rpc/authorise.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace berth {

// Implements berth.agent.v1.AgentLink: one session per agent. What waits to be sent to an agent is
// bounded: the last state of each grant. Everything pointed to outlives the service. Thread-safe.
struct AgentLinkOptions {
  Fleet* fleet = nullptr;
  HostRegistry* registry = nullptr;
  GrantTracker* tracker = nullptr;
  Auditor* auditor = nullptr;
  const Authoriser* authoriser = nullptr;
  Logger* log = nullptr;
  // Streams at once; one more is refused with OVERLOADED.
  size_t max_sessions = 100'000;
};

class AgentLinkService {
 public:
  explicit AgentLinkService(AgentLinkOptions options);
  ~AgentLinkService();
  AgentLinkService(const AgentLinkService&) = delete;
  AgentLinkService& operator=(const AgentLinkService&) = delete;

  grpc::Service* service();
  // Ends all sessions with SHUTTING_DOWN and takes no more.
  void Close();

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_LINK_AGENT_LINK_SERVICE_H_
