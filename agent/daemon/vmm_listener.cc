// SPDX-License-Identifier: Apache-2.0
#include "agent/daemon/vmm_listener.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>
#include <string_view>
#include <utility>

#include "absl/time/time.h"
#include "lib/base/status.h"
#include "lib/wire/server.h"

namespace berth {
namespace {

constexpr std::string_view kName = "vmm-listener";
// A manager that takes longer is ill, and the agent must not wait for it.
constexpr absl::Duration kManagerPatience = absl::Seconds(5);

bool HasOption(int fd, int option, int expected) {
  int value = 0;
  socklen_t size = sizeof(value);
  return ::getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 && value == expected;
}

// Whether `fd` is a listening SEQPACKET socket that VMMs find at `path`.
bool ListensAt(int fd, const std::string& path) {
  sockaddr_un address = {};
  socklen_t size = sizeof(address);
  struct stat file = {};
  return HasOption(fd, SO_TYPE, SOCK_SEQPACKET) && HasOption(fd, SO_ACCEPTCONN, 1) &&
         ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0 &&
         address.sun_family == AF_UNIX &&
         path == std::string_view(address.sun_path,
                                  ::strnlen(address.sun_path, sizeof(address.sun_path))) &&
         ::lstat(path.c_str(), &file) == 0 && S_ISSOCK(file.st_mode);
}

}  // namespace

absl::StatusOr<UniqueFd> ListenForVmms(const std::string& path, const FdStore& store,
                                       std::vector<StoredFd> passed, Logger* log) {
  const auto tell = [log](const absl::Status& status) {
    if (!status.ok()) log->Warn("the service manager keeps no fds", {{"error", status}});
  };
  UniqueFd listener;
  for (StoredFd& stored : passed) {
    if (!listener.valid() && stored.name == kName && ListensAt(stored.fd.get(), path)) {
      listener = std::move(stored.fd);
    } else if (stored.name != kName && IsFdName(stored.name)) {
      tell(store.Remove(stored.name));
    }
  }
  if (listener.valid()) return listener;
  // As long as the manager has an old listener the path is taken.
  passed.clear();
  tell(store.Remove(kName));
  tell(store.Barrier(kManagerPatience));
  BERTH_ASSIGN_OR_RETURN(listener, wire::WireServer::Listen(path, 0660));
  tell(StoreListener(store, listener.get()));
  return listener;
}

absl::Status StoreListener(const FdStore& store, int listener) {
  return store.Add(kName, listener);
}

}  // namespace berth
