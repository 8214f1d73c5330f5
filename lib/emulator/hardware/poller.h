// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HARDWARE_POLLER_H_
#define BERTH_LIB_EMULATOR_HARDWARE_POLLER_H_

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "lib/emulator/hardware/turn_lock.h"

namespace berth::emulator {

// What a Poller polls.
class PolledUnit {
 public:
  enum class Found {
    kNobody,   // nothing to watch at all
    kNothing,  // nothing has changed
    kWork,
    kMuchWork,  // in several places: another thread would find something to do, too
  };
  virtual ~PolledUnit() = default;
  // Looks at everything once, hardware thread number `worker` (from 0) beginning at a place of its
  // own. Thread-safe.
  virtual Found LookAround(int worker) = 0;
};

// What to do after having found nothing.
struct IdleStep {
  enum class Kind { kPause, kYield, kWait };
  Kind kind = Kind::kPause;
  absl::Duration wait;  // with kWait
};

// How long a hardware thread has been idle, and what to do about it: spin, then let others run,
// then wait, half as long again as it has been idle, up to a limit. Time in which others had the
// core does not make it idle. Where others want the core it does not yield, which would give away a
// whole time slice, but waits for short: a sleeper is woken before those who compute.
class IdlePace {
 public:
  explicit IdlePace(absl::Duration max_wait) : max_wait_(max_wait) {}

  void FoundWork() { idle_for_ = absl::ZeroDuration(); }
  [[nodiscard]] IdleStep Next() const;
  // `step` took `took`.
  void Rested(const IdleStep& step, absl::Duration took);

 private:
  const absl::Duration max_wait_;
  absl::Duration idle_for_;
  absl::Duration crowded_for_;  // what is left of the time in which not to yield
};

struct PollerOptions {
  // Hardware threads: one looks after everything, the others help while there is much to do.
  int threads = 1;
  // The longest time between two looks at something idle. Half of it is what an idle queue's
  // command waits on average (below 3 ms), and each look costs less than 30 us (below half a
  // percent of a core).
  absl::Duration max_wait = absl::Microseconds(5700);
};

// The hardware threads that poll the units of a machine: without a break while there is work,
// seldom when there is none, and not at all when there is nobody. Thread-safe. The destructor ends
// the threads; no unit may be left.
class Poller {
 public:
  explicit Poller(PollerOptions options);
  ~Poller();
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

  void Add(PolledUnit* unit);
  // Nobody looks at it when this returns. Not from LookAround().
  void Remove(PolledUnit* unit);
  // Has everything looked at now, and as if there had been work.
  void Wake();

 private:
  using Found = PolledUnit::Found;

  struct Worker {
    TurnLock lock;
    std::vector<PolledUnit*> units ABSL_GUARDED_BY(lock);
    std::thread thread;
  };

  void Run(int index);
  void Lead();           // worker 0
  void Help(int index);  // the others, until there is little to do
  Found LookAtAll(int index);
  // Returns whether it was woken.
  bool Rest(Found found, const IdleStep& step);
  void WakeHelper();
  // False: ends.
  bool AwaitMuchWork();

  const PollerOptions options_;
  std::vector<std::unique_ptr<Worker>> workers_;
  // Of std, because ThreadSanitizer does not see into an Abseil that was built without it.
  std::mutex sleep_;
  std::condition_variable wake_;
  std::condition_variable help_;
  bool woken_ = false;        // guarded by sleep_, as
  bool help_wanted_ = false;  // this
  std::atomic<int> helpers_asleep_ = 0;
  std::atomic<bool> stopping_ = false;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_POLLER_H_
