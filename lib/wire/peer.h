// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_WIRE_PEER_H_
#define BERTH_LIB_WIRE_PEER_H_

#include <sys/types.h>

#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"

namespace berth::wire {

// The process at the other end of a Unix socket, as the kernel vouches for it: who it was when it
// connected (unix(7), SO_PEERCRED).
struct Peer {
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  // Readable once the process has ended. Invalid when the kernel gives none (a process outside our
  // pid namespace): then only the end of the connection tells.
  UniqueFd pidfd;
};

// Errors: SYSTEM_ERROR.
absl::StatusOr<Peer> ReadPeer(int socket);

// The process of a pidfd that a peer sent, as it is now; `pidfd` stays empty. pid 0: it has ended,
// or is outside our pid namespace. Errors: INVALID_FIELD (not a pidfd).
absl::StatusOr<Peer> ReadPidfd(int fd);

}  // namespace berth::wire

#endif  // BERTH_LIB_WIRE_PEER_H_
