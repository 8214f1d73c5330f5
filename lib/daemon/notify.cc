// SPDX-License-Identifier: Apache-2.0
#include "lib/daemon/notify.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "lib/base/packet.h"
#include "lib/base/status.h"
#include "lib/base/unique_fd.h"

namespace berth {

absl::Status TellManager(const std::string& socket, std::string_view message,
                         std::span<const int> fds) {
  struct sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (socket.size() >= sizeof(address.sun_path)) {
    return Error(Reason::kInvalidField, "NOTIFY_SOCKET is too long: " + socket);
  }
  std::memcpy(address.sun_path, socket.data(), socket.size());
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';
  const auto length =
      static_cast<socklen_t>(offsetof(struct sockaddr_un, sun_path) + socket.size());
  const UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoToStatus(errno, "socket");
  if (::connect(fd.get(), reinterpret_cast<const struct sockaddr*>(&address), length) != 0) {
    return ErrnoToStatus(errno, "connect " + socket);
  }
  const iovec part = {const_cast<char*>(message.data()), message.size()};
  if (const int error = SendPacket(fd.get(), {&part, 1}, fds, 0); error != 0) {
    return ErrnoToStatus(-error, "send to " + socket);
  }
  return absl::OkStatus();
}

absl::Status Notifier::State(std::string_view text) const {
  std::string message = "STATUS=";
  std::transform(text.begin(), text.end(), std::back_inserter(message),
                 [](char c) { return static_cast<unsigned char>(c) < 0x20 ? ' ' : c; });
  return Send(message);
}

absl::Status Notifier::Send(const std::string& message) const {
  if (options_.socket.empty()) return absl::OkStatus();
  return TellManager(options_.socket, message);
}

}  // namespace berth
