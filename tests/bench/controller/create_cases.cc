// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/controller/create_cases.h"

#include <atomic>
#include <functional>
#include <memory>
#include <utility>

#include "lib/base/ids.h"

namespace berth::bench {
namespace {

void Require(const std::string& key, v1::Requirement::Operator op,
             const std::vector<std::string>& values, v1::DeviceRequest* request) {
  v1::Requirement* requirement = request->add_requirements();
  requirement->set_key(key);
  requirement->set_operator_(op);
  for (const std::string& value : values) requirement->add_values(value);
}

v1::DeleteAssignmentRequest MakeDelete(const std::string& id) {
  v1::DeleteAssignmentRequest request;
  request.set_name("assignments/" + id);
  request.set_request_id(NewUuid());
  return request;
}

BatchLoad Together(const std::string& prefix, int callers, int calls, int size,
                   v1::BatchCreateAssignmentsRequest::Mode mode) {
  BatchLoad load;
  load.callers = callers;
  load.calls = calls;
  load.next = [prefix, size, mode](int call) {
    v1::BatchCreateAssignmentsRequest request;
    request.set_mode(mode);
    for (int i = 0; i < size; ++i) *request.add_requests() = MakeCreate(prefix, call * size + i);
    // Independent ones are requests of their own.
    if (mode == v1::BatchCreateAssignmentsRequest::ATOMIC) {
      request.set_request_id(NewUuid());
      for (auto& member : *request.mutable_requests()) member.clear_request_id();
    }
    return request;
  };
  load.start = [](Stub& stub, auto* context, const auto* request, auto* response, auto done) {
    stub.async()->BatchCreateAssignments(context, request, response, std::move(done));
  };
  load.check = [](const grpc::Status& status,
                  const v1::BatchCreateAssignmentsResponse& response) -> absl::Status {
    for (const v1::BatchCreateResult& result : response.results()) {
      if (result.has_failure()) return absl::InternalError(result.failure().message());
    }
    return ToStatus(status);
  };
  return load;
}

// Of one call of Churn(): the Delete that comes first.
struct Before {
  grpc::ClientContext context;
  v1::DeleteAssignmentRequest request;
  v1::Assignment response;
};

}  // namespace

v1::AssignmentSpec SelectedGpu() {
  v1::AssignmentSpec spec = OneGpu();
  v1::DeviceRequest* gpu = spec.mutable_device_requests(0);
  Require("vendor_id", v1::Requirement::IN, {"4318", "5555"}, gpu);
  Require("device_id", v1::Requirement::GT, {"9000"}, gpu);
  Require("numa_node", v1::Requirement::NOT_IN, {"7"}, gpu);
  return spec;
}

v1::AssignmentSpec TwoGpus(bool same_unit) {
  v1::AssignmentSpec spec = OneGpu();
  *spec.add_device_requests() = spec.device_requests(0);
  spec.mutable_device_requests(1)->set_name("other");
  if (same_unit) spec.add_constraints()->mutable_same_unit();
  return spec;
}

BatchLoad Batches(const std::string& prefix, int callers, int calls) {
  return Together(prefix, callers, calls, kBatch, v1::BatchCreateAssignmentsRequest::INDEPENDENT);
}

BatchLoad Gangs(const std::string& prefix, int callers, int calls) {
  return Together(prefix, callers, calls, kGang, v1::BatchCreateAssignmentsRequest::ATOMIC);
}

// No part of what is measured, and so not of the request ids that a controller remembers.
DeleteLoad Deletes(std::vector<std::string> ids, int callers) {
  DeleteLoad load;
  load.callers = callers;
  load.calls = static_cast<int>(ids.size());
  load.next = [ids = std::move(ids)](int call) {
    v1::DeleteAssignmentRequest request = MakeDelete(ids[static_cast<size_t>(call)]);
    request.clear_request_id();
    return request;
  };
  load.start = [](Stub& stub, auto* context, const auto* request, auto* response, auto done) {
    stub.async()->DeleteAssignment(context, request, response, std::move(done));
  };
  return load;
}

CreateLoad Churn(const std::string& prefix, int callers, std::vector<std::string> old) {
  CreateLoad load = Creates(prefix, callers, static_cast<int>(old.size()));
  const auto ids = std::make_shared<const std::vector<std::string>>(std::move(old));
  const auto next = std::make_shared<std::atomic<size_t>>(0);
  load.start = [ids, next](Stub& stub, auto* context, const auto* request, auto* response,
                           std::function<void(grpc::Status)> done) {
    auto before = std::make_shared<Before>();
    before->request = MakeDelete((*ids)[(*next)++]);
    before->context.set_deadline(context->deadline());
    stub.async()->DeleteAssignment(
        &before->context, &before->request, &before->response,
        [&stub, context, request, response, before, done](const grpc::Status& status) {
          if (!status.ok()) return done(status);
          stub.async()->CreateAssignment(context, request, response, done);
        });
  };
  return load;
}

CreateLoad Refusals(const std::string& prefix, int callers, int calls) {
  CreateLoad load = Creates(prefix, callers, calls);
  load.check = [](const grpc::Status& status, const v1::Assignment& created) -> absl::Status {
    if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) return absl::OkStatus();
    return status.ok() ? absl::InternalError("there was room for " + created.name())
                       : ToStatus(status);
  };
  return load;
}

}  // namespace berth::bench
