// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HARDWARE_TURN_LOCK_H_
#define BERTH_LIB_EMULATOR_HARDWARE_TURN_LOCK_H_

#include <atomic>

#include "absl/base/thread_annotations.h"

namespace berth::emulator {

// A lock for what hardware threads take again and again, for at most some tens of microseconds, and
// others now and then: those wait by giving the core away, and are let in before any hardware
// thread is again. One atomic exchange when nobody else is there. Thread-safe.
class ABSL_LOCKABLE TurnLock {
 public:
  // For everyone but hardware threads.
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION();
  // For hardware threads, which do something else when it fails.
  bool TryLock() ABSL_EXCLUSIVE_TRYLOCK_FUNCTION(true) {
    return waiting_.load(std::memory_order_relaxed) == 0 &&
           !held_.exchange(true, std::memory_order_acquire);
  }
  void Unlock() ABSL_UNLOCK_FUNCTION() { held_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> held_ = false;
  std::atomic<int> waiting_ = 0;
};

class ABSL_SCOPED_LOCKABLE TurnLockHolder {
 public:
  explicit TurnLockHolder(TurnLock* lock) ABSL_EXCLUSIVE_LOCK_FUNCTION(lock) : lock_(lock) {
    lock_->Lock();
  }
  ~TurnLockHolder() ABSL_UNLOCK_FUNCTION() { lock_->Unlock(); }
  TurnLockHolder(const TurnLockHolder&) = delete;
  TurnLockHolder& operator=(const TurnLockHolder&) = delete;

 private:
  TurnLock* const lock_;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_TURN_LOCK_H_
