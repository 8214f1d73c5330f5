// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/controller/callers.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/mutex.h"
#include "lib/base/ids.h"

namespace berth::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;
constexpr int kMaxConnections = 8;
constexpr std::chrono::seconds kDeadline{60};

// What the callers of one run share.
struct Shared {
  explicit Shared(int callers) : running(callers) {}
  std::atomic<int> next_call{0};
  absl::BlockingCounter running;
  absl::Mutex mu;
  absl::Status error ABSL_GUARDED_BY(mu);
};

template <typename Request, typename Response>
class Caller {
 public:
  Caller(const Load<Request, Response>& load, std::shared_ptr<Stub> stub, Shared* shared)
      : load_(load), stub_(std::move(stub)), shared_(shared) {}

  void Next() {
    const int call = shared_->next_call++;
    if (call >= load_.calls) {
      shared_->running.DecrementCount();
      return;
    }
    request_ = load_.next(call);
    response_.Clear();
    context_.emplace();
    context_->set_deadline(std::chrono::system_clock::now() + kDeadline);
    start_ = SteadyClock::now();
    load_.start(*stub_, &*context_, &request_, &response_,
                [this](const grpc::Status& status) { Done(status); });
  }

  [[nodiscard]] const std::vector<double>& latencies() const { return latencies_us_; }

 private:
  void Done(const grpc::Status& status) {
    latencies_us_.push_back(
        std::chrono::duration<double, std::micro>(SteadyClock::now() - start_).count());
    if (absl::Status result = load_.check(status, response_); !result.ok()) {
      absl::MutexLock lock(&shared_->mu);
      shared_->error.Update(result);
      shared_->next_call = load_.calls;
    }
    Next();
  }

  const Load<Request, Response>& load_;
  const std::shared_ptr<Stub> stub_;
  Shared* const shared_;
  Request request_;
  Response response_;
  std::optional<grpc::ClientContext> context_;
  SteadyClock::time_point start_;
  std::vector<double> latencies_us_;
};

}  // namespace

absl::Status ToStatus(const grpc::Status& status) {
  return {static_cast<absl::StatusCode>(status.error_code()), status.error_message()};
}

std::vector<std::shared_ptr<Stub>> Connect(const std::string& address, int count) {
  std::vector<std::shared_ptr<Stub>> stubs;
  for (int i = 0; i < std::min(count, kMaxConnections); ++i) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const auto channel =
        grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
    channel->WaitForConnected(std::chrono::system_clock::now() + kDeadline);
    stubs.push_back(v1::AssignmentService::NewStub(channel));
  }
  return stubs;
}

template <typename Request, typename Response>
absl::StatusOr<LoadResult> Run(const std::string& address, const Load<Request, Response>& load) {
  const auto stubs = Connect(address, load.callers);
  Shared shared(load.callers);
  std::vector<std::unique_ptr<Caller<Request, Response>>> callers;
  for (int i = 0; i < load.callers; ++i) {
    callers.push_back(std::make_unique<Caller<Request, Response>>(
        load, stubs[static_cast<size_t>(i) % stubs.size()], &shared));
  }
  const auto start = SteadyClock::now();
  for (const auto& caller : callers) caller->Next();
  shared.running.Wait();
  LoadResult result;
  result.seconds = std::chrono::duration<double>(SteadyClock::now() - start).count();
  absl::MutexLock lock(&shared.mu);
  if (!shared.error.ok()) return shared.error;
  for (const auto& caller : callers) {
    result.latencies_us.insert(result.latencies_us.end(), caller->latencies().begin(),
                               caller->latencies().end());
  }
  return result;
}

template absl::StatusOr<LoadResult> Run(const std::string&, const CreateLoad&);
template absl::StatusOr<LoadResult> Run(const std::string&, const BatchLoad&);
template absl::StatusOr<LoadResult> Run(const std::string&, const DeleteLoad&);

std::string IdOf(const std::string& prefix, int index) {
  return absl::StrFormat("%s-%07d", prefix, index);
}

v1::AssignmentSpec OneGpu() {
  v1::AssignmentSpec spec;
  v1::DeviceRequest* gpu = spec.add_device_requests();
  gpu->set_name("gpu");
  gpu->set_class_("gpu");
  gpu->set_count(1);
  return spec;
}

v1::CreateAssignmentRequest MakeCreate(const std::string& prefix, int index,
                                       const v1::AssignmentSpec& spec) {
  v1::CreateAssignmentRequest request;
  request.set_assignment_id(IdOf(prefix, index));
  request.set_request_id(NewUuid());
  *request.mutable_assignment()->mutable_spec() = spec;
  return request;
}

CreateLoad Creates(const std::string& prefix, int callers, int calls,
                   const v1::AssignmentSpec& spec) {
  CreateLoad load;
  load.callers = callers;
  load.calls = calls;
  load.next = [prefix, spec](int call) { return MakeCreate(prefix, call, spec); };
  load.start = [](Stub& stub, auto* context, const auto* request, auto* response, auto done) {
    stub.async()->CreateAssignment(context, request, response, std::move(done));
  };
  return load;
}

}  // namespace berth::bench
