// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/link/agent_link_service.h"

#include <grpcpp/server_context.h>

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "berth/agent/v1/agent_link.grpc.pb.h"
#include "ctl/controller/link/agent_session.h"
#include "lib/base/status.h"
#include "lib/rpc/error.h"

namespace berth {

class AgentLinkService::Impl : public agent::v1::AgentLink::CallbackService {
 public:
  explicit Impl(AgentLinkOptions options) : options_(options) {}

  grpc::ServerBidiReactor<agent::v1::AgentMessage, agent::v1::ControllerMessage>* Session(
      grpc::CallbackServerContext* context) override {
    const absl::Status allowed =
        options_.authoriser->Authorise(*context, "/berth.agent.v1.AgentLink/Session").status();
    auto* session = new AgentSession(
        options_, [this](const std::shared_ptr<AgentSession::Handle>& handle) { Remove(handle); });
    if (!allowed.ok()) {
      session->handle()->Close(allowed);
    } else if (absl::Status added = Add(session->handle()); !added.ok()) {
      session->handle()->Close(added);
    } else {
      session->Start();
    }
    return session;
  }

  void Close() {
    std::set<std::shared_ptr<AgentSession::Handle>> sessions;
    {
      absl::MutexLock lock(&mu_);
      closed_ = true;
      sessions = sessions_;
    }
    for (const auto& session : sessions) {
      session->Close(Error(Reason::kShuttingDown, "the controller is stopping"));
    }
  }

 private:
  absl::Status Add(const std::shared_ptr<AgentSession::Handle>& handle) {
    absl::MutexLock lock(&mu_);
    if (closed_) return Error(Reason::kShuttingDown, "the controller is stopping");
    if (sessions_.size() >= options_.max_sessions) {
      return Error(Reason::kOverloaded,
                   absl::StrCat("there are ", options_.max_sessions, " agents connected already"));
    }
    sessions_.insert(handle);
    return absl::OkStatus();
  }
  void Remove(const std::shared_ptr<AgentSession::Handle>& handle) {
    absl::MutexLock lock(&mu_);
    sessions_.erase(handle);
  }

  const AgentLinkOptions options_;
  absl::Mutex mu_;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  std::set<std::shared_ptr<AgentSession::Handle>> sessions_ ABSL_GUARDED_BY(mu_);
};

AgentLinkService::AgentLinkService(AgentLinkOptions options)
    : impl_(std::make_unique<Impl>(options)) {}
AgentLinkService::~AgentLinkService() = default;
grpc::Service* AgentLinkService::service() { return impl_.get(); }
void AgentLinkService::Close() { impl_->Close(); }

}  // namespace berth
