// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/middleman.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "berth/agent/v1/agent_link.grpc.pb.h"

namespace berth::testing {

using agent::v1::AgentMessage;
using agent::v1::ControllerMessage;

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
      AgentMessage message;
      while (agent->Read(&message) && controller->Write(message)) {
      }
      controller->WritesDone();
    });
    ControllerMessage message;
    while (controller->Read(&message)) {
      if (message.has_delta() && middleman_.lose_deltas_) {
        ++middleman_.lost_;
      } else if (!agent->Write(message)) {
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
