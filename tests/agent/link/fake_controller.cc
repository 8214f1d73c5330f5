// SPDX-License-Identifier: Apache-2.0
#include "tests/agent/link/fake_controller.h"

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>
#include <gtest/gtest.h>

#include <deque>
#include <utility>

#include "berth/agent/v1/agent_link.grpc.pb.h"
#include "lib/rpc/error.h"

namespace berth::testing {
namespace {

// Long enough for a loaded machine; a test that passes never waits so long.
constexpr absl::Duration kPatience = absl::Seconds(60);

}  // namespace

// One session. Ends when the agent does, or when it is told to.
class FakeController::Stream : public grpc::ServerBidiReactor<AgentMessage, ControllerMessage> {
 public:
  explicit Stream(FakeController* controller) : controller_(controller) {
    controller_->OnBegin(this);
    StartRead(&in_);
  }

  void Send(ControllerMessage message) {
    absl::MutexLock lock(&mu_);
    if (finished_) return;
    queue_.push_back(std::move(message));
    if (queue_.size() == 1) StartWrite(&queue_.front());
  }
  void End(const absl::Status& status) {
    absl::MutexLock lock(&mu_);
    if (!std::exchange(finished_, true)) Finish(ToGrpcStatus(status));
  }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) return End(absl::OkStatus());
    controller_->OnMessage(this, in_);
    StartRead(&in_);
  }
  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&mu_);
    queue_.pop_front();
    if (ok && !finished_ && !queue_.empty()) StartWrite(&queue_.front());
  }
  void OnCancel() override { End(absl::CancelledError("the agent has gone")); }
  void OnDone() override {
    controller_->OnEnd(this);
    delete this;
  }

  FakeController* const controller_;
  AgentMessage in_;
  absl::Mutex mu_;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<ControllerMessage> queue_ ABSL_GUARDED_BY(mu_);  // the first is being written
};

class FakeController::Service : public agent::v1::AgentLink::CallbackService {
 public:
  explicit Service(FakeController* controller) : controller_(controller) {}
  grpc::ServerBidiReactor<AgentMessage, ControllerMessage>* Session(
      grpc::CallbackServerContext*) override {
    return new Stream(controller_);
  }

 private:
  FakeController* const controller_;
};

FakeController::FakeController(const std::string& path)
    : welcome_(DefaultWelcome()), service_(std::make_unique<Service>(this)) {
  RpcServerOptions options;
  options.address = "unix:" + path;
  auto server = RpcServer::Start(options, {service_.get()}, nullptr);
  if (!server.ok()) {
    ADD_FAILURE() << server.status();
    std::abort();
  }
  server_ = *std::move(server);
}

// Streams are done when the server is.
FakeController::~FakeController() { server_.reset(); }

agent::v1::Welcome FakeController::DefaultWelcome() {
  agent::v1::Welcome welcome;
  welcome.mutable_epoch()->set_store_uid("store");
  welcome.mutable_epoch()->set_term(1);
  welcome.mutable_heartbeat_interval()->set_seconds(1);
  welcome.set_protocol_version(1);
  return welcome;
}

void FakeController::Greet(const agent::v1::Welcome& welcome) {
  absl::MutexLock lock(&mu_);
  welcome_ = welcome;
  silent_ = false;
}

void FakeController::BeSilent() {
  absl::MutexLock lock(&mu_);
  silent_ = true;
}

void FakeController::Refuse(const absl::Status& status) {
  absl::MutexLock lock(&mu_);
  refusal_ = status;
}

void FakeController::Send(const ControllerMessage& message) {
  absl::MutexLock lock(&mu_);
  if (streams_.empty()) {
    ADD_FAILURE() << "no session to send to";
    return;
  }
  streams_.back()->Send(message);
}

void FakeController::SendWelcome(const agent::v1::Welcome& welcome) {
  ControllerMessage message;
  *message.mutable_welcome() = welcome;
  Send(message);
}

void FakeController::EndSession(const absl::Status& status) {
  absl::MutexLock lock(&mu_);
  if (!streams_.empty()) streams_.back()->End(status);
}

FakeController::AgentMessage FakeController::Await(
    const std::function<bool(const AgentMessage&)>& fits) {
  absl::MutexLock lock(&mu_);
  const auto found = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    for (; awaited_ < received_.size(); ++awaited_) {
      if (fits(received_[awaited_])) return true;
    }
    return false;
  };
  if (!mu_.AwaitWithTimeout(absl::Condition(&found), kPatience)) {
    ADD_FAILURE() << "the message never came; " << received_.size() << " others did";
    return {};
  }
  return received_[awaited_++];
}

FakeController::AgentMessage FakeController::AwaitKind(AgentMessage::MessageCase kind) {
  return Await([kind](const AgentMessage& message) { return message.message_case() == kind; });
}

bool FakeController::Has(AgentMessage::MessageCase kind) const {
  absl::MutexLock lock(&mu_);
  for (size_t i = awaited_; i < received_.size(); ++i) {
    if (received_[i].message_case() == kind) return true;
  }
  return false;
}

void FakeController::OnMessage(Stream* stream, const AgentMessage& message) {
  absl::MutexLock lock(&mu_);
  received_.push_back(message);
  if (silent_) return;
  if (!refusal_.ok()) return stream->End(refusal_);
  ControllerMessage answer;
  if (message.has_hello()) {
    *answer.mutable_welcome() = welcome_;
  } else if (message.has_heartbeat() && !message.heartbeat().needs_no_answer()) {
    answer.mutable_heartbeat_ack()->set_sequence(message.heartbeat().sequence());
    *answer.mutable_heartbeat_ack()->mutable_epoch() = welcome_.epoch();
  } else {
    return;
  }
  stream->Send(std::move(answer));
}

void FakeController::OnBegin(Stream* stream) {
  absl::MutexLock lock(&mu_);
  streams_.push_back(stream);
}

void FakeController::OnEnd(Stream* stream) {
  absl::MutexLock lock(&mu_);
  std::erase(streams_, stream);
}

}  // namespace berth::testing
