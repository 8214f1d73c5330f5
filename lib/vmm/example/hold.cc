// SPDX-License-Identifier: Apache-2.0
#include "lib/vmm/example/hold.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace berth::example {

Hold::Hold() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  signals_.Reset(::signalfd(-1, &set, SFD_CLOEXEC));
}

bool Hold::OverWithin(int milliseconds) const {
  pollfd poll_fds[] = {{.fd = signals_.get(), .events = POLLIN, .revents = 0},
                       {.fd = STDIN_FILENO, .events = POLLIN, .revents = 0}};
  if (::poll(poll_fds, 2, milliseconds) < 0 && errno != EINTR) return true;
  char ignored[256];
  return poll_fds[0].revents != 0 ||
         (poll_fds[1].revents != 0 && ::read(STDIN_FILENO, ignored, sizeof(ignored)) <= 0);
}

void Hold::Wait() const {
  while (!OverWithin(-1)) {
  }
}

bool Hold::Over() const { return OverWithin(0); }

}  // namespace berth::example
