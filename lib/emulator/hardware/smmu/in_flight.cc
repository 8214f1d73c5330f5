// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/smmu/in_flight.h"

#include <sched.h>

namespace berth::emulator {

// Sequentially consistent on both sides: either Drain() sees that the transaction has begun, or the
// transaction sees what was invalidated before Drain().
std::atomic<uint64_t>& InFlight::Begin() {
  while (true) {
    for (std::atomic<uint64_t>& slot : slots_) {
      uint64_t count = slot.load(std::memory_order_relaxed);
      if (count % 2 == 0 && slot.compare_exchange_strong(count, count + 1)) return slot;
    }
    ::sched_yield();
  }
}

void InFlight::Drain() const {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  for (const std::atomic<uint64_t>& slot : slots_) {
    const uint64_t count = slot.load();
    if (count % 2 == 0) continue;
    while (slot.load(std::memory_order_acquire) == count) ::sched_yield();
  }
}

}  // namespace berth::emulator
