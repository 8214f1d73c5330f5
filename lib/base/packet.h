// SPDX-License-Identifier: Apache-2.0
//
// One packet with fds over a Unix SEQPACKET or DGRAM socket (unix(7), SCM_RIGHTS).
#ifndef BERTH_LIB_BASE_PACKET_H_
#define BERTH_LIB_BASE_PACKET_H_

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <span>
#include <vector>

#include "lib/base/unique_fd.h"

namespace berth {

// Most fds in one packet that is received.
inline constexpr size_t kMaxPacketFds = 16;
// Most that the kernel takes in one (Linux include/net/scm.h, SCM_MAX_FD).
inline constexpr size_t kMaxSentFds = 253;

// Sends one packet made of `parts` with `fds`. `flags` as for sendmsg(2). Returns 0 or a negative
// errno (EINVAL: too many fds); restarts after EINTR; never raises SIGPIPE.
int SendPacket(int socket, std::span<const iovec> parts, std::span<const int> fds, int flags);

struct ReceivedPacket {
  size_t size = 0;
  std::vector<UniqueFd> fds;
  bool truncated = false;      // the packet was larger than the buffer
  bool fds_truncated = false;  // not all fds could be installed
  pid_t sender = 0;            // on a socket with SO_PASSCRED; 0: not known
};

// Receives one packet into `buffer`. Returns 0 or a negative errno; at the end of the stream
// packet->size is 0. Received fds are O_CLOEXEC.
int ReceivePacket(int socket, std::span<std::byte> buffer, int flags, ReceivedPacket* packet);

}  // namespace berth

#endif  // BERTH_LIB_BASE_PACKET_H_
