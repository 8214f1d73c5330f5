// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/daemon/standby.h"

#include <gmock/gmock.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include "berth/agent/v1/agent_link.grpc.pb.h"
#include "berth/v1/assignment_service.grpc.pb.h"
#include "berth/v1/host_service.grpc.pb.h"
#include "lib/base/status.h"
#include "lib/rpc/channel.h"
#include "lib/rpc/error.h"
#include "lib/rpc/request.h"
#include "lib/rpc/server.h"

namespace berth {
namespace {

using ::testing::HasSubstr;

class StandbyTest : public ::testing::Test {
 protected:
  StandbyTest() {
    config_.mutable_api()->set_address("127.0.0.1:0");
    config_.mutable_agent_link()->set_address("127.0.0.1:0");
    auto standby = Standby::Start(config_);
    EXPECT_TRUE(standby.ok()) << standby.status();
    standby_ = *std::move(standby);
    leader_.set_description("the controller at a:1 (process 7 on a)");
    leader_.set_api_address("a:1");
    leader_.set_agent_link_address("a:2");
  }

  absl::Status GetHost() {
    grpc::ClientContext context;
    SetDeadline(context, absl::Seconds(20));
    v1::Host host;
    return FromGrpcStatus(
        v1::HostService::NewStub(*MakeChannel({.address = standby_->api_address()}))
            ->GetHost(&context, {}, &host));
  }
  // Of a stream.
  absl::Status Watch() {
    grpc::ClientContext context;
    SetDeadline(context, absl::Seconds(20));
    const auto stub =
        v1::AssignmentService::NewStub(*MakeChannel({.address = standby_->api_address()}));
    const auto stream = stub->WatchAssignments(&context, {});
    v1::WatchAssignmentsResponse response;
    EXPECT_FALSE(stream->Read(&response));
    return FromGrpcStatus(stream->Finish());
  }
  absl::Status Session() {
    grpc::ClientContext context;
    SetDeadline(context, absl::Seconds(20));
    const auto stub =
        agent::v1::AgentLink::NewStub(*MakeChannel({.address = standby_->agent_link_address()}));
    const auto stream = stub->Session(&context);
    (void)stream->Write({});
    agent::v1::ControllerMessage message;
    EXPECT_FALSE(stream->Read(&message));
    return FromGrpcStatus(stream->Finish());
  }

  internal::v1::ControllerConfig config_;
  internal::v1::EtcdLeader leader_;
  std::unique_ptr<Standby> standby_;
};

TEST_F(StandbyTest, EveryCallIsSentToTheLeader) {
  standby_->SetLeader(leader_);
  for (const absl::Status& answer : {GetHost(), Watch()}) {
    EXPECT_EQ(ReasonOf(answer), Reason::kNotLeader) << answer;
    EXPECT_TRUE(absl::IsUnavailable(answer)) << "to be repeated";
    EXPECT_EQ(MetadataOf(answer)["leader"], "a:1");
    EXPECT_THAT(std::string(answer.message()),
                HasSubstr("the controller at a:1 (process 7 on a) leads"));
  }
  const absl::Status session = Session();
  EXPECT_EQ(ReasonOf(session), Reason::kNotLeader) << session;
  EXPECT_EQ(MetadataOf(session)["leader"], "a:2");
}

TEST_F(StandbyTest, WithoutALeaderNobodyIsSentAnywhere) {
  EXPECT_EQ(ReasonOf(GetHost()), Reason::kNotLeader);
  EXPECT_EQ(MetadataOf(GetHost()).count("leader"), 0U);

  internal::v1::EtcdLeader administrator;
  administrator.set_description("an administrator");
  standby_->SetLeader(administrator);
  EXPECT_EQ(MetadataOf(GetHost()).count("leader"), 0U);
  EXPECT_THAT(std::string(GetHost().message()), HasSubstr("an administrator holds the store"));
}

TEST_F(StandbyTest, WhoMayNotCallIsNotToldWhereTo) {
  standby_->SetLeader(leader_);
  grpc::ClientContext context;
  SetDeadline(context, absl::Seconds(20));
  // The agents' method at the API.
  const auto stub =
      agent::v1::AgentLink::NewStub(*MakeChannel({.address = standby_->api_address()}));
  const auto stream = stub->Session(&context);
  agent::v1::ControllerMessage message;
  EXPECT_FALSE(stream->Read(&message));
  const absl::Status answer = FromGrpcStatus(stream->Finish());
  EXPECT_EQ(ReasonOf(answer), Reason::kUnauthenticated) << answer;
  EXPECT_EQ(MetadataOf(answer).count("leader"), 0U);
}

TEST_F(StandbyTest, LeavesItsAddressesToTheLeaderThatItBecomes) {
  RpcServerOptions api;
  api.address = standby_->api_address();
  EXPECT_EQ(ReasonOf(RpcServer::Start(api, {}, nullptr).status()), Reason::kStateConflict);
  standby_.reset();
  EXPECT_TRUE(RpcServer::Start(api, {}, nullptr).ok());
}

}  // namespace
}  // namespace berth
