// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_STORE_SQLITE_WRITER_H_
#define BERTH_LIB_STORE_SQLITE_WRITER_H_

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "lib/store/commit_queue.h"
#include "lib/store/sqlite.h"
#include "lib/store/store.h"

namespace berth {

// The writing side of a SQLite store: one connection, used by one thread at a time. Thread-safe.
class SqliteWriter {
 public:
  // `database` has the newest schema, and this process holds `term`.
  static absl::StatusOr<std::unique_ptr<SqliteWriter>> Create(SqliteDatabase database, int64_t term,
                                                              const StoreOptions& options);

  // One durable commit for the batch. When that fails, each transaction is tried by itself, so that
  // one that does not fit does not take others with it.
  void Commit(absl::Span<CommitQueue::Item> batch);
  absl::Status Compact(Revision up_to);
  // Of the last durable transaction.
  Revision revision() const { return revision_; }

 private:
  SqliteWriter(SqliteDatabase database, int64_t term, const StoreOptions& options);

  absl::Status Prepare() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Sets the outcomes when OK; else nothing was committed, or nobody knows (broken_).
  absl::Status TryCommit(absl::Span<CommitQueue::Item> batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Everything between BEGIN and COMMIT. The revision reached.
  absl::StatusOr<Revision> ApplyAll(absl::Span<CommitQueue::Item> batch)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Apply(const Transaction& transaction, Revision revision)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<Revision> RevisionOf(const RecordKey& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status PutRecord(const Put& put, Revision revision) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Log(const RecordKey& key, const std::string* payload, Revision revision,
                   int64_t position) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status CompactTo(Revision up_to) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // BEGIN has been done: COMMIT if `work` is OK, else ROLLBACK. Sets broken_ where the outcome is
  // not known.
  absl::Status Finish(absl::Status work) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  struct Statements {
    SqliteStatement begin, commit, rollback;
    SqliteStatement revision_of, put, remove, log;
    SqliteStatement set_revision, trim, set_compacted;
  };

  const int64_t term_;
  const Revision max_logged_revisions_;
  const absl::flat_hash_set<std::string> unlogged_kinds_;
  std::atomic<Revision> revision_ = 0;

  absl::Mutex mu_;
  SqliteDatabase database_ ABSL_GUARDED_BY(mu_);
  std::optional<Statements> statements_ ABSL_GUARDED_BY(mu_);
  Revision compacted_ ABSL_GUARDED_BY(mu_) = 0;
  // Why the store is unusable until it is reopened; OK while it works.
  absl::Status broken_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_LIB_STORE_SQLITE_WRITER_H_
