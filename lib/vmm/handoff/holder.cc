// SPDX-License-Identifier: Apache-2.0
#include "lib/vmm/handoff/holder.h"

#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <set>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/wire/peer.h"

namespace berth::handoff {
namespace {

// Which file an fd is: an inode of a device node or of a socket, each opened only for us.
using File = std::pair<dev_t, ino_t>;

}  // namespace

absl::StatusOr<Holder> ListenerOn(int socket) {
  BERTH_ASSIGN_OR_RETURN(wire::Peer peer, wire::ReadPeer(socket));
  if (peer.pid <= 0 || !peer.pidfd.valid()) {
    return Error(Reason::kNotFound, "the kernel does not say who listens on the QMP socket; --pid");
  }
  return Holder{.pid = peer.pid, .pidfd = std::move(peer.pidfd)};
}

absl::StatusOr<Holder> HolderOf(pid_t pid) {
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (pidfd.valid()) return Holder{.pid = pid, .pidfd = std::move(pidfd)};
  if (errno == ESRCH) return Error(Reason::kNotFound, absl::StrCat("there is no process ", pid));
  return ErrnoToStatus(errno, "pidfd_open");
}

absl::Status CheckHolds(const Holder& holder, std::span<const int> fds) {
  std::set<File> wanted;
  struct stat info = {};
  for (const int fd : fds) {
    if (::fstat(fd, &info) != 0) return ErrnoToStatus(errno, "fstat");
    wanted.emplace(info.st_dev, info.st_ino);
  }
  const std::string folder = absl::StrCat("/proc/", holder.pid, "/fd");
  std::error_code error;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    if (::stat(it->path().c_str(), &info) == 0) wanted.erase({info.st_dev, info.st_ino});
  }
  if (error) {
    return Error(Reason::kPermissionDenied,
                 absl::StrCat("cannot see whether process ", holder.pid, " has the devices: ",
                              folder, ": ", error.message(), "; run as its user, or as root"));
  }
  if (wanted.empty()) return absl::OkStatus();
  return Error(Reason::kStateConflict, absl::StrCat("process ", holder.pid,
                                                    " does not have the devices that QEMU was "
                                                    "given; name QEMU's process with --pid"));
}

}  // namespace berth::handoff
