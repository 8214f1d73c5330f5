// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_STORE_SQLITE_SCHEMA_H_
#define BERTH_LIB_STORE_SQLITE_SCHEMA_H_

#include <string>

#include "absl/status/status.h"
#include "lib/store/sqlite.h"

namespace berth {

// The newest schema that this version knows (PRAGMA user_version); 0 is an empty file.
int NewestSqliteSchema();

// Makes `database` a Berth store of the newest schema, one numbered step after the other, each in a
// transaction of its own. `path` is for messages.
//   kStoreCorrupt  not a store of Berth (another application's database, or none)
//   kVersionSkew   written by a newer Berth; metadata "schema", "newest_known"
absl::Status MigrateSqliteSchema(SqliteDatabase& database, const std::string& path);

}  // namespace berth

#endif  // BERTH_LIB_STORE_SQLITE_SCHEMA_H_
