// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HARDWARE_POLLER_H_
#define BERTH_LIB_EMULATOR_HARDWARE_POLLER_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"

namespace berth::emulator {

// A mutex for state that one thread holds nearly all the time. Thread-safe.
class ABSL_LOCKABLE PolledMutex {
 public:
  // For everyone but the poller.
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION();
  void Unlock() ABSL_UNLOCK_FUNCTION() { mu_.unlock(); }
  // Unlock(), and the poller looks at once.
  void UnlockAndWake() ABSL_UNLOCK_FUNCTION();
  // For the holder: lets all who wait by now have the mutex first, so that none of them starves.
  // Cheap when nobody waits.
  void GiveWay() ABSL_EXCLUSIVE_LOCKS_REQUIRED(this) {
    if (requests_.load() != entries_.load()) LetOthersIn();
  }

 private:
  friend class Poller;
  void LetOthersIn() ABSL_EXCLUSIVE_LOCKS_REQUIRED(this);

  // Of std, because ThreadSanitizer does not see into an Abseil that was built without it.
  std::mutex mu_;
  std::condition_variable wake_;
  bool woken_ = false;
  std::atomic<uint32_t> requests_ = 0;
  std::atomic<uint32_t> entries_ = 0;
};

// What to do after having found nothing for a time.
struct IdleStep {
  enum class Kind { kPause, kYield, kWait };
  Kind kind = Kind::kPause;
  absl::Duration wait;  // with kWait
};

// Spin, then let others run, then wait: half as long again as it has been idle, up to `max_wait`.
IdleStep NextIdleStep(absl::Duration idle_for, absl::Duration max_wait);

// Runs a sweep over and over on a thread of its own: without a break while there is work, seldom
// when there is none. The destructor ends the thread.
class Poller {
 public:
  enum class Found {
    kNobody,   // nothing to watch at all: wait until woken
    kNothing,  // nothing has changed
    kWork,
    kEvents,  // as kWork, and there is something to deliver
  };
  // `sweep` is called with `mutex` held and must GiveWay() from time to time, `deliver` is called
  // without it. All must outlive the poller.
  Poller(PolledMutex* mutex, absl::Duration max_wait, std::function<Found()> sweep,
         std::function<void()> deliver);
  ~Poller();
  Poller(const Poller&) = delete;
  Poller& operator=(const Poller&) = delete;

 private:
  void Run();
  // Returns whether someone woke the poller.
  bool Rest(Found found, absl::Duration idle_for) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  PolledMutex* const mutex_;
  const absl::Duration max_wait_;
  const std::function<Found()> sweep_;
  const std::function<void()> deliver_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_POLLER_H_
