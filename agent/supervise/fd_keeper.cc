// SPDX-License-Identifier: Apache-2.0
#include "agent/supervise/fd_keeper.h"

#include <linux/kcmp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "lib/base/absl_view.h"
#include "lib/base/status.h"

namespace berth {
namespace {

// As systemd's (src/core/manager.c, NOTIFY_BUFFER_MAX).
constexpr size_t kMaxMessage = 4096;

// False: the path is too long.
bool FillAddress(const std::string& path, sockaddr_un* address) {
  address->sun_family = AF_UNIX;
  if (path.size() >= sizeof(address->sun_path)) return false;
  path.copy(address->sun_path, path.size());
  return true;
}

// What of a message is for the keeper.
struct Message {
  bool ready = false;
  bool store = false;
  bool remove = false;
  std::string name = "stored";  // systemd's, for an fd without one
};

Message Parse(std::string_view text) {
  Message message;
  for (const absl::string_view line : absl::StrSplit(AbslView(text), '\n')) {
    absl::string_view value = line;
    if (line == "READY=1") message.ready = true;
    if (line == "FDSTORE=1") message.store = true;
    if (line == "FDSTOREREMOVE=1") message.remove = true;
    if (absl::ConsumePrefix(&value, "FDNAME=")) message.name = std::string(value);
  }
  return message;
}

// As systemd finds it out (src/basic/fd-util.c, same_fd()).
bool IsSameFile(int a, int b) {
  const pid_t self = ::getpid();
  return ::syscall(SYS_kcmp, self, self, KCMP_FILE, a, b) == 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<FdKeeper>> FdKeeper::Listen(std::string path, Logger* log) {
  sockaddr_un address = {};
  if (!FillAddress(path, &address)) {
    return Error(Reason::kInvalidField, absl::StrCat("the socket path ", path, " is too long"));
  }
  UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.valid()) return ErrnoToStatus(errno, "socket");
  const int on = 1;
  ::unlink(path.c_str());
  // bind(2) gives the file the mode of the socket.
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) != 0 ||
      ::fchmod(socket.get(), 0600) != 0 ||
      ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return ErrnoToStatus(errno, absl::StrCat("listening on ", path));
  }
  return std::unique_ptr<FdKeeper>(new FdKeeper(std::move(path), std::move(socket), log));
}

FdKeeper::~FdKeeper() { ::unlink(path_.c_str()); }

bool FdKeeper::Receive(pid_t client) {
  bool ready = false;
  std::array<std::byte, kMaxMessage> buffer;
  // Its fds are closed when the next one is received, which is what BARRIER=1 waits for.
  ReceivedPacket packet;
  while (ReceivePacket(socket_.get(), buffer, MSG_DONTWAIT, &packet) == 0) {
    if (packet.sender != client || packet.truncated) continue;
    if (packet.fds_truncated) {
      log_->Warn("cannot keep an fd of the agent: no more may be open here",
                 {{"kept", fds_.size()}});
    }
    const Message message = Parse({reinterpret_cast<const char*>(buffer.data()), packet.size});
    ready = ready || message.ready;
    if (message.store) Store(message.name, std::move(packet.fds));
    if (message.remove) {
      std::erase_if(fds_, [&](const StoredFd& kept) { return kept.name == message.name; });
    }
  }
  return ready;
}

void FdKeeper::Store(std::string_view name, std::vector<UniqueFd> fds) {
  for (UniqueFd& fd : fds) {
    const auto is_it = [&](const StoredFd& kept) {
      return kept.name == name && IsSameFile(kept.fd.get(), fd.get());
    };
    if (std::any_of(fds_.begin(), fds_.end(), is_it)) continue;
    if (!IsFdName(name) || fds_.size() >= kMaxStoredFds) {
      log_->Warn("cannot keep an fd of the agent", {{"name", name}, {"kept", fds_.size()}});
      return;
    }
    fds_.push_back({std::string(name), std::move(fd)});
  }
}

}  // namespace berth
