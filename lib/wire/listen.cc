// SPDX-License-Identifier: Apache-2.0
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/wire/server.h"

namespace berth::wire {
namespace {

constexpr int kSocketType = SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK;

// Removes what a server that is gone has left at `address`.
absl::Status RemoveStale(const std::string& path, const sockaddr* address) {
  struct stat info;
  if (::lstat(path.c_str(), &info) != 0) {
    return errno == ENOENT ? absl::OkStatus() : ErrnoToStatus(errno, absl::StrCat("stat ", path));
  }
  const UniqueFd probe(::socket(AF_UNIX, kSocketType, 0));
  if (!probe.valid()) return ErrnoToStatus(errno, "socket");
  if (S_ISSOCK(info.st_mode) && ::connect(probe.get(), address, sizeof(sockaddr_un)) != 0 &&
      errno == ECONNREFUSED) {
    if (::unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
    return ErrnoToStatus(errno, absl::StrCat("unlink ", path));
  }
  return Error(Reason::kAlreadyExists,
               absl::StrCat(path, S_ISSOCK(info.st_mode) ? " is served by another process"
                                                         : " exists and is no socket"),
               {{"path", path}});
}

}  // namespace

absl::StatusOr<UniqueFd> WireServer::Listen(const std::string& path, mode_t mode) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return Error(Reason::kInvalidField,
                 absl::StrCat("the socket path must have 1 to ", sizeof(address.sun_path) - 1,
                              " bytes: '", path, "'"),
                 {{"path", path}});
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  BERTH_RETURN_IF_ERROR(RemoveStale(path, generic));
  UniqueFd listener(::socket(AF_UNIX, kSocketType, 0));
  if (!listener.valid()) return ErrnoToStatus(errno, "socket");
  // bind(2) gives the file the mode of the socket less the umask: never more than asked for, not
  // even for a moment.
  if (::fchmod(listener.get(), mode) != 0 ||
      ::bind(listener.get(), generic, sizeof(address)) != 0 || ::chmod(path.c_str(), mode) != 0 ||
      ::listen(listener.get(), SOMAXCONN) != 0) {
    return ErrnoToStatus(errno, absl::StrCat("listen on ", path));
  }
  return listener;
}

}  // namespace berth::wire
