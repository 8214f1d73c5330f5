// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_SUPERVISE_LOCK_HOLDER_H_
#define BERTH_AGENT_SUPERVISE_LOCK_HOLDER_H_

#include <sys/types.h>

#include <optional>
#include <string>

#include "lib/base/unique_fd.h"

namespace berth {

struct LockHolder {
  pid_t pid = -1;
  UniqueFd pidfd;
};

// The process that holds the lock (flock(2)) of the file `path`, and has written its number there:
// an agent's (AgentState::LockPath()). Nothing: nobody holds it, or it cannot be told who, because
// the number is not written yet, or that of a process which does not have the file open (another
// pid namespace's). Whoever takes the lock in the moment of this call may be refused.
std::optional<LockHolder> FindLockHolder(const std::string& path);

}  // namespace berth

#endif  // BERTH_AGENT_SUPERVISE_LOCK_HOLDER_H_
