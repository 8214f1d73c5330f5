// SPDX-License-Identifier: Apache-2.0
#include "lib/rpc/channel.h"

#include <gmock/gmock.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <grpcpp/support/validate_service_config.h>
#include <gtest/gtest.h>

#include <set>

#include "absl/strings/match.h"
#include "berth/agent/v1/agent_local.pb.h"
#include "berth/v1/assignment_service.pb.h"
#include "berth/v1/capacity_service.pb.h"
#include "berth/v1/host_service.pb.h"
#include "berth/v1/quota_service.pb.h"
#include "lib/base/status.h"
#include "lib/rpc/limits.h"

namespace berth {
namespace {

std::set<std::string> MethodsInServiceConfig() {
  google::protobuf::Struct config;
  EXPECT_TRUE(
      google::protobuf::util::JsonStringToMessage(std::string(ServiceConfigJson()), &config).ok());
  std::set<std::string> methods;
  for (const auto& entry : config.fields().at("methodConfig").list_value().values()) {
    for (const auto& name : entry.struct_value().fields().at("name").list_value().values()) {
      const auto& fields = name.struct_value().fields();
      methods.insert(fields.at("service").string_value() + "." +
                     fields.at("method").string_value());
    }
  }
  return methods;
}

TEST(ServiceConfig, IsOneThatGrpcTakes) {
  EXPECT_EQ(grpc::experimental::ValidateServiceConfigJSON(std::string(ServiceConfigJson())), "");
}

TEST(ServiceConfig, RetriesTheMethodsThatChangeNothingAndNoOthers) {
  std::set<std::string> readers;
  for (const google::protobuf::FileDescriptor* file :
       {v1::CreateAssignmentRequest::descriptor()->file(), v1::GetHostRequest::descriptor()->file(),
        v1::GetCapacityRequest::descriptor()->file(), v1::GetQuotaRequest::descriptor()->file(),
        agent::v1::GetStatusRequest::descriptor()->file()}) {
    ASSERT_NE(file, nullptr);
    ASSERT_GT(file->service_count(), 0) << file->name();
    for (int s = 0; s < file->service_count(); ++s) {
      for (int m = 0; m < file->service(s)->method_count(); ++m) {
        const auto* method = file->service(s)->method(m);
        for (const char* verb : {"Get", "List", "Watch", "Explain"}) {
          if (absl::StartsWith(method->name(), verb)) readers.insert(method->full_name());
        }
      }
    }
  }
  EXPECT_THAT(MethodsInServiceConfig(), testing::ContainerEq(readers));
}

TEST(Keepalive, NoClientPingsMoreOftenThanServersAccept) {
  EXPECT_GT(kClientKeepalive, kServerLeastPingInterval);
  EXPECT_LT(kClientKeepaliveTimeout, kClientKeepalive);
}

TEST(Channel, PlaintextToAnotherMachineIsRefused) {
  EXPECT_EQ(ReasonOf(MakeChannel({.address = "controller.example:7440"}).status()),
            Reason::kPermissionDenied);
}

}  // namespace
}  // namespace berth
