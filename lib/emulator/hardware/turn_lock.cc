// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/turn_lock.h"

#include <sched.h>

namespace berth::emulator {

void TurnLock::Lock() {
  waiting_.fetch_add(1, std::memory_order_relaxed);
  while (held_.exchange(true, std::memory_order_acquire)) ::sched_yield();
  waiting_.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace berth::emulator
