// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_STORE_SQLITE_SCHEMA_H_
#define BERTH_LIB_STORE_SQLITE_SCHEMA_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/store/sqlite.h"
#include "lib/store/store.h"

namespace berth {

// The newest schema that this version knows (PRAGMA user_version); 0 is an empty file.
int NewestSqliteSchema();

// Makes `database` a Berth store of the newest schema, one numbered step after the other, each in a
// transaction of its own. `path` is for messages.
//   kStoreCorrupt  not a store of Berth (another application's database, or none)
//   kVersionSkew   written by a newer Berth; metadata "schema", "newest_known"
absl::Status MigrateSqliteSchema(SqliteDatabase& database, const std::string& path);

// Whether the file `path` is a Berth store of the newest schema; it is only looked at. Errors as
// above; STATE_CONFLICT for an older schema: opening the store migrates it.
absl::Status CheckSqliteSchema(const std::string& path);

// Which store it is.
absl::StatusOr<StoreEpoch> ReadSqliteEpoch(SqliteDatabase& database);

}  // namespace berth

#endif  // BERTH_LIB_STORE_SQLITE_SCHEMA_H_
