// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_SUPERVISE_SUPERVISOR_H_
#define BERTH_AGENT_SUPERVISE_SUPERVISOR_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/supervise/fd_keeper.h"
#include "lib/base/unique_fd.h"
#include "lib/daemon/logging.h"
#include "lib/daemon/signals.h"

namespace berth {

// Keeps one child running, as a service manager would with Restart=on-failure, and the fds that it
// stores between its lives. A child that outlives its supervisor (SIGKILL) goes on without one
// until the next takes it up: that one finds it by its lock, tells it by SIGHUP to store its fds
// again, at the same socket, and starts another when it has ended. What it ended with nobody can
// tell then.
class Supervisor {
 public:
  struct Options {
    std::vector<std::string> command;  // a path and arguments
    // More arguments for the first child that is started, and for no other.
    std::vector<std::string> once = {};
    std::string socket;  // where the child finds the fd store: FdKeeper::Listen()
    std::string lock;    // the file that a child locks as long as it lives: FindLockHolder()
    // Waits before a start: the first after a child that was ready, twice as long after each that
    // was not.
    absl::Duration restart_min = absl::Milliseconds(50);
    absl::Duration restart_max = absl::Seconds(5);
    Logger* log = nullptr;            // outlives the call
    SignalSource* signals = nullptr;  // the same; kStop and kReload are passed on
  };

  // Runs the child until it ends and is not to be started again: it was told to stop, it ended
  // with kExitOk, or with what a restart does not mend (kExitUsage, kExitBadConfig). Returns its
  // exit code, 128 + N when signal N ended it. Errors: STATE_CONFLICT (another supervisor has the
  // folder of the socket), FdKeeper::Listen(), fork(2).
  static absl::StatusOr<int> Run(const Options& options);

 private:
  Supervisor(const Options& options, std::unique_ptr<FdKeeper> keeper)
      : options_(options),
        keeper_(std::move(keeper)),
        delay_(options.restart_min),
        once_(options.once) {}
  absl::StatusOr<int> RunChildren();
  absl::Status Start();
  // A child that another supervisor has left behind. False: there is none.
  bool TakeUp();
  // To the child, which is there.
  void Send(int signal) const;
  // Until the child has ended; its exit code.
  int AwaitEnd();
  // Waits for `delay_`. False: told to stop.
  bool Pause();
  // Waits for what happens to the child (-1: there is none), and sees to messages and signals.
  void Await(int child, absl::Duration limit);

  const Options& options_;
  const std::unique_ptr<FdKeeper> keeper_;
  absl::Duration delay_;
  pid_t pid_ = -1;  // no child
  UniqueFd pidfd_;
  bool ours_ = true;  // to wait for: we have started it
  std::vector<std::string> once_;
  bool stopping_ = false;
};

}  // namespace berth

#endif  // BERTH_AGENT_SUPERVISE_SUPERVISOR_H_
