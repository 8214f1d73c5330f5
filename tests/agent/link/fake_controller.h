// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_AGENT_LINK_FAKE_CONTROLLER_H_
#define BERTH_TESTS_AGENT_LINK_FAKE_CONTROLLER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "berth/agent/v1/agent_link.pb.h"
#include "lib/rpc/server.h"

namespace berth::testing {

// The other end of the agent link, on a UNIX socket: greets who says Hello, answers heartbeats,
// remembers what it was told. It wants what the test says. Thread-safe.
class FakeController {
 public:
  using AgentMessage = agent::v1::AgentMessage;
  using ControllerMessage = agent::v1::ControllerMessage;

  // One that serves as long as it lives, on the socket `path`.
  explicit FakeController(const std::string& path);
  ~FakeController();
  FakeController(const FakeController&) = delete;
  FakeController& operator=(const FakeController&) = delete;

  const std::string& address() const { return server_->address(); }

  // What sessions are greeted with from now on; by default epoch ("store", 0, 1) and nothing
  // desired.
  void Greet(const agent::v1::Welcome& welcome);
  static agent::v1::Welcome DefaultWelcome();
  // From now on sessions are not greeted and heartbeats not answered.
  void BeSilent();
  // From now on sessions end with `status` where they would be greeted.
  void Refuse(const absl::Status& status);

  // To the session that began last.
  void Send(const ControllerMessage& message);
  void SendWelcome(const agent::v1::Welcome& welcome);
  void EndSession(const absl::Status& status);

  // Waits for a message, of any session, that nobody has waited for yet and that fits; those before
  // it are skipped. Fails the test when it does not come.
  AgentMessage Await(const std::function<bool(const AgentMessage&)>& fits);
  AgentMessage AwaitKind(AgentMessage::MessageCase kind);
  agent::v1::Hello AwaitHello() { return AwaitKind(AgentMessage::kHello).hello(); }
  // Whether one has come, without waiting or skipping.
  bool Has(AgentMessage::MessageCase kind) const;

 private:
  class Service;
  class Stream;

  void OnMessage(Stream* stream, const AgentMessage& message);
  void OnBegin(Stream* stream);
  void OnEnd(Stream* stream);

  mutable absl::Mutex mu_;
  agent::v1::Welcome welcome_ ABSL_GUARDED_BY(mu_);
  bool silent_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status refusal_ ABSL_GUARDED_BY(mu_);
  std::vector<Stream*> streams_ ABSL_GUARDED_BY(mu_);
  std::vector<AgentMessage> received_ ABSL_GUARDED_BY(mu_);
  size_t awaited_ ABSL_GUARDED_BY(mu_) = 0;
  std::unique_ptr<Service> service_;
  std::unique_ptr<RpcServer> server_;
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_AGENT_LINK_FAKE_CONTROLLER_H_
