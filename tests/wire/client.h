// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_WIRE_CLIENT_H_
#define BERTH_TESTS_WIRE_CLIENT_H_

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/packet.h"
#include "lib/base/unique_fd.h"
#include "lib/vmm/berth_vmm_wire.h"

namespace berth::wire {

// A peer of the server under test that says whatever it is told to.
class Client {
 public:
  explicit Client(const std::string& path)
      : socket_(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, path.c_str());
    EXPECT_EQ(
        ::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  }

  void SendBytes(std::vector<std::byte> bytes, std::vector<int> fds = {}) {
    const iovec part = {bytes.data(), bytes.size()};
    EXPECT_EQ(SendPacket(socket_.get(), {&part, 1}, fds, 0), 0);
  }
  void SendDetach(uint64_t call_id) {
    SendBytes(Bytes(berth_vmm_detach{.header = {.size = sizeof(berth_vmm_detach),
                                                .type = BERTH_VMM_DETACH,
                                                .fd_count = 0,
                                                .session_id = 7,
                                                .call_id = call_id}}));
  }
  void SendMapMemory(std::vector<int> fds) {
    berth_vmm_map_memory call = {};
    call.header = {.size = sizeof(call),
                   .type = BERTH_VMM_MAP_MEMORY,
                   .fd_count = 1,
                   .session_id = 7,
                   .call_id = 1};
    call.flags = BERTH_VMM_MEMORY_READ;
    SendBytes(Bytes(call), std::move(fds));
  }
  // More than anybody would receive: SCM_MAX_FD of net/scm.h.
  void SendManyFds(int fd) {
    constexpr size_t kCount = 253;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(kCount * sizeof(int))> control = {};
    char byte = 0;
    iovec part = {&byte, 1};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(kCount * sizeof(int));
    for (size_t i = 0; i < kCount; ++i) {
      std::memcpy(CMSG_DATA(header) + i * sizeof(fd), &fd, sizeof(fd));
    }
    EXPECT_EQ(::sendmsg(socket_.get(), &message, 0), 1);
  }
  berth_vmm_reply Receive() {
    berth_vmm_reply reply = {};
    const ssize_t size = ::recv(socket_.get(), &reply, sizeof(reply), 0);
    EXPECT_EQ(size, static_cast<ssize_t>(sizeof(reply)));
    return reply;
  }
  bool AtEnd() {
    char byte = 0;
    return ::recv(socket_.get(), &byte, 1, 0) == 0;
  }
  template <typename T>
  static std::vector<std::byte> Bytes(const T& message) {
    std::vector<std::byte> bytes(sizeof(message));
    std::memcpy(bytes.data(), &message, sizeof(message));
    return bytes;
  }
  int fd() const { return socket_.get(); }
  void Close() { socket_.Reset(); }

 private:
  UniqueFd socket_;
};

}  // namespace berth::wire

#endif  // BERTH_TESTS_WIRE_CLIENT_H_
