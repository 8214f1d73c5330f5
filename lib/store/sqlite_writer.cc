// SPDX-License-Identifier: Apache-2.0
#include "lib/store/sqlite_writer.h"

#include <sqlite3.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/absl_view.h"
#include "lib/base/failpoint.h"
#include "lib/base/status.h"
#include "lib/store/transaction.h"

namespace berth {
namespace {

absl::Status Outcome(const absl::Status& status, std::string_view outcome) {
  return WithMetadata(status, "outcome", outcome);
}

}  // namespace

SqliteWriter::SqliteWriter(SqliteDatabase database, int64_t term, const StoreOptions& options)
    : term_(term),
      max_logged_revisions_(options.max_logged_revisions),
      unlogged_kinds_(options.unlogged_kinds.begin(), options.unlogged_kinds.end()),
      database_(std::move(database)) {}

absl::StatusOr<std::unique_ptr<SqliteWriter>> SqliteWriter::Create(SqliteDatabase database,
                                                                   int64_t term,
                                                                   const StoreOptions& options) {
  std::unique_ptr<SqliteWriter> writer(new SqliteWriter(std::move(database), term, options));
  absl::MutexLock lock(&writer->mu_);
  BERTH_RETURN_IF_ERROR(writer->Prepare());
  return writer;
}

absl::Status SqliteWriter::Prepare() {
  BERTH_ASSIGN_OR_RETURN(revision_, database_.QueryInt("SELECT revision FROM store"));
  BERTH_ASSIGN_OR_RETURN(compacted_, database_.QueryInt("SELECT compacted FROM store"));
  static constexpr char kPutRecord[] =
      "INSERT INTO records (kind, id, revision, checksum, payload) VALUES (?1, ?2, ?3, ?4, ?5)"
      " ON CONFLICT DO UPDATE SET revision = ?3, checksum = ?4, payload = ?5";
  constexpr const char* kSql[] = {
      "BEGIN IMMEDIATE",
      "COMMIT",
      "ROLLBACK",
      "SELECT revision FROM records WHERE kind = ?1 AND id = ?2",
      kPutRecord,
      "DELETE FROM records WHERE kind = ?1 AND id = ?2",
      "INSERT INTO changes (revision, position, kind, id, payload) VALUES (?1, ?2, ?3, ?4, ?5)",
      "UPDATE store SET revision = ?1",
      "DELETE FROM changes WHERE revision <= ?1",
      "UPDATE store SET compacted = ?1",
  };
  std::vector<SqliteStatement> all;
  for (const char* sql : kSql) {
    BERTH_ASSIGN_OR_RETURN(SqliteStatement statement, database_.Prepare(sql));
    all.push_back(std::move(statement));
  }
  statements_.emplace(Statements{std::move(all[0]), std::move(all[1]), std::move(all[2]),
                                 std::move(all[3]), std::move(all[4]), std::move(all[5]),
                                 std::move(all[6]), std::move(all[7]), std::move(all[8]),
                                 std::move(all[9])});
  return absl::OkStatus();
}

void SqliteWriter::Commit(absl::Span<CommitQueue::Item> batch) {
  absl::MutexLock lock(&mu_);
  const absl::Status together = TryCommit(batch);
  if (together.ok()) return;
  for (CommitQueue::Item& item : batch) {
    // After a failure of unknown outcome nothing may be tried again.
    absl::Status alone =
        broken_.ok() && batch.size() > 1 ? TryCommit(absl::MakeSpan(&item, 1)) : together;
    if (!alone.ok()) item.outcome = std::move(alone);
  }
}

absl::Status SqliteWriter::TryCommit(absl::Span<CommitQueue::Item> batch) {
  if (!broken_.ok()) return Outcome(broken_, "not_committed");
  if (absl::Status begin = statements_->begin.Run(); !begin.ok()) {
    return Outcome(begin, "not_committed");
  }
  absl::StatusOr<Revision> reached = ApplyAll(batch);
  BERTH_RETURN_IF_ERROR(Finish(reached.status()));
  revision_ = *reached;
  return absl::OkStatus();
}

absl::StatusOr<Revision> SqliteWriter::ApplyAll(absl::Span<CommitQueue::Item> batch) {
  Revision reached = revision_;
  const auto revision_of = [this](const RecordKey& key)
                               ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return RevisionOf(key); };
  for (CommitQueue::Item& item : batch) {
    absl::Status conditions = CheckPreconditions(item.transaction, term_, revision_of);
    if (SqliteCodeOf(conditions) != 0) return conditions;
    if (!conditions.ok()) {
      item.outcome = std::move(conditions);
      continue;
    }
    BERTH_RETURN_IF_ERROR(Apply(item.transaction, ++reached));
    item.outcome = reached;
  }
  if (reached != revision_) {
    BERTH_RETURN_IF_ERROR(statements_->set_revision.Bind(1, reached).Run());
  }
  // A tenth more than asked for, so that trimming is rare and in runs.
  if (reached - compacted_ > max_logged_revisions_ + max_logged_revisions_ / 10) {
    BERTH_RETURN_IF_ERROR(CompactTo(reached - max_logged_revisions_));
  }
  return reached;
}

absl::Status SqliteWriter::Apply(const Transaction& transaction, Revision revision) {
  int64_t position = 0;
  for (const Put& put : transaction.puts) {
    BERTH_RETURN_IF_ERROR(PutRecord(put, revision));
    BERTH_RETURN_IF_ERROR(Log(put.key, &put.payload, revision, position++));
  }
  for (const RecordKey& key : transaction.deletes) {
    BERTH_RETURN_IF_ERROR(statements_->remove.BindText(1, key.kind).BindText(2, key.id).Run());
    if (database_.Changes() == 0) continue;
    BERTH_RETURN_IF_ERROR(Log(key, nullptr, revision, position++));
  }
  return absl::OkStatus();
}

absl::StatusOr<Revision> SqliteWriter::RevisionOf(const RecordKey& key) {
  SqliteStatement& read = statements_->revision_of;
  BERTH_ASSIGN_OR_RETURN(const bool found, read.BindText(1, key.kind).BindText(2, key.id).Step());
  if (!found) return Precondition::kAbsent;
  const Revision revision = read.Int(0);
  read.Reset();
  return revision;
}

absl::Status SqliteWriter::PutRecord(const Put& put, Revision revision) {
  const int64_t checksum = RecordChecksum({put.key, revision, put.payload});
  return statements_->put.BindText(1, put.key.kind)
      .BindText(2, put.key.id)
      .Bind(3, revision)
      .Bind(4, checksum)
      .BindBlob(5, put.payload)
      .Run();
}

absl::Status SqliteWriter::Log(const RecordKey& key, const std::string* payload, Revision revision,
                               int64_t position) {
  if (unlogged_kinds_.contains(key.kind)) return absl::OkStatus();
  SqliteStatement& log = statements_->log;
  log.Bind(1, revision).Bind(2, position).BindText(3, key.kind).BindText(4, key.id);
  return (payload == nullptr ? log.BindNull(5) : log.BindBlob(5, *payload)).Run();
}

absl::Status SqliteWriter::CompactTo(Revision up_to) {
  BERTH_RETURN_IF_ERROR(statements_->trim.Bind(1, up_to).Run());
  BERTH_RETURN_IF_ERROR(statements_->set_compacted.Bind(1, up_to).Run());
  compacted_ = up_to;
  return absl::OkStatus();
}

absl::Status SqliteWriter::Compact(Revision up_to) {
  absl::MutexLock lock(&mu_);
  up_to = std::min<Revision>(up_to, revision_);
  if (up_to <= compacted_) return absl::OkStatus();
  BERTH_RETURN_IF_ERROR(broken_);
  BERTH_RETURN_IF_ERROR(statements_->begin.Run());
  return Finish(CompactTo(up_to));
}

absl::Status SqliteWriter::Finish(absl::Status work) {
  const bool committing = work.ok();
  if (committing) {
    if (const absl::Status hit = HitFailpoint(Failpoint::kCommitSqlite); !hit.ok()) {
      work = Error(Reason::kStoreFailed, StdView(hit.message()));
    }
  }
  if (work.ok()) work = statements_->commit.Run();
  if (work.ok()) return work;
  const int code = SqliteCodeOf(work) & 0xff;
  // SQLite has rolled back by itself after some errors; then this one is refused, and that is fine.
  statements_->rollback.Run().IgnoreError();
  // The transaction is gone; what it changed here is read again.
  absl::StatusOr<int64_t> compacted = database_.QueryInt("SELECT compacted FROM store");
  if (compacted.ok()) compacted_ = *compacted;
  // A full disk is noticed before the commit frame is complete. After any other failure of COMMIT
  // (an fsync that failed must not be repeated: the kernel drops the dirty pages) only reopening,
  // which replays the WAL as it is on the disk, tells.
  if (committing && code != SQLITE_FULL && code != SQLITE_BUSY) {
    broken_ = Error(Reason::kStoreFailed,
                    absl::StrCat("the store is closed for writing after a failed commit; reopen it"
                                 " (",
                                 work.message(), ")"));
    return Outcome(work, "unknown");
  }
  return Outcome(work, "not_committed");
}

}  // namespace berth
