// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/poller.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <functional>
#include <utility>

#include "absl/time/clock.h"

namespace berth::emulator {
namespace {

constexpr absl::Duration kMaxWait = absl::Milliseconds(4);

using Found = PolledUnit::Found;

class FakeUnit : public PolledUnit {
 public:
  explicit FakeUnit(std::function<Found(int)> look) : look_(std::move(look)) {}
  Found LookAround(int worker) override {
    ++looks;
    return look_(worker);
  }

  std::atomic<int> looks = 0;

 private:
  const std::function<Found(int)> look_;
};

template <typename Condition>
void Await(Condition condition) {
  while (!condition()) ::sched_yield();
}

// Rests as it is told to until `idle` time has passed, none of it late.
IdleStep After(IdlePace* pace, absl::Duration idle) {
  while (idle > absl::ZeroDuration()) {
    const IdleStep step = pace->Next();
    const absl::Duration took =
        step.kind == IdleStep::Kind::kWait ? step.wait : absl::Microseconds(5);
    pace->Rested(step, took);
    idle -= took;
  }
  return pace->Next();
}

TEST(IdlePaceTest, SpinsFirstThenYieldsThenWaitsLongerAndLongerUpToTheLimit) {
  IdlePace pace(kMaxWait);
  EXPECT_EQ(pace.Next().kind, IdleStep::Kind::kPause);
  EXPECT_EQ(After(&pace, absl::Microseconds(200)).kind, IdleStep::Kind::kYield);
  const IdleStep early = After(&pace, absl::Milliseconds(2));
  EXPECT_EQ(early.kind, IdleStep::Kind::kWait);
  const IdleStep later = After(&pace, absl::Milliseconds(2));
  EXPECT_GT(later.wait, early.wait);
  EXPECT_EQ(After(&pace, absl::Seconds(1)).wait, kMaxWait);
  pace.FoundWork();
  EXPECT_EQ(pace.Next().kind, IdleStep::Kind::kPause);
}

TEST(IdlePaceTest, TimeThatOthersHadTheCoreIsNotIdleness) {
  IdlePace pace(kMaxWait);
  for (int i = 0; i < 3; ++i) pace.Rested({IdleStep::Kind::kPause, {}}, absl::Seconds(1));
  EXPECT_EQ(pace.Next().kind, IdleStep::Kind::kPause);
  pace.Rested({IdleStep::Kind::kWait, absl::Microseconds(70)}, absl::Seconds(1));
  EXPECT_NE(pace.Next().kind, IdleStep::Kind::kWait);
}

TEST(IdlePaceTest, WhereOthersWantTheCoreItWaitsForShortInsteadOfYielding) {
  IdlePace pace(kMaxWait);
  ASSERT_EQ(After(&pace, absl::Microseconds(100)).kind, IdleStep::Kind::kYield);
  pace.Rested(pace.Next(), absl::Milliseconds(4));
  const IdleStep step = pace.Next();
  EXPECT_EQ(step.kind, IdleStep::Kind::kWait);
  EXPECT_LT(step.wait, absl::Microseconds(200));
  pace.FoundWork();
  EXPECT_EQ(After(&pace, absl::Microseconds(100)).kind, IdleStep::Kind::kWait);
  EXPECT_EQ(After(&pace, absl::Seconds(1)).wait, kMaxWait);
  pace.FoundWork();
  EXPECT_EQ(After(&pace, absl::Microseconds(100)).kind, IdleStep::Kind::kYield) << "long ago";
}

TEST(PollerTest, WithNobodyToWatchItWaitsUntilWoken) {
  Poller poller({.threads = 1, .max_wait = kMaxWait});
  FakeUnit unit([](int) { return Found::kNobody; });
  poller.Add(&unit);
  Await([&] { return unit.looks > 0; });
  // Woken again and again: each time it looks at least once more.
  for (int i = 0; i < 10; ++i) {
    const int before = unit.looks;
    poller.Wake();
    Await([&] { return unit.looks > before; });
  }
  poller.Remove(&unit);
}

TEST(PollerTest, WhenIdleItRestsAndLooksAgain) {
  Poller poller({.threads = 1, .max_wait = kMaxWait});
  std::atomic<bool> rested = false;
  absl::Time last = absl::InfiniteFuture();
  FakeUnit unit([&](int) {
    const absl::Time now = absl::Now();
    if (now - last >= kMaxWait) rested = true;
    last = now;
    return Found::kNothing;
  });
  poller.Add(&unit);
  Await([&] { return rested.load(); });
  poller.Remove(&unit);
}

TEST(PollerTest, WhoIsRemovedIsNotLookedAtAnyMore) {
  Poller poller({.threads = 2, .max_wait = kMaxWait});
  FakeUnit stays([](int) { return Found::kMuchWork; });
  poller.Add(&stays);
  for (int i = 0; i < 50; ++i) {
    FakeUnit goes([](int) { return Found::kMuchWork; });
    poller.Add(&goes);
    Await([&] { return goes.looks > 0; });
    poller.Remove(&goes);
    const int looks = goes.looks;
    const int others = stays.looks;
    Await([&] { return stays.looks > others + 2; });
    EXPECT_EQ(goes.looks, looks);
  }
  poller.Remove(&stays);
}

TEST(PollerTest, OtherThreadsHelpWhileThereIsMuchToDo) {
  Poller poller({.threads = 3, .max_wait = kMaxWait});
  std::atomic<uint32_t> seen = 0;
  std::atomic<Found> found = Found::kNothing;
  FakeUnit unit([&](int worker) {
    seen |= 1u << worker;
    return found.load();
  });
  poller.Add(&unit);
  for (int round = 0; round < 2; ++round) {
    found = Found::kMuchWork;
    poller.Wake();
    Await([&] { return seen == 0b111u; });
    found = Found::kNothing;
    // They leave off again, and the first stays.
    Await([&] {
      seen = 0;
      const int looks = unit.looks;
      Await([&] { return unit.looks > looks + 3; });
      return seen == 0b001u;
    });
  }
  poller.Remove(&unit);
}

}  // namespace
}  // namespace berth::emulator
