// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/turn_lock.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <thread>
#include <vector>

namespace berth::emulator {
namespace {

TEST(TurnLockTest, WhoIsThereKeepsOthersOut) {
  TurnLock lock;
  // Branches and not expectations: the analysis follows them.
  if (!lock.TryLock()) FAIL() << "nobody is there";
  EXPECT_FALSE(lock.TryLock());
  lock.Unlock();
  {
    const TurnLockHolder holder(&lock);
    EXPECT_FALSE(lock.TryLock());
  }
  if (!lock.TryLock()) FAIL() << "everybody has left";
  lock.Unlock();
}

TEST(TurnLockTest, AThreadThatNeverRestsStarvesNobody) {
  TurnLock lock;
  std::atomic<bool> stop = false;
  int entries = 0;  // guarded by the lock, in fact
  std::thread busy([&] {
    while (!stop) {
      if (!lock.TryLock()) {
        ::sched_yield();
        continue;
      }
      lock.Unlock();
    }
  });
  std::vector<std::thread> others;
  for (int t = 0; t < 4; ++t) {
    others.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        const TurnLockHolder holder(&lock);
        ++entries;
      }
    });
  }
  for (std::thread& other : others) other.join();
  stop = true;
  busy.join();
  EXPECT_EQ(entries, 800);
}

}  // namespace
}  // namespace berth::emulator
