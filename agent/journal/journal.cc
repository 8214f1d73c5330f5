// SPDX-License-Identifier: Apache-2.0
#include "agent/journal/journal.h"

#include <cerrno>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"

namespace berth {
namespace {

// "BJnl", in PRAGMA application_id.
constexpr int64_t kApplication = 0x424a6e6c;
constexpr int64_t kSchema = 1;

absl::Status MakeSchema(SqliteDatabase& database) {
  return database.Execute(
      absl::StrCat("BEGIN;"
                   "CREATE TABLE boot (id TEXT NOT NULL);"
                   "CREATE TABLE grants (uid TEXT PRIMARY KEY, record BLOB NOT NULL) "
                   "WITHOUT ROWID;"
                   "CREATE TABLE units (id TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;"
                   "PRAGMA application_id = ",
                   kApplication, ";PRAGMA user_version = ", kSchema, ";COMMIT;"));
}

absl::Status CheckSchema(SqliteDatabase& database, const std::string& path) {
  BERTH_ASSIGN_OR_RETURN(const int64_t tables,
                         database.QueryInt("SELECT count(*) FROM sqlite_master"));
  if (tables == 0) return MakeSchema(database);
  BERTH_ASSIGN_OR_RETURN(const int64_t application, database.QueryInt("PRAGMA application_id"));
  BERTH_ASSIGN_OR_RETURN(const int64_t schema, database.QueryInt("PRAGMA user_version"));
  if (application == kApplication && schema == kSchema) return absl::OkStatus();
  return Error(Reason::kStoreCorrupt,
               absl::StrCat(path, " is not a journal that this agent can read (schema ", schema,
                            ", this one writes ", kSchema, ")"));
}

// Forgets what is of another boot.
absl::Status CheckBoot(SqliteDatabase& database, const std::string& boot_id) {
  BERTH_ASSIGN_OR_RETURN(SqliteStatement known,
                         database.Prepare("SELECT 1 FROM boot WHERE id = ?"));
  known.BindText(1, boot_id);
  BERTH_ASSIGN_OR_RETURN(const bool same, known.Step());
  known.Reset();
  if (same) return absl::OkStatus();
  BERTH_RETURN_IF_ERROR(
      database.Execute("BEGIN; DELETE FROM boot; DELETE FROM grants; DELETE FROM units;"));
  BERTH_ASSIGN_OR_RETURN(SqliteStatement note, database.Prepare("INSERT INTO boot VALUES (?)"));
  note.BindText(1, boot_id);
  BERTH_RETURN_IF_ERROR(note.Run());
  return database.Execute("COMMIT");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Journal>> Journal::TryOpen(const std::string& path,
                                                          const std::string& boot_id) {
  BERTH_ASSIGN_OR_RETURN(SqliteDatabase database,
                         SqliteDatabase::Open(path, SqliteDatabase::Mode::kReadWriteCreate));
  // The file ends with the boot, as what it tells of does: nothing is to be synced.
  BERTH_RETURN_IF_ERROR(
      database.Execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; "
                       "PRAGMA busy_timeout = 2000;"));
  BERTH_RETURN_IF_ERROR(CheckSchema(database, path));
  BERTH_RETURN_IF_ERROR(CheckBoot(database, boot_id));
  BERTH_ASSIGN_OR_RETURN(SqliteStatement put_grant,
                         database.Prepare("INSERT OR REPLACE INTO grants VALUES (?, ?)"));
  BERTH_ASSIGN_OR_RETURN(SqliteStatement remove_grant,
                         database.Prepare("DELETE FROM grants WHERE uid = ?"));
  BERTH_ASSIGN_OR_RETURN(SqliteStatement put_unit,
                         database.Prepare("INSERT OR REPLACE INTO units VALUES (?, ?)"));
  return std::unique_ptr<Journal>(new Journal(
      std::move(database), {std::move(put_grant), std::move(remove_grant), std::move(put_unit)}));
}

absl::StatusOr<std::unique_ptr<Journal>> Journal::Open(const std::string& path,
                                                       const std::string& boot_id,
                                                       absl::Status* broken) {
  *broken = absl::OkStatus();
  absl::StatusOr<std::unique_ptr<Journal>> journal = TryOpen(path, boot_id);
  if (journal.ok() || ReasonOf(journal.status()) != Reason::kStoreCorrupt) return journal;
  *broken = journal.status();
  for (const char* part : {"", "-wal", "-shm"}) {
    const std::string file = absl::StrCat(path, part);
    if (std::rename(file.c_str(), absl::StrCat(path, ".broken", part).c_str()) != 0 &&
        errno != ENOENT) {
      return ErrnoToStatus(errno, absl::StrCat("moving ", file, " away"));
    }
  }
  return TryOpen(path, boot_id);
}

absl::Status Journal::Put(const internal::v1::JournaledGrant& grant) {
  const std::string record = grant.SerializeAsString();
  absl::MutexLock lock(&mu_);
  SqliteStatement& put = statements_.put_grant;
  put.BindText(1, grant.desired().assignment_uid()).BindBlob(2, record);
  absl::Status status = put.Run();
  put.Reset();
  return status;
}

absl::Status Journal::Remove(const AssignmentUid& uid) {
  absl::MutexLock lock(&mu_);
  SqliteStatement& remove = statements_.remove_grant;
  remove.BindText(1, uid.str());
  absl::Status status = remove.Run();
  remove.Reset();
  return status;
}

absl::StatusOr<std::vector<std::string>> Journal::ReadAll(std::string_view sql) {
  BERTH_ASSIGN_OR_RETURN(SqliteStatement read, database_.Prepare(sql));
  std::vector<std::string> records;
  for (;;) {
    BERTH_ASSIGN_OR_RETURN(const bool more, read.Step());
    if (!more) return records;
    records.push_back(read.Bytes(0));
  }
}

absl::StatusOr<std::vector<internal::v1::JournaledGrant>> Journal::Grants() {
  absl::MutexLock lock(&mu_);
  BERTH_ASSIGN_OR_RETURN(const std::vector<std::string> records,
                         ReadAll("SELECT record FROM grants ORDER BY uid"));
  std::vector<internal::v1::JournaledGrant> grants;
  for (const std::string& record : records) {
    internal::v1::JournaledGrant grant;
    if (grant.ParseFromString(record)) grants.push_back(std::move(grant));
  }
  return grants;
}

absl::Status Journal::PutUnit(const internal::v1::JournaledUnitFacts& unit) {
  const std::string record = unit.SerializeAsString();
  absl::MutexLock lock(&mu_);
  SqliteStatement& put = statements_.put_unit;
  put.BindText(1, unit.id()).BindBlob(2, record);
  absl::Status status = put.Run();
  put.Reset();
  return status;
}

absl::StatusOr<std::vector<internal::v1::JournaledUnitFacts>> Journal::Units() {
  absl::MutexLock lock(&mu_);
  BERTH_ASSIGN_OR_RETURN(const std::vector<std::string> records,
                         ReadAll("SELECT record FROM units ORDER BY id"));
  std::vector<internal::v1::JournaledUnitFacts> units;
  for (const std::string& record : records) {
    internal::v1::JournaledUnitFacts unit;
    if (unit.ParseFromString(record)) units.push_back(std::move(unit));
  }
  return units;
}

}  // namespace berth
