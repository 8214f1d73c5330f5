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
  // Makes an unnamed-to-others neighbour of `path`, or of what a symbolic link there leads to. What
  // exists and is no regular file (a FIFO, a terminal, /dev/null) is opened to be written in place:
  // it is never replaced, and a FIFO waits here for its reader. kInvalidField: a directory, or it
  // cannot be made or opened.
  static absl::StatusOr<ReplaceFile> Open(const std::string& path);
  ReplaceFile(ReplaceFile&& other) noexcept = default;
  ReplaceFile& operator=(ReplaceFile&&) = delete;
  // Removes the neighbour if there was no Commit().
  ~ReplaceFile();

  // Writes `content`; a file is then synced and put in its place. Call once.
  absl::Status Commit(std::string_view content);

 private:
  ReplaceFile(std::string path, std::string temporary, UniqueFd fd);

  std::string path_;
  std::string temporary_;  // empty: `fd_` is `path_` itself
  UniqueFd fd_;
};

}  // namespace berth::cli

#endif  // BERTH_CTL_CLI_REPLACE_FILE_H_
