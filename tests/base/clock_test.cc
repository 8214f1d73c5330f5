// SPDX-License-Identifier: Apache-2.0
#include "lib/base/clock.h"

#include <gtest/gtest.h>

#include <thread>

namespace berth {
namespace {

TEST(FakeClockTest, MovesOnlyWhenTold) {
  FakeClock clock(absl::FromUnixSeconds(100));
  EXPECT_EQ(clock.Now(), absl::FromUnixSeconds(100));
  clock.Advance(absl::Seconds(5));
  EXPECT_EQ(clock.Now(), absl::FromUnixSeconds(105));
}

class AwaitTest : public ::testing::Test {
 protected:
  bool Await(Clock& clock, absl::Time deadline) {
    absl::MutexLock lock(&mu_);
    return clock.AwaitWithDeadline(&mu_, absl::Condition(&done_), deadline);
  }
  void Finish() {
    absl::MutexLock lock(&mu_);
    done_ = true;
  }

  absl::Mutex mu_;
  bool done_ ABSL_GUARDED_BY(mu_) = false;
};

TEST_F(AwaitTest, AConditionThatHoldsNeedsNoTime) {
  Finish();
  FakeClock clock;
  EXPECT_TRUE(Await(clock, clock.Now()));
  EXPECT_TRUE(Await(Clock::Real(), absl::InfinitePast()));
}

TEST_F(AwaitTest, WakesUpWhenTheConditionComesTrue) {
  FakeClock clock;
  std::thread finisher([this] { Finish(); });
  EXPECT_TRUE(Await(clock, absl::InfiniteFuture()));
  finisher.join();
}

TEST_F(AwaitTest, GivesUpWhenTheClockReachesTheDeadline) {
  FakeClock clock;
  std::thread mover([&clock] { clock.Advance(absl::Hours(1)); });
  EXPECT_FALSE(Await(clock, absl::UnixEpoch() + absl::Hours(1)));
  mover.join();
  EXPECT_EQ(clock.Now(), absl::UnixEpoch() + absl::Hours(1));
}

TEST_F(AwaitTest, TheRealClockGivesUpToo) {
  EXPECT_FALSE(Await(Clock::Real(), Clock::Real().Now() + absl::Milliseconds(1)));
}

TEST(RealClockTest, DoesNotGoBackInAMoment) {
  const absl::Time before = Clock::Real().Now();
  EXPECT_GE(Clock::Real().Now(), before);
  EXPECT_GT(before, absl::FromUnixSeconds(1'700'000'000));
}

}  // namespace
}  // namespace berth
