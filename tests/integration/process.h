// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_INTEGRATION_PROCESS_H_
#define BERTH_TESTS_INTEGRATION_PROCESS_H_

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "lib/base/unique_fd.h"

namespace berth::testing {

// Far beyond what anything here takes, also under a sanitizer on a busy machine.
inline constexpr absl::Duration kPatience = absl::Seconds(40);

// Looks again and again until `condition` holds; false, and a failure of the test that names
// `what`, when it does not within `limit`.
bool WaitFor(std::string_view what, const std::function<bool()>& condition,
             absl::Duration limit = kPatience);

std::string ReadFile(const std::string& path);
void WriteFile(const std::string& path, std::string_view text);

// A program as a child of this process, in a process group of its own. It is killed when the object
// or the thread that started it ends.
class Process {
 public:
  struct Options {
    std::string program;
    std::vector<std::string> args;
    std::string out;  // file that stdout is appended to
    std::string err;  // the same of stderr; empty: also `out`
    // "NAME=value", beyond what every child gets.
    std::vector<std::string> environment = {};
    // Fds 3, 4, ... of the child, as sd_listen_fds(3) wants them, with LISTEN_PID beside the
    // variables above; not closed here.
    std::vector<int> fds = {};
    // Network namespace that it runs in; -1: this process's.
    int network = -1;
  };
  explicit Process(const Options& options);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] bool running();
  // By a signal, as SIGSTOP.
  [[nodiscard]] bool stopped() const;
  void Signal(int signal) const;
  // Its exit code, or -N when signal N ended it; a failure of the test, and SIGKILL, when it does
  // not end in time.
  int Wait(absl::Duration limit = kPatience);
  // SIGTERM, then Wait().
  int Stop();
  // SIGKILL, then Wait().
  void Kill();
  // The child sees the end of its stdin, which is open until then.
  void CloseStdin() { stdin_.Reset(); }

 private:
  pid_t pid_ = -1;
  UniqueFd pidfd_;
  UniqueFd stdin_;
  std::optional<int> result_;
};

// Ends a process that is not our child, and waits until it is gone. Nothing when there is none.
void KillStranger(pid_t pid);
// Who listens on a UNIX socket; 0: nobody.
pid_t ListenerOf(const std::string& socket_path, int socket_type);

}  // namespace berth::testing

#endif  // BERTH_TESTS_INTEGRATION_PROCESS_H_
