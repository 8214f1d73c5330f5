// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_BENCH_CONTROLLER_CALLERS_H_
#define BERTH_TESTS_BENCH_CONTROLLER_CALLERS_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "berth/v1/assignment_service.grpc.pb.h"

namespace berth::bench {

using Stub = v1::AssignmentService::Stub;

// One connection for each caller of `count`, up to 8 in all.
std::vector<std::shared_ptr<Stub>> Connect(const std::string& address, int count);

struct LoadResult {
  double seconds = 0;
  std::vector<double> latencies_us;  // one for each call
};

// That the call has been answered.
absl::Status ToStatus(const grpc::Status& status);
template <typename Response>
absl::Status CheckOk(const grpc::Status& status, const Response&) {
  return ToStatus(status);
}

// Calls that one caller makes, one after the other.
//   next(call)   the request of the call with this number, 0 to calls - 1
//   start        sends it; `done` is called on a thread of gRPC's
template <typename Request, typename Response>
struct Load {
  int callers = 1;
  int calls = 0;
  std::function<Request(int call)> next;
  std::function<void(Stub&, grpc::ClientContext*, const Request*, Response*,
                     std::function<void(grpc::Status)> done)>
      start;
  // An error ends the load.
  std::function<absl::Status(const grpc::Status&, const Response&)> check = CheckOk<Response>;
};

using CreateLoad = Load<v1::CreateAssignmentRequest, v1::Assignment>;
using BatchLoad = Load<v1::BatchCreateAssignmentsRequest, v1::BatchCreateAssignmentsResponse>;
using DeleteLoad = Load<v1::DeleteAssignmentRequest, v1::Assignment>;

std::string IdOf(const std::string& prefix, int index);
v1::AssignmentSpec OneGpu();
v1::CreateAssignmentRequest MakeCreate(const std::string& prefix, int index,
                                       const v1::AssignmentSpec& spec = OneGpu());
// Creates under names that begin with `prefix`.
CreateLoad Creates(const std::string& prefix, int callers, int calls,
                   const v1::AssignmentSpec& spec = OneGpu());

// Callers that do nothing but wait for their answer before the next call, until all calls are made.
template <typename Request, typename Response>
absl::StatusOr<LoadResult> Run(const std::string& address, const Load<Request, Response>& load);

extern template absl::StatusOr<LoadResult> Run(const std::string&, const CreateLoad&);
extern template absl::StatusOr<LoadResult> Run(const std::string&, const BatchLoad&);
extern template absl::StatusOr<LoadResult> Run(const std::string&, const DeleteLoad&);

}  // namespace berth::bench

#endif  // BERTH_TESTS_BENCH_CONTROLLER_CALLERS_H_
