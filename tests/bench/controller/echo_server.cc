// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/controller/echo_server.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <iostream>
#include <memory>
#include <string>

#include "berth/v1/assignment_service.grpc.pb.h"

namespace berth::bench {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;
using v1::Assignment;

// As a controller answers for one GPU.
Assignment MakeAnswer() {
  Assignment answer;
  answer.set_uid("6a9d3fd1-8f0c-4d53-b21b-3c0c60f9a3c1");
  answer.set_owner("loopback");
  answer.set_intent(Assignment::PLACED);
  answer.set_generation(1);
  answer.set_attach_token(std::string(64, 'a'));
  answer.set_token_version(1);
  answer.mutable_create_time()->set_seconds(1'800'000'000);
  answer.mutable_create_time()->set_nanos(123'456'789);
  *answer.mutable_update_time() = answer.create_time();
  answer.set_etag("0123456789abcdef");
  v1::Placement* placement = answer.mutable_placement();
  placement->set_host("hosts/bench-000001");
  placement->set_attach_endpoint("/run/berth/vmm.sock");
  v1::UnitPlacement* unit = placement->add_units();
  unit->set_unit("smmu3.0x11000000");
  unit->set_profile(v1::Unit::TEGRA241_CMDQV);
  unit->set_vcmdqs(2);
  v1::DevicePlacement* device = unit->add_devices();
  device->set_device("0001-01-00-0-10de-2342-0000000000000001");
  device->set_address("0001:01:00.0");
  device->set_request("gpu");
  return answer;
}

class EchoService : public v1::AssignmentService::CallbackService {
 public:
  ServerUnaryReactor* CreateAssignment(CallbackServerContext* context,
                                       const v1::CreateAssignmentRequest* request,
                                       Assignment* response) override {
    Fill(*request, response);
    ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  ServerUnaryReactor* DeleteAssignment(CallbackServerContext* context,
                                       const v1::DeleteAssignmentRequest* request,
                                       Assignment* response) override {
    *response = answer_;
    response->set_name(request->name());
    ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  ServerUnaryReactor* BatchCreateAssignments(
      CallbackServerContext* context, const v1::BatchCreateAssignmentsRequest* request,
      v1::BatchCreateAssignmentsResponse* response) override {
    for (const auto& create : request->requests()) {
      Fill(create, response->add_results()->mutable_assignment());
    }
    ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

 private:
  void Fill(const v1::CreateAssignmentRequest& request, Assignment* response) const {
    *response = answer_;
    response->set_name("assignments/" + request.assignment_id());
    *response->mutable_spec() = request.assignment().spec();
  }

  const Assignment answer_ = MakeAnswer();
};

}  // namespace

int ServeEcho() {
  EchoService service;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return 1;
  std::cout << "serving 127.0.0.1:" << port << std::endl;
  std::cin.ignore(std::numeric_limits<std::streamsize>::max());
  server->Shutdown();
  return 0;
}

}  // namespace berth::bench
