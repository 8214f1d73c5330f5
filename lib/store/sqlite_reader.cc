// SPDX-License-Identifier: Apache-2.0
#include "lib/store/sqlite_reader.h"

#include <utility>

#include "lib/base/status.h"
#include "lib/store/sqlite_schema.h"
#include "lib/store/transaction.h"

namespace berth {
namespace {

// One view of the database for several statements.
class ReadTransaction {
 public:
  explicit ReadTransaction(SqliteDatabase& database)
      : database_(database), begun_(database.Execute("BEGIN")) {}
  ~ReadTransaction() {
    if (begun_.ok()) database_.Execute("COMMIT").IgnoreError();
  }
  ReadTransaction(const ReadTransaction&) = delete;
  ReadTransaction& operator=(const ReadTransaction&) = delete;

  const absl::Status& begun() const { return begun_; }

 private:
  SqliteDatabase& database_;
  const absl::Status begun_;
};

// From a row of (kind, id, revision, checksum, payload).
absl::StatusOr<Record> ReadRecord(const SqliteStatement& row, const RecordKey& key) {
  Record record{key, row.Int(2), row.Bytes(4)};
  if (RecordChecksum(record) == row.Int(3)) return record;
  return RecordDamaged(key);
}

}  // namespace

absl::StatusOr<std::unique_ptr<SqliteReader>> SqliteReader::Open(const std::string& path) {
  BERTH_ASSIGN_OR_RETURN(SqliteDatabase database,
                         SqliteDatabase::Open(path, SqliteDatabase::Mode::kReadOnly));
  return std::unique_ptr<SqliteReader>(new SqliteReader(std::move(database)));
}

absl::StatusOr<Revision> SqliteReader::Load(const Store::OnRecord& on_record,
                                            const Store::OnBroken& on_broken) {
  absl::MutexLock lock(&mu_);
  const ReadTransaction view(database_);
  BERTH_RETURN_IF_ERROR(view.begun());
  return LoadAll(on_record, on_broken);
}

absl::StatusOr<StoreSnapshot> SqliteReader::Snapshot(const Store::OnBroken& on_broken) {
  absl::MutexLock lock(&mu_);
  const ReadTransaction view(database_);
  BERTH_RETURN_IF_ERROR(view.begun());
  StoreSnapshot snapshot;
  BERTH_ASSIGN_OR_RETURN(snapshot.epoch, ReadSqliteEpoch(database_));
  BERTH_ASSIGN_OR_RETURN(
      snapshot.revision,
      LoadAll([&](Record record) { snapshot.records.push_back(std::move(record)); }, on_broken));
  return snapshot;
}

absl::StatusOr<Revision> SqliteReader::LoadAll(const Store::OnRecord& on_record,
                                               const Store::OnBroken& on_broken) {
  BERTH_ASSIGN_OR_RETURN(const Revision revision, database_.QueryInt("SELECT revision FROM store"));
  BERTH_ASSIGN_OR_RETURN(SqliteStatement rows,
                         database_.Prepare("SELECT kind, id, revision, checksum, payload"
                                           " FROM records ORDER BY kind, id"));
  for (;;) {
    BERTH_ASSIGN_OR_RETURN(const bool more, rows.Step());
    if (!more) return revision;
    const RecordKey key{rows.Bytes(0), rows.Bytes(1)};
    absl::StatusOr<Record> record = ReadRecord(rows, key);
    if (record.ok()) {
      on_record(*std::move(record));
    } else {
      on_broken(key, record.status());
    }
  }
}

absl::StatusOr<Record> SqliteReader::Get(const RecordKey& key) {
  absl::MutexLock lock(&mu_);
  BERTH_ASSIGN_OR_RETURN(SqliteStatement row,
                         database_.Prepare("SELECT kind, id, revision, checksum, payload"
                                           " FROM records WHERE kind = ?1 AND id = ?2"));
  BERTH_ASSIGN_OR_RETURN(const bool found, row.BindText(1, key.kind).BindText(2, key.id).Step());
  if (!found) return RecordNotFound(key);
  return ReadRecord(row, key);
}

absl::StatusOr<ChangeLog> SqliteReader::ReadChanges(Revision after, size_t limit) {
  absl::MutexLock lock(&mu_);
  const ReadTransaction view(database_);
  BERTH_RETURN_IF_ERROR(view.begun());
  return ReadLog(after, limit);
}

absl::StatusOr<ChangeLog> SqliteReader::ReadLog(Revision after, size_t limit) {
  BERTH_ASSIGN_OR_RETURN(const Revision current, database_.QueryInt("SELECT revision FROM store"));
  BERTH_ASSIGN_OR_RETURN(const Revision compacted,
                         database_.QueryInt("SELECT compacted FROM store"));
  BERTH_RETURN_IF_ERROR(CheckReadPosition(after, compacted, current));
  BERTH_ASSIGN_OR_RETURN(SqliteStatement rows,
                         database_.Prepare("SELECT revision, kind, id, payload FROM changes"
                                           " WHERE revision > ?1 ORDER BY revision, position"));
  rows.Bind(1, after);
  ChangeLog out;
  for (size_t count = 1;; ++count) {
    BERTH_ASSIGN_OR_RETURN(const bool more, rows.Step());
    if (!more) break;
    const Revision revision = rows.Int(0);
    if (out.revisions.empty() || out.revisions.back().revision != revision) {
      out.revisions.push_back({revision, {}});
    }
    if (count > limit && out.revisions.size() > 1) {
      out.revisions.pop_back();
      out.up_to = revision - 1;
      return out;
    }
    Change change{{rows.Bytes(1), rows.Bytes(2)}, std::nullopt};
    if (!rows.IsNull(3)) change.payload = rows.Bytes(3);
    out.revisions.back().changes.push_back(std::move(change));
  }
  out.up_to = current;
  return out;
}

}  // namespace berth
