// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_GRANTS_TIMER_QUEUE_H_
#define BERTH_AGENT_GRANTS_TIMER_QUEUE_H_

#include <functional>
#include <map>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "lib/base/clock.h"

namespace berth {

// Calls functions later, on a thread of its own. They must not block: they hand work to executors.
// Thread-safe. What is not due when the queue ends is dropped.
class TimerQueue {
 public:
  explicit TimerQueue(Clock* clock);
  ~TimerQueue();
  TimerQueue(const TimerQueue&) = delete;
  TimerQueue& operator=(const TimerQueue&) = delete;

  void After(absl::Duration delay, std::function<void()> task);
  // Ends the thread; later calls of After() do nothing. Idempotent; not from a task.
  void Stop();

 private:
  void Run();

  Clock* const clock_;
  absl::Mutex mu_;
  std::multimap<absl::Time, std::function<void()>> tasks_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace berth

#endif  // BERTH_AGENT_GRANTS_TIMER_QUEUE_H_
