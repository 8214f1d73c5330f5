// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_LINK_AGENT_SESSION_H_
#define BERTH_CTL_CONTROLLER_LINK_AGENT_SESSION_H_

#include <grpcpp/support/server_callback.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "berth/agent/v1/agent_link.pb.h"
#include "ctl/controller/link/agent_link_service.h"
#include "lib/rpc/message_order.h"

namespace berth {

// One stream with an agent. The reactor belongs to gRPC and deletes itself; what others hold is its
// Handle, which outlives it.
class AgentSession
    : public grpc::ServerBidiReactor<agent::v1::AgentMessage, agent::v1::ControllerMessage> {
 public:
  // The session as the registry and the service hold it.
  class Handle : public HostSession {
   public:
    explicit Handle(AgentSession* session) : session_(session) {}
    bool Welcome(agent::v1::Welcome welcome) override;
    void Upsert(agent::v1::DesiredGrant grant) override;
    void Forget(const std::string& assignment_uid) override;
    bool Audit(agent::v1::AuditRequest request) override;
    void Close(const absl::Status& status) override;
    void Ack(int64_t sequence, const agent::v1::Epoch& epoch);

   private:
    friend class AgentSession;
    std::optional<agent::v1::ControllerMessage> NextMessage() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
    void Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

    absl::Mutex mu_;
    AgentSession* session_ ABSL_GUARDED_BY(mu_);  // null: the stream is over
    bool writing_ ABSL_GUARDED_BY(mu_) = false;
    bool finished_ ABSL_GUARDED_BY(mu_) = false;
    MessageOrder sent_ ABSL_GUARDED_BY(mu_);
    std::optional<absl::Status> end_ ABSL_GUARDED_BY(mu_);
    std::optional<agent::v1::Welcome> welcome_ ABSL_GUARDED_BY(mu_);
    agent::v1::Epoch epoch_ ABSL_GUARDED_BY(mu_);
    bool welcomed_ ABSL_GUARDED_BY(mu_) = false;
    std::map<std::string, agent::v1::DesiredGrant> upserts_ ABSL_GUARDED_BY(mu_);
    std::set<std::string> forget_ ABSL_GUARDED_BY(mu_);
    std::optional<agent::v1::AuditRequest> audit_ ABSL_GUARDED_BY(mu_);
    std::optional<agent::v1::HeartbeatAck> ack_ ABSL_GUARDED_BY(mu_);
  };

  // `on_done` is called when the stream is over, with the handle.
  AgentSession(const AgentLinkOptions& options,
               std::function<void(const std::shared_ptr<Handle>&)> on_done);

  const std::shared_ptr<Handle>& handle() const { return handle_; }
  void Start() { StartRead(&in_); }

 private:
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone() override;
  absl::Status OnMessage();

  const AgentLinkOptions options_;
  const std::function<void(const std::shared_ptr<Handle>&)> on_done_;
  const std::shared_ptr<Handle> handle_;
  agent::v1::AgentMessage in_;
  MessageOrder received_;
  agent::v1::ControllerMessage out_;  // guarded by the handle's mutex while nothing is written
  std::string host_id_;               // after Hello
};

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_LINK_AGENT_SESSION_H_
