// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/poller.h"

#include <sched.h>
#include <sys/prctl.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace berth::emulator {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr absl::Duration kSpin = absl::Microseconds(50);
// Where others want the core: the guest that is waited for may be the one that is kept off it.
constexpr absl::Duration kCrowdedSpin = absl::Microseconds(5);
constexpr absl::Duration kYield = absl::Milliseconds(1);
// A step of spinning or yielding counts for at most so much idleness.
constexpr absl::Duration kMostOfAStep = absl::Microseconds(10);
// A yield that took longer has let somebody else compute.
constexpr absl::Duration kLongYield = absl::Microseconds(200);
constexpr absl::Duration kCrowdedAfterLongYield = absl::Milliseconds(100);
// A helper that found nothing so often goes back to sleep: after some tenths of a millisecond.
constexpr int kHelperPatience = 500;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

IdleStep IdlePace::Next() const {
  const bool crowded = crowded_for_ > absl::ZeroDuration();
  if (idle_for_ < (crowded ? kCrowdedSpin : kSpin)) return {IdleStep::Kind::kPause, {}};
  if (idle_for_ < kYield && !crowded) return {IdleStep::Kind::kYield, {}};
  return {IdleStep::Kind::kWait, std::min(idle_for_ / 2, max_wait_)};
}

void IdlePace::Rested(const IdleStep& step, absl::Duration took) {
  crowded_for_ = std::max(crowded_for_ - took, absl::ZeroDuration());
  if (step.kind == IdleStep::Kind::kWait) {
    idle_for_ += std::min(took, step.wait);
    return;
  }
  idle_for_ += std::min(took, kMostOfAStep);
  if (step.kind == IdleStep::Kind::kYield && took > kLongYield) {
    crowded_for_ = kCrowdedAfterLongYield;
  }
}

Poller::Poller(PollerOptions options) : options_(options) {
  for (int i = 0; i < options_.threads; ++i) workers_.push_back(std::make_unique<Worker>());
  for (int i = 0; i < options_.threads; ++i) {
    workers_[i]->thread = std::thread([this, i] { Run(i); });
  }
}

Poller::~Poller() {
  {
    const std::lock_guard lock(sleep_);
    stopping_ = true;
    woken_ = true;
  }
  wake_.notify_all();
  help_.notify_all();
  for (const auto& worker : workers_) worker->thread.join();
}

void Poller::Add(PolledUnit* unit) {
  for (const auto& worker : workers_) {
    const TurnLockHolder lock(&worker->lock);
    worker->units.push_back(unit);
  }
  Wake();
}

void Poller::Remove(PolledUnit* unit) {
  for (const auto& worker : workers_) {
    const TurnLockHolder lock(&worker->lock);
    std::erase(worker->units, unit);
  }
}

void Poller::Wake() {
  {
    const std::lock_guard lock(sleep_);
    woken_ = true;
  }
  wake_.notify_one();
}

void Poller::Run(int index) {
  if (index == 0) {
    Lead();
  } else {
    while (AwaitMuchWork()) Help(index);
  }
}

// steady_clock and not berth::Clock: this is the pace of the machine, not a time that anyone sees.
void Poller::Lead() {
  // Else short waits are 50 us longer (Linux's default).
  ::prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL);
  IdlePace pace(options_.max_wait);
  IdleStep step;
  bool idle = false;
  SteadyClock::time_point since;
  while (!stopping_.load(std::memory_order_relaxed)) {
    const Found found = LookAtAll(0);
    if (found == Found::kMuchWork) WakeHelper();
    if (found >= Found::kWork) {
      pace.FoundWork();
      idle = false;
      continue;
    }
    const SteadyClock::time_point now = SteadyClock::now();
    if (std::exchange(idle, true)) pace.Rested(step, absl::FromChrono(now - since));
    since = now;
    step = pace.Next();
    if (Rest(found, step)) {
      pace.FoundWork();
      idle = false;
    }
  }
}

void Poller::Help(int index) {
  for (int idle = 0; idle < kHelperPatience && !stopping_.load(std::memory_order_relaxed);) {
    const Found found = LookAtAll(index);
    if (found == Found::kMuchWork) WakeHelper();
    if (found >= Found::kWork) {
      idle = 0;
    } else {
      ++idle;
      Pause();
    }
  }
}

Poller::Found Poller::LookAtAll(int index) {
  Worker& worker = *workers_[index];
  if (!worker.lock.TryLock()) {
    ::sched_yield();
    return Found::kWork;  // not looked at, so look again
  }
  Found found = Found::kNobody;
  for (PolledUnit* unit : worker.units) {
    const Found here = unit->LookAround(index);
    // Work in two units is much.
    found =
        found >= Found::kWork && here >= Found::kWork ? Found::kMuchWork : std::max(found, here);
  }
  worker.lock.Unlock();
  return found;
}

bool Poller::Rest(Found found, const IdleStep& step) {
  if (found != Found::kNobody && step.kind == IdleStep::Kind::kPause) {
    Pause();
    return false;
  }
  if (found != Found::kNobody && step.kind == IdleStep::Kind::kYield) {
    ::sched_yield();
    return false;
  }
  std::unique_lock lock(sleep_);
  const auto woken = [this] { return woken_; };
  if (found == Found::kNobody) {
    wake_.wait(lock, woken);
  } else {
    wake_.wait_for(lock, absl::ToChronoNanoseconds(step.wait), woken);
  }
  return std::exchange(woken_, false);
}

void Poller::WakeHelper() {
  if (helpers_asleep_.load(std::memory_order_relaxed) == 0) return;
  const std::lock_guard lock(sleep_);
  help_wanted_ = true;
  help_.notify_one();
}

bool Poller::AwaitMuchWork() {
  std::unique_lock lock(sleep_);
  ++helpers_asleep_;
  help_.wait(lock, [this] { return help_wanted_ || stopping_; });
  --helpers_asleep_;
  help_wanted_ = false;
  return !stopping_;
}

}  // namespace berth::emulator
