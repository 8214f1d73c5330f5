// SPDX-License-Identifier: Apache-2.0
#include "lib/store/commit_queue.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "lib/base/failpoint.h"
#include "lib/base/status.h"
#include "lib/store/transaction.h"

namespace berth {

CommitQueue::CommitQueue(const StoreOptions& options, CommitBatch commit)
    : max_waiting_(options.max_waiting),
      max_batch_(std::max<size_t>(options.max_batch, 1)),
      on_commit_(options.on_commit),
      commit_(std::move(commit)),
      thread_([this] { Run(); }) {}

CommitQueue::~CommitQueue() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
  }
  thread_.join();
}

absl::Status CommitQueue::Add(Transaction transaction, Store::CommitCallback done) {
  BERTH_RETURN_IF_ERROR(ValidateTransaction(transaction));
  absl::MutexLock lock(&mu_);
  if (stopping_) return Error(Reason::kShuttingDown, "the store is closing");
  if (waiting_.size() >= max_waiting_) {
    return Error(Reason::kOverloaded,
                 absl::StrCat("the store is behind: ", max_waiting_, " transactions wait"));
  }
  waiting_.push_back({std::move(transaction), std::move(done), Revision{0}});
  return absl::OkStatus();
}

std::vector<CommitQueue::Item> CommitQueue::Take() {
  const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return stopping_ || !waiting_.empty();
  };
  absl::MutexLock lock(&mu_);
  mu_.Await(absl::Condition(&ready));
  const auto end =
      waiting_.begin() + static_cast<std::ptrdiff_t>(std::min(waiting_.size(), max_batch_));
  std::vector<Item> batch(std::make_move_iterator(waiting_.begin()), std::make_move_iterator(end));
  waiting_.erase(waiting_.begin(), end);
  return batch;
}

void CommitQueue::Run() {
  for (std::vector<Item> batch = Take(); !batch.empty(); batch = Take()) {
    const absl::Time start = absl::Now();
    CrashAt(Failpoint::kCommitWrite);
    commit_(absl::MakeSpan(batch));
    CrashAt(Failpoint::kCommitWritten);
    if (on_commit_) on_commit_({batch.size(), absl::Now() - start});
    for (Item& item : batch) item.done(std::move(item.outcome));
  }
}

absl::StatusOr<Revision> CommitSync(Store& store, Transaction transaction) {
  struct Waiter {
    absl::Mutex mu;
    bool done ABSL_GUARDED_BY(mu) = false;
    absl::StatusOr<Revision> outcome ABSL_GUARDED_BY(mu) = Revision{0};
  } waiter;
  BERTH_RETURN_IF_ERROR(
      store.Commit(std::move(transaction), [&waiter](absl::StatusOr<Revision> outcome) {
        absl::MutexLock lock(&waiter.mu);
        waiter.outcome = std::move(outcome);
        waiter.done = true;
      }));
  absl::MutexLock lock(&waiter.mu);
  waiter.mu.Await(absl::Condition(&waiter.done));
  return std::move(waiter.outcome);
}

}  // namespace berth
