// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/assignment_watch.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <thread>

#include "absl/synchronization/mutex.h"
#include "berth/v1/assignment_service.grpc.pb.h"

namespace berth::testing {

using v1::Assignment;

class AssignmentWatch::Reader {
 public:
  Reader(const std::shared_ptr<grpc::Channel>& channel, const std::string& id)
      : stub_(v1::AssignmentService::NewStub(channel)) {
    v1::WatchAssignmentsRequest request;
    request.set_name("assignments/" + id);
    stream_ = stub_->WatchAssignments(&context_, request);
    thread_ = std::thread([this] { Read(); });
  }
  ~Reader() {
    context_.TryCancel();
    thread_.join();
  }

  std::vector<Assignment::Observed> observed() const {
    absl::MutexLock lock(&mu_);
    return observed_;
  }
  bool deleted() const {
    absl::MutexLock lock(&mu_);
    return deleted_;
  }

 private:
  void Read() {
    v1::WatchAssignmentsResponse message;
    while (stream_->Read(&message)) {
      absl::MutexLock lock(&mu_);
      for (const v1::AssignmentEvent& event : message.events()) {
        if (event.type() == v1::AssignmentEvent::DELETE) {
          deleted_ = true;
        } else if (observed_.empty() || observed_.back() != event.assignment().observed()) {
          observed_.push_back(event.assignment().observed());
        }
      }
    }
    stream_->Finish();
  }

  const std::unique_ptr<v1::AssignmentService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::WatchAssignmentsResponse>> stream_;
  mutable absl::Mutex mu_;
  std::vector<Assignment::Observed> observed_ ABSL_GUARDED_BY(mu_);
  bool deleted_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

AssignmentWatch::AssignmentWatch(const Cluster& cluster, const std::string& id)
    : reader_(std::make_unique<Reader>(cluster.api(), id)) {}
AssignmentWatch::~AssignmentWatch() = default;

std::vector<Assignment::Observed> AssignmentWatch::observed() const { return reader_->observed(); }
bool AssignmentWatch::deleted() const { return reader_->deleted(); }

}  // namespace berth::testing
