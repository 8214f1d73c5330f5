// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HARDWARE_PHYSICAL_MEMORY_H_
#define BERTH_LIB_EMULATOR_HARDWARE_PHYSICAL_MEMORY_H_

#include <cstddef>
#include <cstdint>

#include "lib/emulator/hardware/queue_memory.h"

namespace berth::emulator {

// What the hardware reads command queues from. Thread-safe.
class PhysicalMemory {
 public:
  virtual ~PhysicalMemory() = default;

  // The `size` bytes at a physical address, for as long as the result lives. Where there is nothing
  // every fetch fails. Called with locks of the model held.
  virtual QueueMemory Open(uint64_t address, size_t size) = 0;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_PHYSICAL_MEMORY_H_
