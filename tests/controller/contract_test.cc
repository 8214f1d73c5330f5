// SPDX-License-Identifier: Apache-2.0
//
// What holds for every method of the API, walked over the descriptors.
#include <google/protobuf/descriptor.h>
#include <google/protobuf/dynamic_message.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "berth/v1/audit_service.pb.h"
#include "berth/v1/capacity_service.pb.h"
#include "berth/v1/error_reason.pb.h"
#include "berth/v1/quota_service.pb.h"
#include "ctl/controller/api/methods.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/controller/controller_fixture.h"

namespace berth::controller_test {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::MethodDescriptor;

std::vector<const MethodDescriptor*> AllMethods() {
  std::vector<const MethodDescriptor*> methods;
  for (const auto* file :
       {v1::CreateAssignmentRequest::descriptor()->file(), v1::GetHostRequest::descriptor()->file(),
        v1::GetCapacityRequest::descriptor()->file(), v1::GetQuotaRequest::descriptor()->file(),
        v1::AuditRequest::descriptor()->file()}) {
    for (int s = 0; s < file->service_count(); ++s) {
      for (int m = 0; m < file->service(s)->method_count(); ++m) {
        methods.push_back(file->service(s)->method(m));
      }
    }
  }
  return methods;
}

std::string Name(const MethodDescriptor* method) {
  return absl::StrCat("/", method->service()->full_name(), "/", method->name());
}

// What the answer itself says; empty when it has no such detail.
google::rpc::ErrorInfo ErrorInfoOf(const grpc::Status& status) {
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  EXPECT_TRUE(details.ParseFromString(status.error_details())) << status.error_message();
  for (const auto& detail : details.details()) {
    if (detail.UnpackTo(&info)) break;
  }
  return info;
}

// A request in which every text and number of the first level is wrong.
std::unique_ptr<Message> BadRequest(const MethodDescriptor* method) {
  auto* factory = google::protobuf::MessageFactory::generated_factory();
  std::unique_ptr<Message> request(factory->GetPrototype(method->input_type())->New());
  const auto* reflection = request->GetReflection();
  for (int i = 0; i < method->input_type()->field_count(); ++i) {
    const FieldDescriptor* field = method->input_type()->field(i);
    if (field->is_repeated()) continue;
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
      reflection->SetString(request.get(), field, "no\tsuch");
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_INT32) {
      reflection->SetInt32(request.get(), field, -1);
    }
  }
  return request;
}

using ContractTest = ControllerTest;

TEST_F(ContractTest, EveryMethodHasAPolicyRowAndEveryRowAMethod) {
  const AuthorisationPolicy policy = ControllerPolicy();
  std::set<std::string> named;
  for (const MethodDescriptor* method : AllMethods()) {
    EXPECT_EQ(policy.methods.count(Name(method)), 1) << Name(method);
    named.insert(Name(method));
  }
  for (const auto& [name, role] : policy.methods) EXPECT_EQ(named.count(name), 1) << name;
}

TEST_F(ContractTest, ABadRequestIsAnsweredWithAReason) {
  int methods = 0;
  for (const MethodDescriptor* method : AllMethods()) {
    const std::unique_ptr<Message> request = BadRequest(method);
    // Watches, too: they answer with nothing but their end.
    grpc::ByteBuffer response;
    const grpc::Status status = client().CallForStatus(
        absl::StrCat(method->service()->name(), "/", method->name()), *request, &response);
    EXPECT_FALSE(status.ok()) << Name(method);
    EXPECT_NE(status.error_code(), grpc::StatusCode::UNKNOWN) << Name(method);
    EXPECT_NE(status.error_message(), "") << Name(method);
    const google::rpc::ErrorInfo info = ErrorInfoOf(status);
    EXPECT_EQ(info.domain(), "berth.dev") << Name(method) << ": " << status.error_message();
    v1::ErrorReason reason = v1::REASON_UNSPECIFIED;
    EXPECT_TRUE(v1::ErrorReason_Parse(info.reason(), &reason)) << Name(method) << info.reason();
    EXPECT_NE(reason, v1::REASON_UNSPECIFIED) << Name(method);
    EXPECT_NE(reason, v1::INTERNAL) << Name(method);
    ++methods;
  }
  EXPECT_EQ(methods, 24);
}

TEST_F(ContractTest, WhatThisVersionDoesNotDoItRefusesByName) {
  const auto agent = AddHost();
  const auto unsupported = [&](const std::string& method, const Message& request) {
    v1::Assignment ignored;
    return client().CallRaw(method, request, &ignored);
  };
  EXPECT_THAT(unsupported("AssignmentService/UpdateAssignment", v1::UpdateAssignmentRequest()),
              FailsWith(Reason::kUnsupported));
  const auto refused = [&](const std::function<void(v1::AssignmentSpec*)>& edit) {
    auto request = CreateOf("vm");
    edit(request.mutable_assignment()->mutable_spec());
    return client().Create(request);
  };
  EXPECT_THAT(refused([](auto* s) { s->set_isolation(v1::AssignmentSpec::CONFINED); }),
              FailsWith(Reason::kUnsupported));
}

}  // namespace
}  // namespace berth::controller_test
