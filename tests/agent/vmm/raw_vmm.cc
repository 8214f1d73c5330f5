// SPDX-License-Identifier: Apache-2.0
#include "tests/agent/vmm/raw_vmm.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "lib/base/packet.h"

namespace berth::testing {
namespace {

sockaddr_un Address(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  return address;
}

int Connect(const sockaddr_un& address) {
  const int fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  const int rc = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  return rc == 0 ? fd : -1;
}

}  // namespace

RawVmm::RawVmm(const std::string& path) : socket_(Connect(Address(path))) {
  EXPECT_TRUE(socket_.valid());
}

std::vector<std::byte> RawVmm::Transact(const std::vector<std::byte>& bytes,
                                        const std::vector<int>& fds,
                                        std::vector<UniqueFd>* received) const {
  const iovec part = {const_cast<std::byte*>(bytes.data()), bytes.size()};
  if (SendPacket(socket_.get(), {&part, 1}, fds, 0) != 0) return {};
  std::vector<std::byte> buffer(BERTH_VMM_MAX_MESSAGE);
  ReceivedPacket packet;
  if (ReceivePacket(socket_.get(), buffer, 0, &packet) != 0) return {};
  *received = std::move(packet.fds);
  buffer.resize(packet.size);
  return buffer;
}

Answer<berth_vmm_hello_reply> RawVmm::Hello(const std::string& uid, const std::string& token) {
  berth_vmm_hello hello = {};
  hello.version_min = BERTH_VMM_VERSION;
  hello.version_max = BERTH_VMM_VERSION;
  hello.flags = hello_flags;
  uid.copy(hello.assignment_uid, sizeof(hello.assignment_uid) - 1);
  token.copy(hello.token, sizeof(hello.token) - 1);
  auto answer = Ask<berth_vmm_hello_reply>(BERTH_VMM_HELLO, hello);
  if (answer.reason() == BERTH_VMM_REASON_NONE && !answer.closed) {
    session = answer.reply().header.session_id;
    EXPECT_EQ(answer.fds.size(), 1U);
    if (!answer.fds.empty()) events = std::move(answer.fds[0]);
  }
  return answer;
}

berth_vmm_event RawVmm::NextEvent() {
  berth_vmm_event event = {};
  pollfd readable = {events.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&readable, 1, -1), 1);
  EXPECT_EQ(::recv(events.get(), &event, sizeof(event), 0), static_cast<ssize_t>(sizeof(event)));
  return event;
}

Answer<berth_vmm_empty_reply> RawVmm::Send(const Malformed& malformed) {
  berth_vmm_get_unit call = {};
  call.header = {.size = static_cast<uint32_t>(malformed.claimed),
                 .type = BERTH_VMM_GET_UNIT,
                 .fd_count = malformed.fd_count,
                 .session_id = session,
                 .call_id = call_id + 1};
  std::vector<std::byte> bytes(malformed.size, std::byte{malformed.tail});
  std::memcpy(bytes.data(), &call, std::min(malformed.size, sizeof(call)));
  return Exchange<berth_vmm_empty_reply>(bytes, malformed.fds);
}

Answer<berth_vmm_empty_reply> RawVmm::Map(int memfd, uint64_t iova, uint64_t length) {
  berth_vmm_map_memory call = {};
  call.iova = iova;
  call.length = length;
  call.flags = BERTH_VMM_MEMORY_READ | BERTH_VMM_MEMORY_WRITE;
  return Ask<berth_vmm_empty_reply>(BERTH_VMM_MAP_MEMORY, call, memfd);
}

Answer<berth_vmm_empty_reply> RawVmm::AllocQueue(uint32_t index, uint64_t iova, uint64_t length) {
  berth_vmm_alloc_queue call = {};
  call.index = index;
  call.iova = iova;
  call.length = length;
  return Ask<berth_vmm_empty_reply>(BERTH_VMM_ALLOC_QUEUE, call);
}

Answer<berth_vmm_empty_reply> RawVmm::SetStream(uint32_t device, uint32_t vsid, uint32_t mode,
                                                uint64_t ste0) {
  berth_vmm_set_stream call = {};
  call.device = device;
  call.vsid = vsid;
  call.mode = mode;
  call.ste[0] = ste0;
  return Ask<berth_vmm_empty_reply>(BERTH_VMM_SET_STREAM, call);
}

Answer<berth_vmm_page0_reply> RawVmm::Page0(uint32_t unit) {
  berth_vmm_get_page0 call = {};
  call.unit = unit;
  return Ask<berth_vmm_page0_reply>(BERTH_VMM_GET_PAGE0, call);
}

Answer<berth_vmm_empty_reply> RawVmm::Detach() {
  return Ask<berth_vmm_empty_reply>(BERTH_VMM_DETACH, berth_vmm_detach{});
}

Answer<berth_vmm_hand_off_reply> RawVmm::HandOff() {
  return Ask<berth_vmm_hand_off_reply>(BERTH_VMM_HAND_OFF, berth_vmm_hand_off{});
}

Answer<berth_vmm_empty_reply> RawVmm::ConfirmHandOff(int holder) {
  return Ask<berth_vmm_empty_reply>(BERTH_VMM_CONFIRM_HAND_OFF, berth_vmm_confirm_hand_off{},
                                    holder);
}

bool RawVmm::ClosedByAgent() const {
  char byte = 0;
  return ::recv(socket_.get(), &byte, 1, 0) == 0;
}

VmmProcess::VmmProcess(const std::string& path) {
  const sockaddr_un address = Address(path);
  int ends[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  pid_ = ::fork();
  if (pid_ == 0) {
    // Only system calls: the parent has threads.
    const int fd = Connect(address);
    char byte = 0;
    const iovec part = {&byte, 1};
    SendPacket(ends[1], {&part, 1}, {&fd, 1}, 0);
    for (;;) ::pause();
  }
  ::close(ends[1]);
  std::byte byte;
  ReceivedPacket packet;
  EXPECT_EQ(ReceivePacket(ends[0], {&byte, 1}, 0, &packet), 0);
  ::close(ends[0]);
  EXPECT_EQ(packet.fds.size(), 1U);
  if (!packet.fds.empty()) connection_ = std::move(packet.fds[0]);
}

void VmmProcess::Kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  EXPECT_EQ(::waitpid(pid_, nullptr, 0), pid_);
  pid_ = -1;
}

}  // namespace berth::testing
