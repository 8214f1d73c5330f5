// SPDX-License-Identifier: Apache-2.0
#include "lib/daemon/signals.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

namespace berth {
namespace {

bool IsBlocked(int number) {
  sigset_t mask;
  ::pthread_sigmask(SIG_BLOCK, nullptr, &mask);
  return ::sigismember(&mask, number) == 1;
}

TEST(ProcessSignalsTest, SignalsBecomeValues) {
  auto signals = ProcessSignals::Block();
  ASSERT_TRUE(signals.ok()) << signals.status();
  for (const auto& [number, signal] :
       {std::pair{SIGTERM, Signal::kStop}, {SIGINT, Signal::kStop}, {SIGHUP, Signal::kReload}}) {
    ::kill(::getpid(), number);
    EXPECT_EQ((*signals)->Wait(absl::InfiniteDuration()), signal);
  }
  EXPECT_EQ((*signals)->Wait(absl::ZeroDuration()), std::nullopt);
}

TEST(ProcessSignalsTest, AThreadStartedLaterDoesNotTakeTheSignal) {
  auto signals = ProcessSignals::Block();
  ASSERT_TRUE(signals.ok());
  std::thread([] {
    EXPECT_TRUE(IsBlocked(SIGTERM));
    ::kill(::getpid(), SIGTERM);
  }).join();
  EXPECT_EQ((*signals)->Wait(absl::InfiniteDuration()), Signal::kStop);
}

TEST(ProcessSignalsTest, WaitingEndsWhenTheTimeIsUp) {
  auto signals = ProcessSignals::Block();
  ASSERT_TRUE(signals.ok());
  EXPECT_EQ((*signals)->Wait(absl::Milliseconds(1)), std::nullopt);
}

TEST(ProcessSignalsTest, ABrokenPipeIsAnErrorAndNotTheEnd) {
  auto signals = ProcessSignals::Block();
  ASSERT_TRUE(signals.ok());
  int pipe_fds[2];
  ASSERT_EQ(::pipe(pipe_fds), 0);
  ::close(pipe_fds[0]);
  EXPECT_EQ(::write(pipe_fds[1], "x", 1), -1);
  ::close(pipe_fds[1]);
}

TEST(ProcessSignalsTest, TheOldMaskComesBack) {
  ASSERT_FALSE(IsBlocked(SIGTERM));
  {
    auto signals = ProcessSignals::Block();
    EXPECT_TRUE(IsBlocked(SIGTERM));
  }
  EXPECT_FALSE(IsBlocked(SIGTERM));
}

}  // namespace
}  // namespace berth
