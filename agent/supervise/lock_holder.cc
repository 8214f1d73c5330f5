// SPDX-License-Identifier: Apache-2.0
#include "agent/supervise/lock_holder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace berth {
namespace {

std::optional<pid_t> ReadNumber(int fd) {
  std::array<char, 32> text;
  const ssize_t size = ::pread(fd, text.data(), text.size(), 0);
  pid_t pid = 0;
  if (size <= 0 ||
      !absl::SimpleAtoi(absl::string_view(text.data(), static_cast<size_t>(size)), &pid) ||
      pid <= 0) {
    return std::nullopt;
  }
  return pid;
}

// Whether the process has the file of `fd` open.
bool HasOpen(pid_t pid, int fd) {
  struct stat wanted = {};
  if (::fstat(fd, &wanted) != 0) return false;
  std::error_code error;
  std::filesystem::directory_iterator entries(absl::StrCat("/proc/", pid, "/fd"), error);
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    struct stat file = {};
    if (::stat(entries->path().c_str(), &file) == 0 && file.st_dev == wanted.st_dev &&
        file.st_ino == wanted.st_ino) {
      return true;
    }
  }
  return false;
}

}  // namespace

std::optional<LockHolder> FindLockHolder(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return std::nullopt;
  if (::flock(file.get(), LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK) return std::nullopt;
  const std::optional<pid_t> pid = ReadNumber(file.get());
  if (!pid.has_value()) return std::nullopt;
  LockHolder holder = {.pid = *pid,
                       .pidfd = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, *pid, 0)))};
  // Looked at last: it is the process of the pidfd that has the file.
  if (!holder.pidfd.valid() || !HasOpen(*pid, file.get())) return std::nullopt;
  return holder;
}

}  // namespace berth
