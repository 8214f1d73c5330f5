// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/poller.h"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace berth::emulator {
namespace {

constexpr absl::Duration kSpin = absl::Microseconds(50);
constexpr absl::Duration kYield = absl::Milliseconds(1);

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

void PolledMutex::Lock() {
  requests_.fetch_add(1);
  mu_.lock();
  entries_.fetch_add(1);
  entries_.notify_all();
}

void PolledMutex::UnlockAndWake() {
  woken_ = true;
  wake_.notify_one();
  mu_.unlock();
}

void PolledMutex::LetOthersIn() {
  const uint32_t requested = requests_.load();
  mu_.unlock();
  uint32_t entered = entries_.load();
  while (static_cast<int32_t>(requested - entered) > 0) {
    entries_.wait(entered);
    entered = entries_.load();
  }
  mu_.lock();
}

IdleStep NextIdleStep(absl::Duration idle_for, absl::Duration max_wait) {
  if (idle_for < kSpin) return {IdleStep::Kind::kPause, {}};
  if (idle_for < kYield) return {IdleStep::Kind::kYield, {}};
  return {IdleStep::Kind::kWait, std::min(idle_for / 2, max_wait)};
}

Poller::Poller(PolledMutex* mutex, absl::Duration max_wait, std::function<Found()> sweep,
               std::function<void()> deliver)
    : mutex_(mutex),
      max_wait_(max_wait),
      sweep_(std::move(sweep)),
      deliver_(std::move(deliver)),
      thread_([this] { Run(); }) {}

Poller::~Poller() {
  mutex_->Lock();
  stopping_ = true;
  mutex_->UnlockAndWake();
  thread_.join();
}

// steady_clock and not berth::Clock: this is the pace of the machine, not a time that anyone sees.
void Poller::Run() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  using SteadyClock = std::chrono::steady_clock;
  bool idle = false;
  SteadyClock::time_point idle_since;
  mutex_->mu_.lock();
  while (!stopping_.load(std::memory_order_relaxed)) {
    const Found found = sweep_();
    if (found == Found::kEvents) {
      mutex_->mu_.unlock();
      deliver_();
      mutex_->mu_.lock();
    }
    if (found >= Found::kWork) {
      idle = false;
      continue;
    }
    const SteadyClock::time_point now = SteadyClock::now();
    if (!std::exchange(idle, true)) idle_since = now;
    if (Rest(found, absl::FromChrono(now - idle_since))) idle = false;
  }
  mutex_->mu_.unlock();
}

bool Poller::Rest(Found found, absl::Duration idle_for) {
  const IdleStep step = NextIdleStep(idle_for, max_wait_);
  if (found != Found::kNobody && step.kind == IdleStep::Kind::kPause) {
    Pause();
    return false;
  }
  if (found != Found::kNobody && step.kind == IdleStep::Kind::kYield) {
    ::sched_yield();
    return false;
  }
  std::unique_lock<std::mutex> lock(mutex_->mu_, std::adopt_lock);
  const auto woken = [this] { return mutex_->woken_; };
  if (found == Found::kNobody) {
    mutex_->wake_.wait(lock, woken);
  } else {
    mutex_->wake_.wait_for(lock, absl::ToChronoMicroseconds(step.wait), woken);
  }
  (void)lock.release();
  return std::exchange(mutex_->woken_, false);
}

}  // namespace berth::emulator
