// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/event_channel.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>

#include "lib/base/packet.h"
#include "lib/base/status.h"

namespace berth::wire {

absl::StatusOr<EventChannel::Pair> EventChannel::Create() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
    return ErrnoToStatus(errno, "socketpair");
  }
  return Pair{EventChannel(UniqueFd(ends[0])), UniqueFd(ends[1])};
}

EventChannel::Result EventChannel::Send(uint64_t session_id, berth_vmm_event event) {
  event.header = {.size = sizeof(event),
                  .type = BERTH_VMM_EVENT,
                  .fd_count = 0,
                  .session_id = session_id,
                  .call_id = next_number_};
  const iovec part = {&event, sizeof(event)};
  switch (SendPacket(socket_.get(), {&part, 1}, {}, MSG_DONTWAIT)) {
    case 0:
      ++next_number_;
      return Result::kSent;
    case -EAGAIN:
    case -ENOBUFS:
    case -ENOMEM:
      return Result::kFull;
    default:
      return Result::kClosed;
  }
}

}  // namespace berth::wire
