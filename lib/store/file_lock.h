// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_STORE_FILE_LOCK_H_
#define BERTH_LIB_STORE_FILE_LOCK_H_

#include <string>

#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"

namespace berth {

// An exclusive flock(2) on a file that holds the pid of its owner. Ends with the object or its
// process, however that dies; the file stays (removing it would let two hold two files of one
// name).
class FileLock {
 public:
  // Never waits. kStoreLocked when somebody has it; metadata "path" and, where readable, "pid".
  static absl::StatusOr<FileLock> Acquire(const std::string& path);
  // The same for the file beside `path` with ".lock" at its end. Symbolic links are followed, so
  // that whoever reaches the file by another name finds the same lock. (Hard links are not: SQLite
  // itself warns of them.)
  static absl::StatusOr<FileLock> AcquireBeside(const std::string& path);

 private:
  explicit FileLock(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
};

}  // namespace berth

#endif  // BERTH_LIB_STORE_FILE_LOCK_H_
