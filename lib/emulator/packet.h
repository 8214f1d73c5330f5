// SPDX-License-Identifier: Apache-2.0
//
// One packet with fds over a SEQPACKET socket, for both sides of protocol.h.
#ifndef BERTH_LIB_EMULATOR_PACKET_H_
#define BERTH_LIB_EMULATOR_PACKET_H_

#include <sys/uio.h>

#include <cstddef>
#include <span>
#include <vector>

#include "lib/base/unique_fd.h"

namespace berth::emulator {

// Sends one packet made of `parts` with `fds` (at most kMaxFds). Returns 0 or a negative errno;
// restarts after EINTR; never raises SIGPIPE.
int SendPacket(int socket, std::span<const iovec> parts, std::span<const int> fds, int flags);

struct ReceivedPacket {
  size_t size = 0;
  std::vector<UniqueFd> fds;
  bool truncated = false;      // the packet was larger than the buffer
  bool fds_truncated = false;  // not all fds could be installed
};

// Receives one packet into `buffer`. Returns 0, or a negative errno; at the end of the stream
// packet->size is 0. Received fds are O_CLOEXEC.
int ReceivePacket(int socket, std::span<std::byte> buffer, int flags, ReceivedPacket* packet);

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_PACKET_H_
