// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HARDWARE_QUEUE_WATCH_H_
#define BERTH_LIB_EMULATOR_HARDWARE_QUEUE_WATCH_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "lib/emulator/hardware/registers.h"

namespace berth::emulator {

// The registers of a queue as they were when a look at it found nothing to do: as long as they are
// still so there is nothing to do, which is seen without a lock and without touching the queue.
// Most queues are idle most of the time, and a machine has many. Thread-safe.
class QueueWatch {
 public:
  static constexpr std::array kRegisters = {Register::kCons,   Register::kProd,
                                            Register::kConfig, Register::kStatus,
                                            Register::kGerror, Register::kGerrorn};
  using Values = std::array<uint32_t, kRegisters.size()>;

  // What a look has seen that found nothing to do.
  void SetQuiet(const Values& seen) {
    for (size_t i = 0; i < seen.size(); ++i) seen_[i].store(seen[i], std::memory_order_relaxed);
    quiet_.store(true, std::memory_order_release);
  }
  // There is something to do, or it is not known.
  void SetBusy() { quiet_.store(false, std::memory_order_relaxed); }

  [[nodiscard]] bool StillQuiet(const LvcmdqRegisters& registers) const {
    if (!quiet_.load(std::memory_order_acquire)) return false;
    uint32_t changed = 0;
    for (size_t i = 0; i < seen_.size(); ++i) {
      changed |= registers.Load(kRegisters[i]) ^ seen_[i].load(std::memory_order_relaxed);
    }
    return changed == 0;
  }

 private:
  std::array<std::atomic<uint32_t>, kRegisters.size()> seen_ = {};
  std::atomic<bool> quiet_ = false;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_QUEUE_WATCH_H_
