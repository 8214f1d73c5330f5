// SPDX-License-Identifier: Apache-2.0
#include "lib/store/sqlite_schema.h"

#include <iterator>

#include "absl/strings/str_cat.h"
#include "lib/base/ids.h"
#include "lib/base/status.h"

namespace berth {
namespace {

// "Brth": PRAGMA application_id, what file(1) sees at offset 68.
constexpr int64_t kApplicationId = 0x42727468;

// Step i leads from schema i to schema i + 1. A released step is never edited. @UID is replaced by
// a fresh UUID.
constexpr const char* kSteps[] = {
    R"sql(
CREATE TABLE store (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  uid TEXT NOT NULL,
  restore_count INTEGER NOT NULL,
  term INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  compacted INTEGER NOT NULL
) STRICT;
INSERT INTO store VALUES (1, '@UID', 0, 0, 0, 0);

CREATE TABLE records (
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  revision INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  payload BLOB NOT NULL,
  PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

-- payload is NULL for a deletion.
CREATE TABLE changes (
  revision INTEGER NOT NULL,
  position INTEGER NOT NULL,
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  payload BLOB,
  PRIMARY KEY (revision, position)
) STRICT, WITHOUT ROWID;
)sql",
};

std::string WithUid(std::string sql) {
  constexpr std::string_view kMark = "@UID";
  if (const size_t at = sql.find(kMark); at != std::string::npos) {
    sql.replace(at, kMark.size(), NewUuid());
  }
  return sql;
}

absl::Status CheckIsOurs(SqliteDatabase& database, const std::string& path) {
  BERTH_ASSIGN_OR_RETURN(const int64_t application, database.QueryInt("PRAGMA application_id"));
  if (application == kApplicationId) return absl::OkStatus();
  BERTH_ASSIGN_OR_RETURN(const int64_t objects,
                         database.QueryInt("SELECT count(*) FROM sqlite_schema"));
  if (objects == 0 && application == 0) return absl::OkStatus();
  return Error(Reason::kStoreCorrupt,
               absl::StrCat(path, " is a database of another application, not a store of Berth"),
               {{"path", path}});
}

// From an application's id and "user_version" to what this version knows.
absl::StatusOr<int64_t> ReadSchema(SqliteDatabase& database, const std::string& path) {
  if (absl::Status ours = CheckIsOurs(database, path); !ours.ok()) {
    return Annotate(ours, absl::StrCat("opening the store ", path));
  }
  BERTH_ASSIGN_OR_RETURN(const int64_t schema, database.QueryInt("PRAGMA user_version"));
  if (schema <= NewestSqliteSchema() && schema >= 0) return schema;
  return Error(
      Reason::kVersionSkew,
      absl::StrCat(path, " has schema ", schema, "; this version of Berth knows up to ",
                   NewestSqliteSchema()),
      {{"schema", absl::StrCat(schema)}, {"newest_known", absl::StrCat(NewestSqliteSchema())}});
}

}  // namespace

int NewestSqliteSchema() { return static_cast<int>(std::size(kSteps)); }

absl::Status CheckSqliteSchema(const std::string& path) {
  BERTH_ASSIGN_OR_RETURN(SqliteDatabase database,
                         SqliteDatabase::Open(path, SqliteDatabase::Mode::kReadOnly));
  BERTH_ASSIGN_OR_RETURN(const int64_t schema, ReadSchema(database, path));
  if (schema == NewestSqliteSchema()) return absl::OkStatus();
  return Error(Reason::kStateConflict,
               absl::StrCat(path, " has schema ", schema, ", this version of Berth works with ",
                            NewestSqliteSchema(), "; start its controller once"),
               {{"schema", absl::StrCat(schema)}});
}

absl::StatusOr<StoreEpoch> ReadSqliteEpoch(SqliteDatabase& database) {
  BERTH_ASSIGN_OR_RETURN(SqliteStatement read,
                         database.Prepare("SELECT uid, restore_count, term FROM store"));
  BERTH_ASSIGN_OR_RETURN(const bool found, read.Step());
  if (!found) return Error(Reason::kStoreCorrupt, "the store has lost its identity");
  return StoreEpoch{read.Bytes(0), read.Int(1), read.Int(2)};
}

absl::Status MigrateSqliteSchema(SqliteDatabase& database, const std::string& path) {
  BERTH_ASSIGN_OR_RETURN(int64_t schema, ReadSchema(database, path));
  for (; schema < NewestSqliteSchema(); ++schema) {
    BERTH_RETURN_IF_ERROR(database.Execute(absl::StrCat(
        "BEGIN IMMEDIATE;", WithUid(kSteps[schema]), "PRAGMA user_version = ", schema + 1,
        ";PRAGMA application_id = ", kApplicationId, ";COMMIT")));
  }
  return absl::OkStatus();
}

}  // namespace berth
