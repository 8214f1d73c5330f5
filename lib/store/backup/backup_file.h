// SPDX-License-Identifier: Apache-2.0
//
// A store as a file that any Store can be made of. Format: one line of text; then, each preceded by
// its length as a varint, a berth.internal.v1.BackupHeader and as many BackupRecords as it says;
// then the SHA-256 of everything before.
#ifndef BERTH_LIB_STORE_BACKUP_BACKUP_FILE_H_
#define BERTH_LIB_STORE_BACKUP_BACKUP_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "lib/store/medium.h"

namespace berth {

struct Backup {
  StoreSnapshot snapshot;
  absl::Time created;
  std::string made_by;  // "berth 0.1.0 from /var/lib/berth/store.db"
};

// A new file of mode 0600 (it holds what the store holds), durable when this returns.
// kAlreadyExists: nothing is overwritten; kTooLarge: more than 2 GiB; else the errno's.
absl::Status WriteBackup(const std::string& path, const Backup& backup);

//   kStoreCorrupt   not a backup of Berth, cut off, or damaged
//   kVersionSkew    written by a newer version
//   the errno of reading it
absl::StatusOr<Backup> ReadBackup(const std::string& path);

}  // namespace berth

#endif  // BERTH_LIB_STORE_BACKUP_BACKUP_FILE_H_
