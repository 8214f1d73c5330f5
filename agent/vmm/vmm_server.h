// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_VMM_VMM_SERVER_H_
#define BERTH_AGENT_VMM_VMM_SERVER_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/grants/grant_manager.h"
#include "lib/base/unique_fd.h"
#include "lib/wire/server.h"

namespace berth {

// Serves VMMs: sessions, replays, and the way of each call to the executor of its grant. Nothing
// that a VMM sends ends the connection or the agent; everything has an answer.
//
// A session belongs to the process that said HELLO. It ends with DETACH, with that process, or when
// no connection has taken it up again within GrantLimits::resume_grace; when the kernel gives no
// pidfd for the process, with its connection.
class VmmServer {
 public:
  // Serves `listener` (WireServer::Listen()). `grants` must outlive the server. `adopted`: of
  // GrantManager::Adopt(); they wait for their VMMs, as long as those live. Errors:
  // WireServer::Start().
  static absl::StatusOr<std::unique_ptr<VmmServer>> Start(UniqueFd listener, GrantManager* grants,
                                                          const wire::ServerOptions& options,
                                                          std::vector<AdoptedSession> adopted = {});
  // Closes all connections; sessions go on for their grace.
  ~VmmServer();
  VmmServer(const VmmServer&) = delete;
  VmmServer& operator=(const VmmServer&) = delete;

 private:
  class Impl;
  explicit VmmServer(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

  std::shared_ptr<Impl> impl_;
};

}  // namespace berth

#endif  // BERTH_AGENT_VMM_VMM_SERVER_H_
