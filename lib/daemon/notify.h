// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_DAEMON_NOTIFY_H_
#define BERTH_LIB_DAEMON_NOTIFY_H_

#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace berth {

// Sends one message of sd_notify(3), with `fds`, to the service manager at `socket` (as
// Notifier::Options::socket, not empty). Waits while its queue is full. Errors: INVALID_FIELD (the
// name is too long), those of connect(2) and sendmsg(2).
absl::Status TellManager(const std::string& socket, std::string_view message,
                         std::span<const int> fds = {});

// Tells the service manager how the daemon is, by the protocol of sd_notify(3). libsystemd's own
// function takes the socket from the environment only. Without a socket every call is a no-op that
// succeeds. Thread-safe.
class Notifier {
 public:
  struct Options {
    // The value of $NOTIFY_SOCKET: a path, or "@name" in the abstract namespace; empty: nobody
    // listens.
    std::string socket;
    // After how much silence the manager kills the daemon ($WATCHDOG_USEC); infinite: never.
    absl::Duration watchdog = absl::InfiniteDuration();
  };

  explicit Notifier(Options options) : options_(std::move(options)) {}

  absl::Status Ready() const { return Send("READY=1"); }
  absl::Status Stopping() const { return Send("STOPPING=1"); }
  absl::Status Watchdog() const { return Send("WATCHDOG=1"); }
  // Free text for `systemctl status`; control characters become blanks.
  absl::Status State(std::string_view text) const;

  // Call Watchdog() at least this often: half of what the manager tolerates.
  [[nodiscard]] absl::Duration watchdog_period() const { return options_.watchdog / 2; }

 private:
  absl::Status Send(const std::string& message) const;

  const Options options_;
};

}  // namespace berth

#endif  // BERTH_LIB_DAEMON_NOTIFY_H_
