// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_DAEMON_EMULATOR_PROCESS_H_
#define BERTH_AGENT_DAEMON_EMULATOR_PROCESS_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "lib/base/unique_fd.h"

namespace berth {

// A berth-emulator that the agent starts when none listens in its folder. It is a session of its
// own and outlives the agent, as hardware would; without anybody who uses it, it ends by itself.
// Not thread-safe.
class EmulatorProcess {
 public:
  struct Options {
    std::string program;
    std::string dir;        // where its socket is
    std::string host_file;  // empty: never start one
    absl::Duration start_timeout = absl::Seconds(10);
    absl::Duration idle_exit = absl::Seconds(30);
  };

  explicit EmulatorProcess(Options options);

  // OK when an emulator listens; starts one when not, and waits until it does. Errors: KERNEL_GONE
  // (none listens, and starting is not ours or failed; the message says why).
  absl::Status EnsureRunning();

  std::string socket_path() const;

 private:
  bool Listens() const;
  absl::Status Spawn();
  absl::Status AwaitListening();
  // Whether the child has ended; reaps it.
  bool Reap();
  // What it wrote before it ended.
  std::string ReadReport();

  const Options options_;
  pid_t pid_ = -1;
  UniqueFd pidfd_;
  UniqueFd report_;    // the end of a pipe where it says why it does not start
  std::string ended_;  // how the last child ended
};

}  // namespace berth

#endif  // BERTH_AGENT_DAEMON_EMULATOR_PROCESS_H_
