// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/poller.h"

#include <gtest/gtest.h>

#include <latch>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"

namespace berth::emulator {
namespace {

constexpr absl::Duration kMaxWait = absl::Milliseconds(4);

TEST(PollerTest, SpinsFirstThenYieldsThenWaitsLongerAndLongerUpToTheLimit) {
  EXPECT_EQ(NextIdleStep(absl::ZeroDuration(), kMaxWait).kind, IdleStep::Kind::kPause);
  EXPECT_EQ(NextIdleStep(absl::Microseconds(200), kMaxWait).kind, IdleStep::Kind::kYield);
  const IdleStep early = NextIdleStep(absl::Milliseconds(2), kMaxWait);
  const IdleStep later = NextIdleStep(absl::Milliseconds(4), kMaxWait);
  EXPECT_EQ(early.kind, IdleStep::Kind::kWait);
  EXPECT_GT(later.wait, early.wait);
  EXPECT_EQ(NextIdleStep(absl::Hours(1), kMaxWait).wait, kMaxWait);
}

TEST(PollerTest, WithNobodyToWatchItWaitsUntilWoken) {
  PolledMutex mutex;
  bool somebody = false;
  std::latch seen(1);
  Poller poller(
      &mutex, kMaxWait,
      [&] {
        if (somebody && !seen.try_wait()) seen.count_down();
        return Poller::Found::kNobody;
      },
      [] {});
  mutex.Lock();
  somebody = true;
  mutex.UnlockAndWake();
  seen.wait();
}

TEST(PollerTest, WhenIdleItRestsAndLooksAgain) {
  PolledMutex mutex;
  absl::Time last = absl::InfiniteFuture();
  std::latch rested(1);
  Poller poller(
      &mutex, kMaxWait,
      [&] {
        const absl::Time now = absl::Now();
        if (now - last >= kMaxWait && !rested.try_wait()) rested.count_down();
        last = now;
        return Poller::Found::kNothing;
      },
      [] {});
  rested.wait();
}

TEST(PollerTest, EventsAreDeliveredWithTheMutexFree) {
  PolledMutex mutex;
  bool raised = false;
  std::latch delivered(1);
  Poller poller(
      &mutex, kMaxWait,
      [&] {
        return std::exchange(raised, false) ? Poller::Found::kEvents : Poller::Found::kNobody;
      },
      [&] {
        mutex.Lock();
        mutex.Unlock();
        delivered.count_down();
      });
  mutex.Lock();
  raised = true;
  mutex.UnlockAndWake();
  delivered.wait();
}

TEST(PollerTest, ASweepThatNeverRestsStarvesNobody) {
  PolledMutex mutex;
  Poller poller(
      &mutex, kMaxWait,
      [&] {
        mutex.GiveWay();
        return Poller::Found::kWork;
      },
      [] {});
  int entries = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        mutex.Lock();
        ++entries;
        mutex.Unlock();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(entries, 800);
}

}  // namespace
}  // namespace berth::emulator
