// SPDX-License-Identifier: Apache-2.0
#include "agent/grants/timer_queue.h"

#include <utility>

namespace berth {

TimerQueue::TimerQueue(Clock* clock) : clock_(clock), thread_([this] { Run(); }) {}

TimerQueue::~TimerQueue() { Stop(); }

void TimerQueue::After(absl::Duration delay, std::function<void()> task) {
  const absl::Time due = clock_->Now() + delay;
  absl::MutexLock lock(&mu_);
  if (!stopping_) tasks_.emplace(due, std::move(task));
}

void TimerQueue::Stop() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
  absl::MutexLock lock(&mu_);
  tasks_.clear();
}

void TimerQueue::Run() {
  absl::Time until = absl::InfiniteFuture();
  const auto earlier = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return stopping_ || (!tasks_.empty() && tasks_.begin()->first < until);
  };
  for (;;) {
    std::function<void()> task;
    {
      absl::MutexLock lock(&mu_);
      until = tasks_.empty() ? absl::InfiniteFuture() : tasks_.begin()->first;
      if (clock_->AwaitWithDeadline(&mu_, absl::Condition(&earlier), until)) {
        if (stopping_) return;
        continue;
      }
      // Nothing earlier came: the first task is due.
      task = std::move(tasks_.begin()->second);
      tasks_.erase(tasks_.begin());
    }
    task();
  }
}

}  // namespace berth
