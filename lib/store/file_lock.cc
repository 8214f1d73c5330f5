// SPDX-License-Identifier: Apache-2.0
#include "lib/store/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status.h"

namespace berth {
namespace {

absl::Status HeldBySomebody(int fd, const std::string& path) {
  ErrorMetadata metadata = {{"path", path}};
  std::string holder = "another process";
  char text[32];
  const ssize_t length = pread(fd, text, sizeof(text), 0);
  int pid = 0;
  if (length > 0 && absl::SimpleAtoi(absl::string_view(text, length), &pid)) {
    holder = absl::StrCat("process ", pid);
    metadata["pid"] = absl::StrCat(pid);
  }
  return Error(Reason::kStoreLocked, absl::StrCat(path, " is held by ", holder), metadata);
}

}  // namespace

absl::StatusOr<FileLock> FileLock::Acquire(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid()) return ErrnoToStatus(errno, absl::StrCat("open ", path));
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return HeldBySomebody(fd.get(), path);
    return ErrnoToStatus(errno, absl::StrCat("flock ", path));
  }
  const std::string pid = absl::StrCat(getpid(), "\n");
  if (ftruncate(fd.get(), 0) != 0 ||
      pwrite(fd.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return ErrnoToStatus(errno == 0 ? EIO : errno, absl::StrCat("write ", path));
  }
  return FileLock(std::move(fd));
}

absl::StatusOr<FileLock> FileLock::AcquireBeside(const std::string& path) {
  // As many as the kernel follows (Linux include/linux/namei.h, MAXSYMLINKS).
  constexpr int kMaxLinks = 40;
  namespace fs = std::filesystem;
  std::error_code error;
  fs::path target = path;
  // Also of a file that is not there yet, which realpath(3) would not do.
  for (int links = 0; links < kMaxLinks && fs::is_symlink(target, error); ++links) {
    target = target.parent_path() / fs::read_symlink(target, error);
    if (error) break;
  }
  const fs::path canonical = fs::weakly_canonical(target, error);
  return Acquire((error ? target : canonical).string() + ".lock");
}

}  // namespace berth
