// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/peer.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status.h"

namespace berth::wire {
namespace {

// Linux include/uapi/asm-generic/socket.h, since 6.5; Debian 12's headers do not have it.
constexpr int kSoPeerPidfd = 77;

UniqueFd OpenPidfd(int socket, pid_t pid) {
  int pidfd = -1;
  socklen_t length = sizeof(pidfd);
  if (::getsockopt(socket, SOL_SOCKET, kSoPeerPidfd, &pidfd, &length) == 0) return UniqueFd(pidfd);
  // Before 6.5: by number. The number may have been given to another process since; then we wait
  // for the wrong one, and the end of the connection is what tells.
  return UniqueFd(pid > 0 ? static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)) : -1);
}

}  // namespace

absl::StatusOr<Peer> ReadPeer(int socket) {
  ucred credentials = {};
  socklen_t length = sizeof(credentials);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) {
    return ErrnoToStatus(errno, "SO_PEERCRED");
  }
  return Peer{.pid = credentials.pid,
              .uid = credentials.uid,
              .gid = credentials.gid,
              .pidfd = OpenPidfd(socket, credentials.pid)};
}

absl::StatusOr<Peer> ReadPidfd(int fd) {
  // Signal 0: says whether it is a pidfd at all.
  if (::syscall(SYS_pidfd_send_signal, fd, 0, nullptr, 0) != 0 && errno == EBADF) {
    return Error(Reason::kInvalidField, "not a pidfd");
  }
  // proc_pid_fdinfo(5): 0 for a process of another namespace, -1 for one that was waited for.
  std::ifstream info(absl::StrCat("/proc/self/fdinfo/", fd));
  for (std::string line; std::getline(info, line);) {
    pid_t pid = 0;
    if (!line.starts_with("Pid:") || !absl::SimpleAtoi(line.substr(4), &pid) || pid <= 0) continue;
    struct stat process = {};
    if (::stat(absl::StrCat("/proc/", pid).c_str(), &process) != 0) break;
    return Peer{.pid = pid, .uid = process.st_uid, .gid = process.st_gid, .pidfd = {}};
  }
  return Peer{};
}

}  // namespace berth::wire
