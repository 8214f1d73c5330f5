// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_DAEMON_VMM_LISTENER_H_
#define BERTH_AGENT_DAEMON_VMM_LISTENER_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"
#include "lib/daemon/fd_store.h"
#include "lib/daemon/logging.h"

namespace berth {

// Listens for VMMs at `path`: on the socket of the agent before this one when `passed` has it, so
// that a VMM that comes while no agent runs is not turned away but waits; else on a new one, which
// `store` then keeps. What else `passed` has is dropped, from `store` as well. Errors:
// WireServer::Listen().
absl::StatusOr<UniqueFd> ListenForVmms(const std::string& path, const FdStore& store,
                                       std::vector<StoredFd> passed, Logger* log);

// Lets `store` keep `listener`, which ListenForVmms() has returned; it does not matter whether it
// does so already. Errors: FdStore::Add().
absl::Status StoreListener(const FdStore& store, int listener);

}  // namespace berth

#endif  // BERTH_AGENT_DAEMON_VMM_LISTENER_H_
