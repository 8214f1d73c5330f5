// SPDX-License-Identifier: Apache-2.0
#include "lib/daemon/signals.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "absl/time/clock.h"
#include "lib/base/status.h"

namespace berth {
namespace {

// Rounded up, so that a short wait does not become a busy one.
int PollTimeout(absl::Time deadline) {
  if (deadline == absl::InfiniteFuture()) return -1;
  const absl::Duration left = std::max(deadline - absl::Now(), absl::ZeroDuration());
  return static_cast<int>(
      std::min<int64_t>(absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1))),
                        std::numeric_limits<int>::max()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ProcessSignals>> ProcessSignals::Block() {
  std::unique_ptr<ProcessSignals> signals(new ProcessSignals);
  sigset_t mask;
  sigemptyset(&mask);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&mask, number);
  if (const int error = ::pthread_sigmask(SIG_BLOCK, &mask, &signals->old_mask_); error != 0) {
    return ErrnoToStatus(error, "pthread_sigmask");
  }
  struct sigaction ignore = {};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &ignore, &signals->old_pipe_);
  signals->fd_ = UniqueFd(::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals->fd_.valid()) return ErrnoToStatus(errno, "signalfd");
  return signals;
}

ProcessSignals::~ProcessSignals() {
  ::sigaction(SIGPIPE, &old_pipe_, nullptr);
  ::pthread_sigmask(SIG_SETMASK, &old_mask_, nullptr);
}

std::optional<Signal> ProcessSignals::Wait(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  for (;;) {
    struct pollfd poll_fd = {fd_.get(), POLLIN, 0};
    const int ready = ::poll(&poll_fd, 1, PollTimeout(deadline));
    struct signalfd_siginfo info = {};
    if (ready > 0 && ::read(fd_.get(), &info, sizeof(info)) == sizeof(info)) {
      return info.ssi_signo == SIGHUP ? Signal::kReload : Signal::kStop;
    }
    // EINTR and a signal that another reader took: wait for the rest of the time.
    if (ready == 0 && absl::Now() >= deadline) return std::nullopt;
  }
}

}  // namespace berth
