// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/middleman.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <optional>
#include <thread>
#include <utility>

#include "berth/agent/v1/agent_link.grpc.pb.h"

namespace berth::testing {

using agent::v1::AgentMessage;
using agent::v1::ControllerMessage;

void Middleman::Do(Harm harm) {
  absl::MutexLock lock(&mu_);
  harm_ = harm;
}

Middleman::Harm Middleman::HarmNow() {
  absl::MutexLock lock(&mu_);
  const Harm harm = harm_;
  const auto over = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return harm_ != Harm::kHold; };
  mu_.AwaitWithTimeout(absl::Condition(&over), kHeld);
  return harm;
}

// One direction of a session.
class Middleman::Flow {
 public:
  explicit Flow(Middleman* middleman) : middleman_(*middleman) {}

  // `write` may be called never, once or twice. False: the stream is broken.
  template <typename Message>
  bool Pass(Message message, std::optional<Message>* behind,
            const std::function<bool(const Message&)>& write) {
    message.set_number(message.number() - lost_);
    const Harm harm = middleman_.HarmNow();
    const bool struck = middleman_.passed_++ % kOneIn == 0;
    if (harm == Harm::kSwap && struck && !behind->has_value()) {
      *behind = std::move(message);
      return true;
    }
    if (!write(message) || (harm == Harm::kRepeat && struck && !write(message))) return false;
    return !behind->has_value() || write(*std::exchange(*behind, std::nullopt));
  }
  void Lose() { ++lost_; }

 private:
  Middleman& middleman_;
  int64_t lost_ = 0;
};

class Middleman::Service : public agent::v1::AgentLink::Service {
 public:
  Service(Middleman* middleman, const std::string& controller)
      : middleman_(*middleman),
        stub_(agent::v1::AgentLink::NewStub(
            grpc::CreateChannel(controller, grpc::InsecureChannelCredentials()))) {}

  grpc::Status Session(grpc::ServerContext* agent_context,
                       grpc::ServerReaderWriter<ControllerMessage, AgentMessage>* agent) override {
    const std::unique_ptr<grpc::ClientContext> context =
        grpc::ClientContext::FromServerContext(*agent_context);
    const auto controller = stub_->Session(context.get());
    std::thread up([&] {
      const auto write = [&](const AgentMessage& out) { return controller->Write(out); };
      Flow flow(&middleman_);
      std::optional<AgentMessage> behind;
      AgentMessage message;
      while (agent->Read(&message) && flow.Pass<AgentMessage>(message, &behind, write)) {
      }
      controller->WritesDone();
    });
    const auto write = [&](const ControllerMessage& out) { return agent->Write(out); };
    Flow flow(&middleman_);
    std::optional<ControllerMessage> behind;
    ControllerMessage message;
    while (controller->Read(&message)) {
      if (message.has_delta() && middleman_.lose_deltas_) {
        ++middleman_.lost_;
        flow.Lose();
      } else if (!flow.Pass<ControllerMessage>(message, &behind, write)) {
        context->TryCancel();
      }
    }
    // The agent reads the end of its stream, and ends its writes.
    agent_context->TryCancel();
    up.join();
    return controller->Finish();
  }

 private:
  Middleman& middleman_;
  const std::unique_ptr<agent::v1::AgentLink::Stub> stub_;
};

Middleman::Middleman(const std::string& listen, const std::string& controller)
    : service_(std::make_unique<Service>(this, controller)) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort(listen, grpc::InsecureServerCredentials());
  builder.RegisterService(service_.get());
  // Agents ping.
  builder.AddChannelArgument("grpc.http2.min_ping_interval_without_data_ms", 1000);
  server_ = builder.BuildAndStart();
  EXPECT_NE(server_, nullptr) << listen;
}

Middleman::~Middleman() {
  if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
}

}  // namespace berth::testing
