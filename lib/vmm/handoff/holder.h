// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_VMM_HANDOFF_HOLDER_H_
#define BERTH_LIB_VMM_HANDOFF_HOLDER_H_

#include <sys/types.h>

#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"

namespace berth::handoff {

// A process that is to be watched in our place.
struct Holder {
  pid_t pid = 0;
  UniqueFd pidfd;
};

// Who listens on the other end of `socket`: the kernel notes that when listen(2) is called
// (unix(7), SO_PEERCRED), so for a socket that QEMU was given it is whoever made that. Errors:
// SYSTEM_ERROR, NOT_FOUND (a process outside our pid namespace).
absl::StatusOr<Holder> ListenerOn(int socket);
// Errors: NOT_FOUND, SYSTEM_ERROR.
absl::StatusOr<Holder> HolderOf(pid_t pid);

// Whether the process has the files of all `fds` open, too. Looks into /proc/PID/fd, for which one
// has to be its user, or root. Errors: STATE_CONFLICT (it has not), PERMISSION_DENIED (it cannot be
// looked at).
absl::Status CheckHolds(const Holder& holder, std::span<const int> fds);

}  // namespace berth::handoff

#endif  // BERTH_LIB_VMM_HANDOFF_HOLDER_H_
