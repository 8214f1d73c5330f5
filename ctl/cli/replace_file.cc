// SPDX-License-Identifier: Apache-2.0
#include "ctl/cli/replace_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"

namespace berth::cli {
namespace {

absl::Status CannotWrite(const std::string& path, int error) {
  // Not the status of the errno: "no such folder" is not "no such assignment" (exit codes).
  return Error(Reason::kInvalidField, absl::StrCat("cannot write ", path, ": ", strerror(error)),
               {{"path", path}, {"errno", ErrnoName(error)}});
}

// The kernel follows as many (Linux fs/namei.c, MAXSYMLINKS).
constexpr int kMaxLinks = 40;

// What `path` leads to, which need not exist: rename(2) would replace the link itself.
std::string FollowLinks(const std::string& path) {
  std::filesystem::path target = path;
  std::error_code error;
  for (int i = 0; i < kMaxLinks && std::filesystem::is_symlink(target, error); ++i) {
    target = target.parent_path() / std::filesystem::read_symlink(target, error);
  }
  return target.string();
}

}  // namespace

ReplaceFile::ReplaceFile(std::string path, std::string temporary, UniqueFd fd)
    : path_(std::move(path)), temporary_(std::move(temporary)), fd_(std::move(fd)) {}

absl::StatusOr<ReplaceFile> ReplaceFile::Open(const std::string& path) {
  struct stat info = {};
  const bool exists = ::stat(path.c_str(), &info) == 0;
  if (!exists && errno != ENOENT) return CannotWrite(path, errno);
  if (exists && S_ISDIR(info.st_mode)) return CannotWrite(path, EISDIR);
  if (exists && !S_ISREG(info.st_mode)) {
    UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY));
    if (!fd.valid()) return CannotWrite(path, errno);
    return ReplaceFile(path, "", std::move(fd));
  }
  std::string target = FollowLinks(path);
  std::string temporary = target + ".XXXXXX";
  // mkostemp(3) makes files with mode 0600.
  UniqueFd fd(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!fd.valid()) return CannotWrite(path, errno);
  return ReplaceFile(std::move(target), std::move(temporary), std::move(fd));
}

ReplaceFile::~ReplaceFile() {
  if (fd_.valid() && !temporary_.empty()) ::unlink(temporary_.c_str());
}

absl::Status ReplaceFile::Commit(std::string_view content) {
  while (!content.empty()) {
    const ssize_t n = ::write(fd_.get(), content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return CannotWrite(path_, errno);
    content.remove_prefix(static_cast<size_t>(n));
  }
  // What is no regular file has nothing to sync, and stays where it is.
  if (!temporary_.empty() &&
      (::fsync(fd_.get()) != 0 || ::rename(temporary_.c_str(), path_.c_str()) != 0)) {
    return CannotWrite(path_, errno);
  }
  fd_.Reset();
  return absl::OkStatus();
}

}  // namespace berth::cli
