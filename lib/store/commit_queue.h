// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_STORE_COMMIT_QUEUE_H_
#define BERTH_LIB_STORE_COMMIT_QUEUE_H_

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "lib/store/store.h"

namespace berth {

// Group commit: one thread that takes whatever waits, has it committed together, and then runs the
// callbacks in order. The contract of Store::Commit(), but for what a transaction does.
class CommitQueue {
 public:
  struct Item {
    Transaction transaction;
    Store::CommitCallback done;
    absl::StatusOr<Revision> outcome;
  };
  // Commits a batch (not empty) and sets the outcome of every item. Runs on the queue's thread.
  using CommitBatch = std::function<void(absl::Span<Item> batch)>;

  // Uses max_waiting, max_batch and on_commit.
  CommitQueue(const StoreOptions& options, CommitBatch commit);
  // Commits what was accepted, then joins.
  ~CommitQueue();
  CommitQueue(const CommitQueue&) = delete;
  CommitQueue& operator=(const CommitQueue&) = delete;

  [[nodiscard]] absl::Status Add(Transaction transaction, Store::CommitCallback done);

 private:
  void Run();
  // Empty when the queue is to end.
  std::vector<Item> Take();

  const size_t max_waiting_;
  const size_t max_batch_;
  const std::function<void(const CommitStats&)> on_commit_;
  const CommitBatch commit_;

  absl::Mutex mu_;
  std::deque<Item> waiting_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace berth

#endif  // BERTH_LIB_STORE_COMMIT_QUEUE_H_
