// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_AGENT_VMM_RAW_VMM_H_
#define BERTH_TESTS_AGENT_VMM_RAW_VMM_H_

#include <sys/types.h>

#include <cstring>
#include <string>
#include <vector>

#include "lib/base/unique_fd.h"
#include "lib/vmm/berth_vmm_wire.h"

namespace berth::testing {

// What came back, as far as the reply struct `T` goes.
template <typename T>
struct Answer {
  T body = {};
  std::vector<UniqueFd> fds;
  bool closed = false;  // the connection ended instead

  [[nodiscard]] const berth_vmm_reply& reply() const {
    return reinterpret_cast<const berth_vmm_reply&>(body);
  }
  [[nodiscard]] uint32_t reason() const { return reply().reason; }
};

// A VMM's connection that sends just what a test says, also what libberth-vmm never would.
class RawVmm {
 public:
  // Connects as this process.
  explicit RawVmm(const std::string& path);
  explicit RawVmm(UniqueFd connected) : socket_(std::move(connected)) {}

  // Fills in the header of `message`, unless it has one: size, type, session, the next call id.
  template <typename Reply, typename Message>
  Answer<Reply> Ask(berth_vmm_type type, Message message, int fd = -1) {
    if (message.header.size == 0) {
      message.header.size = sizeof(message);
      message.header.type = static_cast<uint16_t>(type);
      message.header.fd_count = fd >= 0 ? 1 : 0;
      message.header.session_id = session;
      if (type != BERTH_VMM_HELLO) message.header.call_id = ++call_id;
    }
    std::vector<std::byte> bytes(sizeof(message));
    std::memcpy(bytes.data(), &message, sizeof(message));
    return Exchange<Reply>(bytes, fd >= 0 ? std::vector<int>{fd} : std::vector<int>{});
  }
  template <typename Reply>
  Answer<Reply> Exchange(const std::vector<std::byte>& bytes, const std::vector<int>& fds) {
    Answer<Reply> answer;
    const std::vector<std::byte> got = Transact(bytes, fds, &answer.fds);
    answer.closed = got.empty();
    std::memcpy(&answer.body, got.data(), std::min(got.size(), sizeof(Reply)));
    return answer;
  }

  // HELLO for a new session, or, with `session` set, to resume it. Keeps session and event socket.
  Answer<berth_vmm_hello_reply> Hello(const std::string& uid, const std::string& token);
  // The next event; blocks.
  berth_vmm_event NextEvent();

  Answer<berth_vmm_empty_reply> Map(int memfd, uint64_t iova, uint64_t length);
  Answer<berth_vmm_empty_reply> AllocQueue(uint32_t index, uint64_t iova, uint64_t length);
  Answer<berth_vmm_empty_reply> SetStream(uint32_t device, uint32_t vsid, uint32_t mode,
                                          uint64_t ste0 = 0);
  Answer<berth_vmm_page0_reply> Page0(uint32_t unit);
  Answer<berth_vmm_empty_reply> Detach();
  // GET_UNIT as a header may not say it: `size` bytes that claim to be `claimed` and to come with
  // `fd_count` fds, with `tail` behind the known part. Takes no call id.
  struct Malformed {
    size_t size = sizeof(berth_vmm_get_unit);
    size_t claimed = size;
    uint8_t tail = 0;
    std::vector<int> fds = {};
    uint16_t fd_count = 0;
  };
  Answer<berth_vmm_empty_reply> Send(const Malformed& malformed);
  // The connection ends, the process does not.
  void Disconnect() { socket_.Reset(); }
  [[nodiscard]] bool ClosedByAgent() const;

  // Everything of a HAND_OFF session.
  Answer<berth_vmm_hand_off_reply> HandOff();
  // `holder`: a pidfd, or -1.
  Answer<berth_vmm_empty_reply> ConfirmHandOff(int holder = -1);

  uint32_t hello_flags = 0;
  uint64_t session = 0;
  uint64_t call_id = 0;
  UniqueFd events;

 private:
  std::vector<std::byte> Transact(const std::vector<std::byte>& bytes, const std::vector<int>& fds,
                                  std::vector<UniqueFd>* received) const;

  UniqueFd socket_;
};

// A process of its own that connects to the agent and then waits to be killed. Its connection is
// ours to use: to the agent the peer is that process.
class VmmProcess {
 public:
  explicit VmmProcess(const std::string& path);
  ~VmmProcess() { Kill(); }
  VmmProcess(const VmmProcess&) = delete;
  VmmProcess& operator=(const VmmProcess&) = delete;

  UniqueFd TakeConnection() { return std::move(connection_); }
  [[nodiscard]] pid_t pid() const { return pid_; }
  // SIGKILL, and waits until it is gone.
  void Kill();

 private:
  pid_t pid_ = -1;
  UniqueFd connection_;
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_AGENT_VMM_RAW_VMM_H_
