// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_JOURNAL_JOURNAL_H_
#define BERTH_AGENT_JOURNAL_JOURNAL_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "berth/internal/v1/journal.pb.h"
#include "lib/base/ids.h"
#include "lib/store/sqlite.h"

namespace berth {

// Records of the grants that VMMs are attached to, in a SQLite file on a file system that is gone
// with the boot (/run). What it has written survives the death of this process, but not of the
// machine: nothing is synced. Thread-safe.
class Journal {
 public:
  // Opens or makes the file `path`. What another boot than `boot_id` has left there is forgotten.
  // A file that is no journal, is damaged, or is of a schema that is not known, is moved to
  // PATH.broken, and a new one begun; `broken` then says why. Errors: STORE_FAILED.
  static absl::StatusOr<std::unique_ptr<Journal>> Open(const std::string& path,
                                                       const std::string& boot_id,
                                                       absl::Status* broken);

  // All or nothing. Errors: STORE_FAILED (e.g. no room), STORE_CORRUPT.
  absl::Status Put(const internal::v1::JournaledGrant& grant);
  absl::Status Remove(const AssignmentUid& uid);
  // All grants; a record that cannot be read is left out.
  absl::StatusOr<std::vector<internal::v1::JournaledGrant>> Grants();

  absl::Status PutUnit(const internal::v1::JournaledUnitFacts& unit);
  absl::StatusOr<std::vector<internal::v1::JournaledUnitFacts>> Units();

 private:
  struct Statements {
    SqliteStatement put_grant, remove_grant, put_unit;
  };
  Journal(SqliteDatabase database, Statements statements)
      : database_(std::move(database)), statements_(std::move(statements)) {}
  static absl::StatusOr<std::unique_ptr<Journal>> TryOpen(const std::string& path,
                                                          const std::string& boot_id);
  absl::StatusOr<std::vector<std::string>> ReadAll(std::string_view sql)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  absl::Mutex mu_;
  SqliteDatabase database_ ABSL_GUARDED_BY(mu_);
  Statements statements_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_AGENT_JOURNAL_JOURNAL_H_
