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
  // An error of one call, or of one part of it, ends the load.
  std::function<absl::Status(const Response&)> check = [](const Response&) {
    return absl::OkStatus();
  };
};

using CreateLoad = Load<v1::CreateAssignmentRequest, v1::Assignment>;
using BatchLoad = Load<v1::BatchCreateAssignmentsRequest, v1::BatchCreateAssignmentsResponse>;
using DeleteLoad = Load<v1::DeleteAssignmentRequest, v1::Assignment>;

// Creates of one GPU each, under names that begin with `prefix`.
v1::CreateAssignmentRequest MakeCreate(const std::string& prefix, int index);
CreateLoad Creates(const std::string& prefix, int callers, int calls);

// Callers that do nothing but wait for their answer before the next call, until all calls are made.
template <typename Request, typename Response>
absl::StatusOr<LoadResult> Run(const std::string& address, const Load<Request, Response>& load);

extern template absl::StatusOr<LoadResult> Run(const std::string&, const CreateLoad&);
extern template absl::StatusOr<LoadResult> Run(const std::string&, const BatchLoad&);
extern template absl::StatusOr<LoadResult> Run(const std::string&, const DeleteLoad&);

}  // namespace berth::bench

#endif  // BERTH_TESTS_BENCH_CONTROLLER_CALLERS_H_
