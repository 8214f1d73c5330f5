// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_API_WATCH_REACTOR_H_
#define BERTH_CTL_CONTROLLER_API_WATCH_REACTOR_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "ctl/controller/watch/watcher.h"
#include "lib/base/status.h"
#include "lib/rpc/authorise.h"
#include "lib/rpc/error.h"

namespace berth {

// Streams a Watch to a client. `Fill` turns a batch into a response: void(const WatchBatch&,
// Response*). Deletes itself when gRPC is done with it.
template <typename Response, typename Fill>
class WatchReactor : public grpc::ServerWriteReactor<Response> {
 public:
  WatchReactor(WatchSource* source, std::unique_ptr<Watch> watch, Fill fill)
      : watch_(std::move(watch)), fill_(std::move(fill)) {
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
    absl::StatusOr<std::shared_ptr<const WatchBatch>> batch = watch_->Next();
    if (!batch.ok()) return FinishLocked(batch.status());
    if (*batch == nullptr) return;
    out_.Clear();
    fill_(**batch, &out_);
    out_.set_watch_token((*batch)->position.ToToken());
    writing_ = true;
    this->StartWrite(&out_);
  }

  void FinishLocked(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (finished_) return;
    finished_ = true;
    this->Finish(ToGrpcStatus(status));
  }

  absl::Mutex mu_;
  bool starting_ ABSL_GUARDED_BY(mu_) = true;
  bool started_ ABSL_GUARDED_BY(mu_) = false;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  bool done_ ABSL_GUARDED_BY(mu_) = false;
  const std::unique_ptr<Watch> watch_;
  const Fill fill_;
  Response out_;
};

// What the handler of a watch returns: the watch, or its refusal.
template <typename Response, typename Fill>
grpc::ServerWriteReactor<Response>* StartWatch(grpc::CallbackServerContext* context,
                                               const Authoriser& authoriser,
                                               std::string_view method, WatchSource* source,
                                               WatchRequest request, Fill fill) {
  class Refusal : public grpc::ServerWriteReactor<Response> {
   public:
    explicit Refusal(const absl::Status& status) { this->Finish(ToGrpcStatus(status)); }
    void OnDone() override { delete this; }
  };
  const absl::Status allowed = authoriser.Authorise(*context, method).status();
  if (!allowed.ok()) return new Refusal(allowed);
  return new WatchReactor<Response, Fill>(source, source->Make(std::move(request)),
                                          std::move(fill));
}

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_API_WATCH_REACTOR_H_
