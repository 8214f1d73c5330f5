// SPDX-License-Identifier: Apache-2.0
#include "tests/vmm/scripted_agent.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <utility>

#include "lib/base/packet.h"
#include "lib/wire/server.h"

namespace berth {

Received AgentConnection::Receive() {
  Received received;
  received.bytes.resize(BERTH_VMM_MAX_MESSAGE);
  ReceivedPacket packet;
  if (ReceivePacket(socket_.get(), received.bytes, 0, &packet) != 0) packet.size = 0;
  received.bytes.resize(packet.size);
  received.fds = std::move(packet.fds);
  return received;
}

void AgentConnection::SendBytes(const std::vector<std::byte>& bytes, const std::vector<int>& fds) {
  const iovec part = {const_cast<std::byte*>(bytes.data()), bytes.size()};
  EXPECT_EQ(SendPacket(socket_.get(), {&part, 1}, fds, 0), 0);
}

void AgentConnection::Address(const berth_vmm_header& call, size_t size, size_t fds, void* reply) {
  const berth_vmm_header header = {.size = static_cast<uint32_t>(size),
                                   .type = call.type,
                                   .fd_count = static_cast<uint16_t>(fds),
                                   .session_id = kSession,
                                   .call_id = call.call_id};
  std::memcpy(reply, &header, sizeof(header));
}

void AgentConnection::ReplyError(const Received& call, uint32_t reason, int error,
                                 const std::string& message) {
  berth_vmm_reply reply = {};
  reply.reason = reason;
  reply.error_number = static_cast<uint32_t>(error);
  message.copy(reply.message, sizeof(reply.message) - 1);
  Reply(call, reply);
}

void AgentConnection::GiveHandOff(const std::vector<int>& fds) {
  const Received call = Receive();
  EXPECT_EQ(call.header().type, BERTH_VMM_HAND_OFF);
  berth_vmm_hand_off_reply reply = {};
  for (size_t i = 1; i < fds.size(); ++i) {
    berth_vmm_hand_off_device& device = reply.devices[reply.device_count++];
    const std::string number = std::to_string(i - 1);
    ("gpu" + number).copy(device.id, sizeof(device.id) - 1);
    ("0000:0" + number + ":00.0").copy(device.address, sizeof(device.address) - 1);
  }
  Reply(call, reply, fds);
}

Received AgentConnection::Welcome(uint64_t last_call_id, uint32_t devices, uint32_t attach_mode) {
  Received hello = Receive();
  EXPECT_EQ(hello.header().type, BERTH_VMM_HELLO);
  int ends[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  events_.Reset(ends[0]);
  const UniqueFd other(ends[1]);
  berth_vmm_hello_reply reply = {};
  reply.version = BERTH_VMM_VERSION;
  reply.unit_count = 1;
  reply.device_count = devices;
  reply.attach_mode = attach_mode;
  reply.memory_limit = 1 << 30;
  reply.last_call_id = last_call_id;
  Reply(hello, reply, {other.get()});
  return hello;
}

ScriptedAgent::ScriptedAgent(const std::string& path, std::vector<Script> scripts) {
  auto listener = wire::WireServer::Listen(path, 0600);
  EXPECT_TRUE(listener.ok()) << listener.status();
  listener_ = *std::move(listener);
  thread_ = std::thread([this, scripts = std::move(scripts)] {
    for (const Script& script : scripts) {
      UniqueFd socket;
      while (!socket.valid()) {  // the listener does not block
        socket.Reset(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!socket.valid()) std::this_thread::yield();
      }
      AgentConnection connection(std::move(socket));
      script(connection);
    }
  });
}

ScriptedAgent::~ScriptedAgent() { thread_.join(); }

}  // namespace berth
