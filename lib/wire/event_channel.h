// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_WIRE_EVENT_CHANNEL_H_
#define BERTH_LIB_WIRE_EVENT_CHANNEL_H_

#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"
#include "lib/vmm/berth_vmm_wire.h"

namespace berth::wire {

// The agent's end of the socket on which a VMM gets its events. Move-only. Send() may be called
// from one thread at a time.
class EventChannel {
 public:
  enum class Result {
    kSent,
    kFull,    // the VMM does not read: leave events in the kernel's queue, wait for POLLOUT
    kClosed,  // the VMM has closed its end
  };
  struct Pair;

  EventChannel() = default;
  // A connected pair; the VMM's end goes with the reply to HELLO. Errors: OUT_OF_MEMORY,
  // SYSTEM_ERROR.
  static absl::StatusOr<Pair> Create();

  // Sends one event without blocking. Sets size, type, session and call_id, which counts what this
  // channel has sent, from 1.
  Result Send(uint64_t session_id, berth_vmm_event event);

  // The agent's end, to poll for POLLOUT (room) and POLLHUP.
  [[nodiscard]] int fd() const { return socket_.get(); }
  [[nodiscard]] bool valid() const { return socket_.valid(); }

 private:
  explicit EventChannel(UniqueFd socket) : socket_(std::move(socket)) {}

  UniqueFd socket_;
  uint64_t next_number_ = 1;
};

struct EventChannel::Pair {
  EventChannel agent;
  UniqueFd vmm;
};

}  // namespace berth::wire

#endif  // BERTH_LIB_WIRE_EVENT_CHANNEL_H_
