// SPDX-License-Identifier: Apache-2.0
#include "agent/grants/timer_queue.h"

#include <gmock/gmock.h>

#include <vector>

#include "absl/synchronization/notification.h"

namespace berth {
namespace {

TEST(TimerQueueTest, RunsTasksWhenTheyAreDueAndNotBefore) {
  FakeClock clock;
  std::vector<int> ran;
  absl::Notification first;
  absl::Notification last;
  TimerQueue timers(&clock);
  timers.After(absl::Seconds(10), [&] {
    ran.push_back(2);
    last.Notify();
  });
  timers.After(absl::Seconds(5), [&] {
    ran.push_back(1);
    first.Notify();
  });
  clock.Advance(absl::Seconds(6));
  first.WaitForNotification();
  EXPECT_FALSE(last.HasBeenNotified());
  clock.Advance(absl::Seconds(4));
  last.WaitForNotification();
  EXPECT_THAT(ran, ::testing::ElementsAre(1, 2));
}

TEST(TimerQueueTest, DropsWhatIsNotDueAtItsEnd) {
  FakeClock clock;
  bool ran = false;
  {
    TimerQueue timers(&clock);
    timers.After(absl::Seconds(1), [&] { ran = true; });
    timers.Stop();
    timers.After(absl::ZeroDuration(), [&] { ran = true; });
  }
  EXPECT_FALSE(ran);
}

}  // namespace
}  // namespace berth
