// SPDX-License-Identifier: Apache-2.0
#include "lib/base/executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <numeric>
#include <vector>

#include "absl/synchronization/notification.h"

namespace berth {
namespace {

using ::testing::ElementsAre;

std::vector<int> UpTo(int n) {
  std::vector<int> numbers(static_cast<size_t>(n));
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

TEST(ThreadPoolTest, RunsWhatWasAddedBeforeItGoes) {
  std::atomic<int> ran = 0;
  {
    ThreadPool pool(4);
    for (int i = 0; i < 100; ++i) pool.Add([&ran] { ++ran; });
  }
  EXPECT_EQ(ran, 100);
}

TEST(ThreadPoolTest, OneThreadRunsTasksInTheirOrder) {
  std::vector<int> order;
  {
    ThreadPool pool(1);
    for (int i = 0; i < 10; ++i) pool.Add([&order, i] { order.push_back(i); });
  }
  EXPECT_EQ(order, UpTo(10));
}

TEST(SerialExecutorTest, RunsOneTaskAtATimeInOrder) {
  ThreadPool pool(4);
  SerialExecutor executor(&pool, 1000);
  // Not guarded: the executor alone keeps these accesses apart, and ThreadSanitizer would tell.
  std::vector<int> order;
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(executor.TryAdd([&order, i] { order.push_back(i); }));
  }
  executor.Drain();
  EXPECT_EQ(order, UpTo(1000));
}

TEST(SerialExecutorTest, RefusesWhatIsBeyondItsLimitButNotTeardown) {
  ThreadPool pool(1);
  SerialExecutor executor(&pool, 2);
  absl::Notification started;
  absl::Notification go;
  std::vector<int> order;
  executor.Add([&] {
    started.Notify();
    go.WaitForNotification();
  });
  started.WaitForNotification();
  EXPECT_TRUE(executor.TryAdd([&order] { order.push_back(1); }));
  EXPECT_TRUE(executor.TryAdd([&order] { order.push_back(2); }));
  EXPECT_FALSE(executor.TryAdd([&order] { order.push_back(3); })) << "two wait already";
  executor.Add([&order] { order.push_back(4); });
  go.Notify();
  executor.Drain();
  EXPECT_THAT(order, ElementsAre(1, 2, 4));
  EXPECT_TRUE(executor.TryAdd([&order] { order.push_back(5); })) << "there is room again";
  executor.Drain();
  EXPECT_THAT(order, ElementsAre(1, 2, 4, 5));
}

TEST(SerialExecutorTest, ExecutorsRunBesideEachOther) {
  ThreadPool pool(2);
  SerialExecutor left(&pool, 10);
  SerialExecutor right(&pool, 10);
  absl::Notification left_runs;
  absl::Notification right_runs;
  // Each waits for the other: this ends only if both run at the same time.
  left.Add([&] {
    left_runs.Notify();
    right_runs.WaitForNotification();
  });
  right.Add([&] {
    right_runs.Notify();
    left_runs.WaitForNotification();
  });
  left.Drain();
  right.Drain();
}

TEST(SerialExecutorTest, ABusyExecutorDoesNotKeepTheThreadToItself) {
  ThreadPool pool(1);
  SerialExecutor busy(&pool, 10);
  SerialExecutor other(&pool, 10);
  absl::Notification go;
  std::vector<char> order;
  busy.Add([&go] { go.WaitForNotification(); });
  for (int i = 0; i < 3; ++i) busy.Add([&order] { order.push_back('b'); });
  other.Add([&order] { order.push_back('o'); });
  go.Notify();
  busy.Drain();
  other.Drain();
  EXPECT_THAT(order, ElementsAre('o', 'b', 'b', 'b'));
}

TEST(SerialExecutorTest, WhatATaskHoldsIsReleasedBeforeDrainReturns) {
  ThreadPool pool(1);
  SerialExecutor executor(&pool, 10);
  auto resource = std::make_shared<int>(1);
  executor.Add([resource] {});
  executor.Drain();
  EXPECT_EQ(resource.use_count(), 1);
}

TEST(SerialExecutorTest, ATaskMayAddAnother) {
  ThreadPool pool(1);
  bool ran = false;
  {
    SerialExecutor executor(&pool, 10);
    executor.Add([&] { executor.Add([&ran] { ran = true; }); });
  }
  EXPECT_TRUE(ran) << "the destructor waits for it";
}

}  // namespace
}  // namespace berth
