// SPDX-License-Identifier: Apache-2.0
#include "lib/base/packet.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace berth {
namespace {

// Room for one more, so that too many are seen.
constexpr size_t kControlSize =
    CMSG_SPACE(sizeof(int) * (kMaxPacketFds + 1)) + CMSG_SPACE(sizeof(ucred));
constexpr size_t kSentControlSize = CMSG_SPACE(sizeof(int) * kMaxSentFds);

}  // namespace

int SendPacket(int socket, std::span<const iovec> parts, std::span<const int> fds, int flags) {
  if (fds.size() > kMaxSentFds) return -EINVAL;
  alignas(cmsghdr) char control[kSentControlSize];
  msghdr message = {};
  message.msg_iov = const_cast<iovec*>(parts.data());
  message.msg_iovlen = parts.size();
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
  }
  while (::sendmsg(socket, &message, flags | MSG_NOSIGNAL) < 0) {
    if (errno != EINTR) return -errno;
  }
  return 0;
}

int ReceivePacket(int socket, std::span<std::byte> buffer, int flags, ReceivedPacket* packet) {
  alignas(cmsghdr) char control[kControlSize];
  iovec part = {buffer.data(), buffer.size()};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t size = 0;
  do {
    size = ::recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
  } while (size < 0 && errno == EINTR);
  if (size < 0) return -errno;
  packet->size = static_cast<size_t>(size);
  packet->truncated = (message.msg_flags & MSG_TRUNC) != 0;
  packet->fds_truncated = (message.msg_flags & MSG_CTRUNC) != 0;
  packet->fds.clear();
  packet->sender = 0;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET) continue;
    if (header->cmsg_type == SCM_CREDENTIALS) {
      ucred credentials = {};
      std::memcpy(&credentials, CMSG_DATA(header), sizeof(credentials));
      packet->sender = credentials.pid;
    }
    if (header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
      packet->fds.emplace_back(fd);
    }
  }
  return 0;
}

}  // namespace berth
