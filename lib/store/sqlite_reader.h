// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_STORE_SQLITE_READER_H_
#define BERTH_LIB_STORE_SQLITE_READER_H_

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "lib/store/medium.h"
#include "lib/store/sqlite.h"
#include "lib/store/store.h"

namespace berth {

// The reading side of a SQLite store: a connection of its own, which the WAL lets read while the
// writer commits, and which sees only what is durable (SQLite publishes a commit in the WAL's index
// after the sync). Thread-safe; the contracts are those of Store.
class SqliteReader {
 public:
  static absl::StatusOr<std::unique_ptr<SqliteReader>> Open(const std::string& path);

  // Of the store, and all of its records, in one view.
  absl::StatusOr<StoreSnapshot> Snapshot(const Store::OnBroken& on_broken);
  absl::StatusOr<Revision> Load(const Store::OnRecord& on_record, const Store::OnBroken& on_broken);
  absl::StatusOr<Record> Get(const RecordKey& key);
  absl::StatusOr<ChangeLog> ReadChanges(Revision after, size_t limit);

 private:
  explicit SqliteReader(SqliteDatabase database) : database_(std::move(database)) {}

  absl::StatusOr<Revision> LoadAll(const Store::OnRecord& on_record,
                                   const Store::OnBroken& on_broken)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<ChangeLog> ReadLog(Revision after, size_t limit)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  absl::Mutex mu_;
  SqliteDatabase database_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_LIB_STORE_SQLITE_READER_H_
