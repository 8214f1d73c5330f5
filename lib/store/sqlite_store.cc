// SPDX-License-Identifier: Apache-2.0
#include "lib/store/sqlite_store.h"

#include <sqlite3.h>

#include <algorithm>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "lib/base/status.h"
#include "lib/store/commit_queue.h"
#include "lib/store/file_lock.h"
#include "lib/store/sqlite.h"
#include "lib/store/sqlite_reader.h"
#include "lib/store/sqlite_schema.h"
#include "lib/store/sqlite_writer.h"
#include "lib/store/transaction.h"

namespace berth {
namespace {

constexpr char kConnectionSettings[] =
    "PRAGMA synchronous = FULL;"
    "PRAGMA foreign_keys = ON;"
    "PRAGMA trusted_schema = OFF;"
    "PRAGMA cache_size = -16384;"            // KiB
    "PRAGMA journal_size_limit = 67108864";  // bytes that the WAL keeps after a checkpoint

absl::Status UseWal(SqliteDatabase& database, const std::string& path) {
  BERTH_ASSIGN_OR_RETURN(SqliteStatement wal, database.Prepare("PRAGMA journal_mode = WAL"));
  BERTH_ASSIGN_OR_RETURN(const bool row, wal.Step());
  // SQLite answers with the mode it stays in, without an error.
  if (row && wal.Bytes(0) == "wal") return absl::OkStatus();
  return Error(Reason::kStoreFailed,
               absl::StrCat("the file system of ", path,
                            " does not support SQLite's WAL mode; use a"
                            " local one"),
               {{"path", path}});
}

// Opens for writing, with the newest schema. The caller holds the lock.
absl::StatusOr<SqliteDatabase> OpenForWriting(const std::string& path) {
  BERTH_ASSIGN_OR_RETURN(SqliteDatabase database,
                         SqliteDatabase::Open(path, SqliteDatabase::Mode::kReadWriteCreate));
  // Before the first write (journal_mode is one) the file must be known to be ours.
  BERTH_RETURN_IF_ERROR(MigrateSqliteSchema(database, path));
  BERTH_RETURN_IF_ERROR(UseWal(database, path));
  BERTH_RETURN_IF_ERROR(database.Execute(kConnectionSettings));
  return database;
}

absl::Status LimitSize(SqliteDatabase& database, int64_t max_bytes) {
  if (max_bytes <= 0) return absl::OkStatus();
  BERTH_ASSIGN_OR_RETURN(const int64_t page, database.QueryInt("PRAGMA page_size"));
  return database.Execute(
      absl::StrCat("PRAGMA max_page_count = ", std::max<int64_t>(max_bytes / page, 1)));
}

class SqliteStore : public Store {
 public:
  SqliteStore(FileLock lock, StoreEpoch epoch, std::unique_ptr<SqliteWriter> writer,
              std::unique_ptr<SqliteReader> reader, const StoreOptions& options)
      : lock_(std::move(lock)),
        epoch_(std::move(epoch)),
        writer_(std::move(writer)),
        reader_(std::move(reader)),
        queue_(options, [this](absl::Span<CommitQueue::Item> batch) { writer_->Commit(batch); }) {}

  StoreEpoch epoch() const override { return epoch_; }
  Revision CurrentRevision() const override { return writer_->revision(); }
  absl::Status Commit(Transaction transaction, CommitCallback done) override {
    return queue_.Add(std::move(transaction), std::move(done));
  }
  absl::StatusOr<Revision> Load(const OnRecord& on_record, const OnBroken& on_broken) override {
    return reader_->Load(on_record, on_broken);
  }
  absl::StatusOr<Record> Get(const RecordKey& key) override { return reader_->Get(key); }
  absl::StatusOr<ChangeLog> ReadChanges(Revision after, size_t limit) override {
    return reader_->ReadChanges(after, limit);
  }
  absl::Status Compact(Revision up_to) override { return writer_->Compact(up_to); }

 private:
  // In this order: the queue commits its rest first, the lock goes last.
  const FileLock lock_;
  const StoreEpoch epoch_;
  const std::unique_ptr<SqliteWriter> writer_;
  const std::unique_ptr<SqliteReader> reader_;
  CommitQueue queue_;
};

absl::StatusOr<StoreEpoch> TakeOver(SqliteDatabase& database) {
  BERTH_RETURN_IF_ERROR(database.Execute("UPDATE store SET term = term + 1"));
  return ReadSqliteEpoch(database);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> OpenSqliteStore(const std::string& path,
                                                       const SqliteStoreOptions& options) {
  BERTH_ASSIGN_OR_RETURN(FileLock lock, FileLock::AcquireBeside(path));
  BERTH_ASSIGN_OR_RETURN(SqliteDatabase database, OpenForWriting(path));
  BERTH_ASSIGN_OR_RETURN(StoreEpoch epoch, TakeOver(database));
  BERTH_RETURN_IF_ERROR(LimitSize(database, options.max_bytes));
  BERTH_ASSIGN_OR_RETURN(std::unique_ptr<SqliteWriter> writer,
                         SqliteWriter::Create(std::move(database), epoch.term, options));
  BERTH_ASSIGN_OR_RETURN(std::unique_ptr<SqliteReader> reader, SqliteReader::Open(path));
  return std::make_unique<SqliteStore>(std::move(lock), std::move(epoch), std::move(writer),
                                       std::move(reader), options);
}

}  // namespace berth
