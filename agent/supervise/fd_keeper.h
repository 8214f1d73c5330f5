// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_SUPERVISE_FD_KEEPER_H_
#define BERTH_AGENT_SUPERVISE_FD_KEEPER_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/base/packet.h"
#include "lib/base/unique_fd.h"
#include "lib/daemon/fd_store.h"
#include "lib/daemon/logging.h"

namespace berth {

// The server side of the file descriptor store: what systemd does with FDSTORE=1, FDNAME=,
// FDSTOREREMOVE=1 and BARRIER=1 (sd_pid_notify_with_fds(3)). It never looks at the fds, so FDPOLL=0
// is how it treats all of them; as there, what it has already it does not take twice. Not
// thread-safe.
class FdKeeper {
 public:
  // Listens on a datagram socket at `path`, mode 0600; a file that is there is replaced. `log`
  // outlives the keeper. Errors: INVALID_FIELD (the path is too long), SYSTEM_ERROR and others of
  // bind(2).
  static absl::StatusOr<std::unique_ptr<FdKeeper>> Listen(std::string path, Logger* log);
  ~FdKeeper();  // removes the socket
  FdKeeper(const FdKeeper&) = delete;
  FdKeeper& operator=(const FdKeeper&) = delete;

  // For poll(2): POLLIN when Receive() has something to do.
  [[nodiscard]] int fd() const { return socket_.get(); }
  [[nodiscard]] const std::string& path() const { return path_; }

  // Does what the messages that wait ask for, as far as the process `client` sent them; others are
  // dropped. True: one of them said READY=1.
  bool Receive(pid_t client);

  // In the order in which they came; at most kMaxStoredFds.
  [[nodiscard]] const std::vector<StoredFd>& fds() const { return fds_; }

 private:
  FdKeeper(std::string path, UniqueFd socket, Logger* log)
      : path_(std::move(path)), socket_(std::move(socket)), log_(log) {}
  void Store(std::string_view name, std::vector<UniqueFd> fds);

  const std::string path_;
  const UniqueFd socket_;
  Logger* const log_;
  std::vector<StoredFd> fds_;
};

}  // namespace berth

#endif  // BERTH_AGENT_SUPERVISE_FD_KEEPER_H_
