// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_BASE_CLOCK_H_
#define BERTH_LIB_BASE_CLOCK_H_

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace berth {

// The only source of time below main(). Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  // Wall time, for what is shown and stored.
  virtual absl::Time Now() const = 0;
  // Waits with `mu` held, as absl::Mutex::AwaitWithDeadline does, until `condition` or until Now()
  // reaches `deadline`. Returns whether the condition holds.
  virtual bool AwaitWithDeadline(absl::Mutex* mu, const absl::Condition& condition,
                                 absl::Time deadline) = 0;

  // The machine's clock: a process-wide constant without state.
  static Clock& Real();
};

// The time of another clock, and `offset`: what a machine has whose clock was set wrong. Its waits
// end when those of that clock do.
class OffsetClock : public Clock {
 public:
  // `base` must outlive it.
  OffsetClock(Clock* base, absl::Duration offset) : base_(*base), offset_(offset) {}
  absl::Time Now() const override { return base_.Now() + offset_; }
  bool AwaitWithDeadline(absl::Mutex* mu, const absl::Condition& condition,
                         absl::Time deadline) override {
    return base_.AwaitWithDeadline(mu, condition, deadline - offset_);
  }

 private:
  Clock& base_;
  const absl::Duration offset_;
};

// A clock that moves only when told. For tests and simulation.
class FakeClock : public Clock {
 public:
  explicit FakeClock(absl::Time now = absl::UnixEpoch()) : now_(now) {}
  absl::Time Now() const override;
  // Wakes up at Advance() and at changes of the condition (polled; the real time that passes is
  // bounded by the caller's test time-out).
  bool AwaitWithDeadline(absl::Mutex* mu, const absl::Condition& condition,
                         absl::Time deadline) override;
  void Advance(absl::Duration by);

 private:
  mutable absl::Mutex mu_;
  absl::Time now_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_LIB_BASE_CLOCK_H_
