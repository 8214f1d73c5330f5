// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/smmu/in_flight.h"

#include <sched.h>

namespace berth::emulator {

// Sequentially consistent on both sides: either Drain() sees the slot that the transaction took, or
// the transaction sees that Drain() was called, and with it what was invalidated before. (A fence
// in Drain() would do; ThreadSanitizer knows of none.)
std::atomic<uint64_t>& InFlight::Begin() {
  while (true) {
    for (std::atomic<uint64_t>& slot : slots_) {
      uint64_t count = slot.load(std::memory_order_relaxed);
      if (count % 2 != 0 || !slot.compare_exchange_strong(count, count + 1)) continue;
      static_cast<void>(drains_.load());
      return slot;
    }
    ::sched_yield();
  }
}

void InFlight::Drain() {
  drains_.fetch_add(1);
  for (const std::atomic<uint64_t>& slot : slots_) {
    const uint64_t count = slot.load();
    if (count % 2 == 0) continue;
    while (slot.load(std::memory_order_acquire) == count) ::sched_yield();
  }
}

}  // namespace berth::emulator
