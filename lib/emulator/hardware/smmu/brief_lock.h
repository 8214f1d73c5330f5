// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HARDWARE_SMMU_BRIEF_LOCK_H_
#define BERTH_LIB_EMULATOR_HARDWARE_SMMU_BRIEF_LOCK_H_

#include <sched.h>

#include <atomic>

#include "absl/base/thread_annotations.h"

namespace berth::emulator {

// For what is held some nanoseconds, some ten million times a second. A waiter lets others run
// after a moment, in case the holder has no core.
class ABSL_LOCKABLE BriefLock {
 public:
  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() {
    while (held_.exchange(true, std::memory_order_acquire)) {
      for (int i = 0; held_.load(std::memory_order_relaxed); ++i) {
        if (i >= kSpins) ::sched_yield();
      }
    }
  }
  void Unlock() ABSL_UNLOCK_FUNCTION() { held_.store(false, std::memory_order_release); }

 private:
  static constexpr int kSpins = 100;
  std::atomic<bool> held_ = false;
};

class ABSL_SCOPED_LOCKABLE BriefLockHolder {
 public:
  explicit BriefLockHolder(BriefLock* lock) ABSL_EXCLUSIVE_LOCK_FUNCTION(lock) : lock_(lock) {
    lock_->Lock();
  }
  ~BriefLockHolder() ABSL_UNLOCK_FUNCTION() { lock_->Unlock(); }
  BriefLockHolder(const BriefLockHolder&) = delete;
  BriefLockHolder& operator=(const BriefLockHolder&) = delete;

 private:
  BriefLock* const lock_;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_SMMU_BRIEF_LOCK_H_
