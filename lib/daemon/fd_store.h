// SPDX-License-Identifier: Apache-2.0
//
// Fds that outlive the process: the service manager keeps a dup of each and passes it to the next
// start. systemd's documentation calls it the file descriptor store; the protocol is that of
// sd_pid_notify_with_fds(3) and sd_listen_fds(3).
#ifndef BERTH_LIB_DAEMON_FD_STORE_H_
#define BERTH_LIB_DAEMON_FD_STORE_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "lib/base/unique_fd.h"

namespace berth {

// What the environment says of fds that were passed: $LISTEN_FDS and $LISTEN_FDNAMES.
struct PassedFds {
  int count = 0;  // from kFirstPassedFd on
  std::vector<std::string> names;
};
inline constexpr int kFirstPassedFd = 3;
// Most fds that are taken over, and that berth-agent supervise keeps; as FileDescriptorStoreMax= in
// deploy/systemd.
inline constexpr size_t kMaxStoredFds = 4096;

struct StoredFd {
  std::string name;
  UniqueFd fd;
};

// Takes over what was passed, close-on-exec from now on. Call once, before anything else could
// have closed or opened fds of these numbers. A number that is not open is left out; one without a
// name is "unknown", as with sd_listen_fds_with_names(3). What comes behind kMaxStoredFds is
// closed.
std::vector<StoredFd> TakePassedFds(const PassedFds& passed);

// Whether systemd takes `name` as it is: 1 to 255 printable ASCII characters, no colon.
bool IsFdName(std::string_view name);

// Without a manager (no socket) nothing is kept, and every call succeeds. Thread-safe.
class FdStore {
 public:
  FdStore() = default;
  // `socket`: as Notifier::Options::socket.
  explicit FdStore(std::string socket) : socket_(std::move(socket)) {}

  // Whether there is a manager.
  [[nodiscard]] bool present() const { return !socket_.empty(); }

  // Keeps a dup of `fd` as `name` until Remove(), or until the service is stopped; whether
  // something hangs up on it or not. Several may have one name. A manager that is full drops it
  // without a word. Errors: INVALID_FIELD (not IsFdName()); those of TellManager().
  [[nodiscard]] absl::Status Add(std::string_view name, int fd) const;
  // Closes the manager's dups of this name. Errors: as Add().
  [[nodiscard]] absl::Status Remove(std::string_view name) const;
  // Returns when the manager has done all that this process told it before. Errors:
  // DEADLINE_EXCEEDED; those of TellManager().
  [[nodiscard]] absl::Status Barrier(absl::Duration timeout) const;

 private:
  std::string socket_;
};

}  // namespace berth

#endif  // BERTH_LIB_DAEMON_FD_STORE_H_
