// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CLI_REPLACE_FILE_H_
#define BERTH_CTL_CLI_REPLACE_FILE_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"

namespace berth::cli {

// A file that appears whole, with mode 0600, or not at all. What was there before stays until then.
// Opened before the work whose result goes into it, so that a path that cannot be written is found
// out before there is a result to lose. Move-only; not thread-safe.
class ReplaceFile {
 public:
  // Makes an unnamed-to-others neighbour of `path`. kInvalidField: it cannot be made.
  static absl::StatusOr<ReplaceFile> Open(const std::string& path);
  ReplaceFile(ReplaceFile&& other) noexcept = default;
  ReplaceFile& operator=(ReplaceFile&&) = delete;
  // Removes the neighbour if there was no Commit().
  ~ReplaceFile();

  // Writes `content`, syncs, and puts the file in its place. Call once.
  absl::Status Commit(std::string_view content);

 private:
  ReplaceFile(std::string path, std::string temporary, UniqueFd fd);

  std::string path_;
  std::string temporary_;
  UniqueFd fd_;
};

}  // namespace berth::cli

#endif  // BERTH_CTL_CLI_REPLACE_FILE_H_
