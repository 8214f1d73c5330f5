// SPDX-License-Identifier: Apache-2.0
#include "agent/local/local_service.h"

#include <gmock/gmock.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/impl/codegen/service_type.h>

#include "berth/agent/v1/agent_local.grpc.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "lib/base/status.h"
#include "lib/emulator/host_tree.h"
#include "lib/rpc/channel.h"
#include "lib/rpc/error.h"
#include "lib/rpc/server.h"
#include "tests/agent/grants/grants_fixture.h"
#include "tests/emulator/emulator_fixture.h"

namespace berth {
namespace {

using agent::v1::AgentLocal;
using ::testing::UnorderedElementsAre;

// The service over a manager with grants and an inventory, dialled on a UNIX socket.
class LocalServiceTest : public testing::GrantsFixture {
 protected:
  LocalServiceTest() {
    EXPECT_TRUE(emulator::WriteHostTree(dir_.path() + "/sys", SmallTree()).ok());
    inventory_ =
        std::make_unique<Inventory>(&host_.kernel(), &Clock::Real(),
                                    Inventory::Options{.sysfs_root = dir_.path() + "/sys",
                                                       .config = {},
                                                       .labels = {{"rack", "r1"}},
                                                       .attach_endpoint = "/run/berth/vmm.sock"});
    service_ = MakeLocalService({.grants = &manager(), .inventory = inventory_.get(), .status = [] {
                                   agent::v1::AgentStatus status;
                                   status.set_host_id("left");
                                   status.set_incarnation(7);
                                   return status;
                                 }});
    RpcServerOptions options;
    options.address = "unix:" + dir_.path() + "/agent.sock";
    auto server = RpcServer::Start(options, {service_.get()}, nullptr);
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    ChannelOptions channel;
    channel.address = options.address;
    stub_ = AgentLocal::NewStub(*MakeChannel(channel));
  }

  // A sysfs with one device.
  static emulator::HostSpec SmallTree() {
    emulator::HostSpec host = emulator::SmallHost();
    host.devices.resize(1);
    return host;
  }

  template <typename Request, typename Response>
  using Method = grpc::Status (AgentLocal::Stub::*)(grpc::ClientContext*, const Request&,
                                                    Response*);
  template <typename Request, typename Response>
  grpc::Status Call(Method<Request, Response> method, const Request& request, Response* response) {
    grpc::ClientContext context;
    return ((*stub_).*method)(&context, request, response);
  }
  grpc::Status ListObjects(const std::string& uid, agent::v1::ListObjectsResponse* response) {
    agent::v1::ListObjectsRequest request;
    request.set_assignment_uid(uid);
    return Call(&AgentLocal::Stub::ListObjects, request, response);
  }
  // What the ErrorInfo in the details of `status` says.
  static std::string ErrorInfoReason(const grpc::Status& status) {
    google::rpc::Status details;
    EXPECT_TRUE(details.ParseFromString(status.error_details()));
    google::rpc::ErrorInfo info;
    for (const auto& detail : details.details()) {
      if (detail.UnpackTo(&info)) return info.reason();
    }
    return "no ErrorInfo";
  }

  std::unique_ptr<Inventory> inventory_;

 private:
  emulator::TempDir dir_;
  std::unique_ptr<grpc::Service> service_;
  std::unique_ptr<RpcServer> server_;
  std::unique_ptr<AgentLocal::Stub> stub_;
};

TEST_F(LocalServiceTest, SaysWhoTheAgentIs) {
  agent::v1::AgentStatus status;
  ASSERT_TRUE(Call(&AgentLocal::Stub::GetStatus, {}, &status).ok());
  EXPECT_EQ(status.host_id(), "left");
  EXPECT_EQ(status.incarnation(), 7);
}

TEST_F(LocalServiceTest, ShowsTheInventoryAsLastFound) {
  agent::v1::Inventory found;
  ASSERT_TRUE(Call(&AgentLocal::Stub::GetInventory, {}, &found).ok());
  EXPECT_EQ(found.devices_size(), 0) << "nobody has looked yet";
  EXPECT_EQ(found.attach_endpoint(), "/run/berth/vmm.sock");
  ASSERT_TRUE(inventory_->Refresh().ok());
  ASSERT_TRUE(Call(&AgentLocal::Stub::GetInventory, {}, &found).ok());
  ASSERT_EQ(found.devices_size(), 1);
  EXPECT_EQ(found.devices(0).address(), "0000:01:00.0");
  EXPECT_EQ(found.labels().at("rack"), "r1");
  agent::v1::Hardware hardware;
  ASSERT_TRUE(Call(&AgentLocal::Stub::GetHardware, {}, &hardware).ok());
  ASSERT_EQ(hardware.devices_size(), 1);
  EXPECT_EQ(hardware.devices(0).device(), found.devices(0).id());
}

TEST_F(LocalServiceTest, ListsGrantsAndTheirKernelObjects) {
  agent::v1::ListGrantsResponse grants;
  ASSERT_TRUE(Call(&AgentLocal::Stub::ListGrants, {}, &grants).ok());
  EXPECT_EQ(grants.grants_size(), 0);

  ASSERT_TRUE(manager().Upsert(testing::Desired("u2", {"gpu1"})).ok());
  ASSERT_TRUE(manager().Upsert(testing::Desired("u1", {"gpu0"})).ok());
  Await("u1", State::PREPARED);
  Await("u2", State::PREPARED);
  ASSERT_TRUE(Call(&AgentLocal::Stub::ListGrants, {}, &grants).ok());
  ASSERT_EQ(grants.grants_size(), 2);
  EXPECT_EQ(grants.grants(0).status().assignment_uid(), "u1") << "sorted";
  EXPECT_EQ(grants.grants(0).assignment(), "assignments/u1");
  EXPECT_EQ(grants.grants(0).status().observed(), State::PREPARED);
  EXPECT_EQ(grants.grants(0).vmm_pid(), 0);

  agent::v1::ListObjectsResponse objects;
  ASSERT_TRUE(ListObjects("u1", &objects).ok());
  std::vector<std::string> types;
  for (const auto& object : objects.objects()) types.push_back(object.type());
  EXPECT_THAT(types, UnorderedElementsAre("device", "ioas", "hwpt", "viommu", "hwpt", "hwpt",
                                          "veventq", "veventq"));
}

TEST_F(LocalServiceTest, ErrorsCarryErrorInfo) {
  agent::v1::ListObjectsResponse objects;
  const grpc::Status missing = ListObjects("", &objects);
  EXPECT_EQ(missing.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ErrorInfoReason(missing), "MISSING_FIELD");
  const grpc::Status unknown = ListObjects("nobody", &objects);
  EXPECT_EQ(unknown.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(ErrorInfoReason(unknown), "NOT_FOUND");
  EXPECT_EQ(objects.objects_size(), 0);
}

}  // namespace
}  // namespace berth
