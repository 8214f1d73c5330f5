// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_STORE_SQLITE_STORE_H_
#define BERTH_LIB_STORE_SQLITE_STORE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/store/store.h"

namespace berth {

struct SqliteStoreOptions : StoreOptions {
  // The file does not grow beyond this many bytes (without its WAL); commits then fail with
  // kStoreFailed, outcome "not_committed", until something is deleted. 0: no limit.
  int64_t max_bytes = 0;
};

// A Store in the SQLite file `path` (created when it is not there; its folder must exist), in WAL
// mode with synchronous=FULL: a commit is durable when fdatasync(2) of the WAL has returned.
// Beside it live PATH-wal, PATH-shm and PATH.lock.
//   kStoreLocked   another process (metadata "pid") has the store open
//   kStoreCorrupt  not a store of Berth, or a damaged one
//   kVersionSkew   written by a newer version
absl::StatusOr<std::unique_ptr<Store>> OpenSqliteStore(const std::string& path,
                                                       const SqliteStoreOptions& options = {});

}  // namespace berth

#endif  // BERTH_LIB_STORE_SQLITE_STORE_H_
