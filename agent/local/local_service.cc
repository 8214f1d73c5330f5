// SPDX-License-Identifier: Apache-2.0
#include "agent/local/local_service.h"

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <utility>

#include "berth/agent/v1/agent_local.grpc.pb.h"
#include "lib/base/status.h"
#include "lib/rpc/error.h"

namespace berth {
namespace {

using agent::v1::AgentLocal;
using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

// The socket's file mode is what keeps others out, so the handlers do not ask who calls.
class LocalService : public AgentLocal::CallbackService {
 public:
  explicit LocalService(LocalServiceOptions options) : options_(std::move(options)) {}

  ServerUnaryReactor* GetStatus(CallbackServerContext* context, const agent::v1::GetStatusRequest*,
                                agent::v1::AgentStatus* response) override {
    *response = options_.status();
    return Finish(context, absl::OkStatus());
  }

  ServerUnaryReactor* GetInventory(CallbackServerContext* context,
                                   const agent::v1::GetInventoryRequest*,
                                   agent::v1::Inventory* response) override {
    *response = options_.inventory->Current();
    return Finish(context, absl::OkStatus());
  }

  ServerUnaryReactor* GetHardware(CallbackServerContext* context,
                                  const agent::v1::GetHardwareRequest*,
                                  agent::v1::Hardware* response) override {
    *response = options_.inventory->CurrentHardware();
    return Finish(context, absl::OkStatus());
  }

  ServerUnaryReactor* ListGrants(CallbackServerContext* context,
                                 const agent::v1::ListGrantsRequest*,
                                 agent::v1::ListGrantsResponse* response) override {
    for (agent::v1::LocalGrant& grant : options_.grants->LocalGrants()) {
      *response->add_grants() = std::move(grant);
    }
    return Finish(context, absl::OkStatus());
  }

  ServerUnaryReactor* ListObjects(CallbackServerContext* context,
                                  const agent::v1::ListObjectsRequest* request,
                                  agent::v1::ListObjectsResponse* response) override {
    if (request->assignment_uid().empty()) {
      return Finish(context, Error(Reason::kMissingField, "assignment_uid is missing"));
    }
    auto objects = options_.grants->Objects(AssignmentUid(request->assignment_uid()));
    if (objects.ok()) {
      for (agent::v1::KernelObject& object : *objects) *response->add_objects() = std::move(object);
    }
    return Finish(context, objects.status());
  }

 private:
  static ServerUnaryReactor* Finish(CallbackServerContext* context, const absl::Status& status) {
    ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(ToGrpcStatus(status));
    return reactor;
  }

  const LocalServiceOptions options_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeLocalService(LocalServiceOptions options) {
  return std::make_unique<LocalService>(std::move(options));
}

}  // namespace berth
