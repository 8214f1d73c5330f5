// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/api/watch_reactor.h"

#include <grpcpp/support/slice.h>

#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "lib/rpc/error.h"

namespace berth {
namespace {

// Shares the bytes with all who are sent the same.
grpc::ByteBuffer ToByteBuffer(WatchMessage message) {
  auto owner = std::make_unique<WatchMessage>(std::move(message));
  const std::string& bytes = **owner;
  // gRPC reads it only, but its C core has no type for that.
  const grpc::Slice slice(
      const_cast<char*>(bytes.data()), bytes.size(),
      [](void* kept) { delete static_cast<WatchMessage*>(kept); }, owner.release());
  return grpc::ByteBuffer(&slice, 1);
}

// Streams a Watch to a client. Deletes itself when gRPC is done with it.
class WatchReactor : public WatchWriter {
 public:
  WatchReactor(WatchSource* source, std::unique_ptr<Watch> watch) : watch_(std::move(watch)) {
    // Reading what was missed may wait for the store.
    const bool queued = source->Run([this] {
      const absl::Status status = watch_->Start([this] { Pump(); });
      {
        absl::MutexLock lock(&mu_);
        started_ = true;
        if (!status.ok()) FinishLocked(status);
      }
      Pump();
      Release();
    });
    if (!queued) {
      absl::MutexLock lock(&mu_);
      FinishLocked(Error(Reason::kOverloaded, "too many watches are starting; retry"));
      starting_ = false;
    }
  }

 private:
  void OnWriteDone(bool ok) override {
    {
      absl::MutexLock lock(&mu_);
      writing_ = false;
      if (!ok) FinishLocked(Error(Reason::kCancelled, "the watcher has gone"));
    }
    Pump();
  }

  void OnCancel() override {
    absl::MutexLock lock(&mu_);
    cancelled_ = true;
    if (!writing_) FinishLocked(Error(Reason::kCancelled, "the watcher has gone"));
  }

  void OnDone() override {
    {
      absl::MutexLock lock(&mu_);
      done_ = true;
      if (starting_) return;
    }
    delete this;
  }

  // The start has ended; gRPC may have been done with this object before.
  void Release() {
    bool done = false;
    {
      absl::MutexLock lock(&mu_);
      starting_ = false;
      done = done_;
    }
    if (done) delete this;
  }

  void Pump() {
    absl::MutexLock lock(&mu_);
    if (!started_ || writing_ || finished_) return;
    if (cancelled_) return FinishLocked(Error(Reason::kCancelled, "the watcher has gone"));
    absl::StatusOr<WatchMessage> message = watch_->Next();
    if (!message.ok()) return FinishLocked(message.status());
    if (*message == nullptr) return;
    out_ = ToByteBuffer(*std::move(message));
    writing_ = true;
    StartWrite(&out_);
  }

  void FinishLocked(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (finished_) return;
    finished_ = true;
    Finish(ToGrpcStatus(status));
  }

  absl::Mutex mu_;
  bool starting_ ABSL_GUARDED_BY(mu_) = true;
  bool started_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  bool done_ ABSL_GUARDED_BY(mu_) = false;
  const std::unique_ptr<Watch> watch_;
  grpc::ByteBuffer out_;
};

class Refusal : public WatchWriter {
 public:
  explicit Refusal(const absl::Status& status) { Finish(ToGrpcStatus(status)); }
  void OnDone() override { delete this; }
};

}  // namespace

WatchWriter* StartWatch(const grpc::CallbackServerContext& context, const Authoriser& authoriser,
                        std::string_view method, WatchSource* source,
                        absl::StatusOr<WatchRequest> request) {
  const absl::Status allowed = authoriser.Authorise(context, method).status();
  if (!allowed.ok()) return new Refusal(allowed);
  if (!request.ok()) return new Refusal(request.status());
  return new WatchReactor(source, source->Make(*std::move(request)));
}

}  // namespace berth
