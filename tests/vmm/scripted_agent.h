// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_VMM_SCRIPTED_AGENT_H_
#define BERTH_TESTS_VMM_SCRIPTED_AGENT_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "lib/base/unique_fd.h"
#include "lib/vmm/berth_vmm_wire.h"

namespace berth {

// What came in one packet.
struct Received {
  std::vector<std::byte> bytes;
  std::vector<UniqueFd> fds;

  [[nodiscard]] berth_vmm_header header() const { return As<berth_vmm_header>(); }
  template <typename T>
  [[nodiscard]] T As() const {
    T out = {};
    std::memcpy(&out, bytes.data(), std::min(bytes.size(), sizeof(out)));
    return out;
  }
};

// The agent's end of one connection, played by hand on its own thread.
class AgentConnection {
 public:
  explicit AgentConnection(UniqueFd socket) : socket_(std::move(socket)) {}

  // The next packet; no bytes at the end of the connection.
  Received Receive();
  void SendBytes(const std::vector<std::byte>& bytes, const std::vector<int>& fds = {});

  // `reply` as the answer to `call`: header filled in, fds along.
  template <typename T>
  void Reply(const Received& call, T reply, const std::vector<int>& fds = {}) {
    Address(call.header(), sizeof(reply), fds.size(), &reply);
    std::vector<std::byte> bytes(sizeof(reply));
    std::memcpy(bytes.data(), &reply, sizeof(reply));
    SendBytes(bytes, fds);
  }
  void ReplyError(const Received& call, uint32_t reason, int error, const std::string& message);
  // Takes HELLO and welcomes: one unit, one device. Returns the HELLO. The events' other end is
  // kept, so that the channel stays open.
  Received Welcome(uint64_t last_call_id = 0) { return Welcome(last_call_id, 1, 0); }
  // The same in HAND_OFF mode, with this many devices.
  Received WelcomeHandOff(uint32_t devices, uint64_t last_call_id = 0) {
    return Welcome(last_call_id, devices, BERTH_VMM_ATTACH_MODE_HAND_OFF);
  }
  // Takes HAND_OFF and gives `fds`, the first for the context. Devices are "gpu0" at "0000:00:00.0"
  // and so on.
  void GiveHandOff(const std::vector<int>& fds);
  [[nodiscard]] int events() const { return events_.get(); }
  void CloseEvents() { events_.Reset(); }

  static constexpr uint64_t kSession = 77;

 private:
  Received Welcome(uint64_t last_call_id, uint32_t devices, uint32_t attach_mode);
  static void Address(const berth_vmm_header& call, size_t size, size_t fds, void* reply);

  UniqueFd socket_;
  UniqueFd events_;
};

// Listens at a path and plays one script for each connection, in order, on its own thread.
class ScriptedAgent {
 public:
  using Script = std::function<void(AgentConnection&)>;

  ScriptedAgent(const std::string& path, std::vector<Script> scripts);
  // Waits until all scripts have been played.
  ~ScriptedAgent();

 private:
  UniqueFd listener_;
  std::thread thread_;
};

}  // namespace berth

#endif  // BERTH_TESTS_VMM_SCRIPTED_AGENT_H_
