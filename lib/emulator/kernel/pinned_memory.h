// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_KERNEL_PINNED_MEMORY_H_
#define BERTH_LIB_EMULATOR_KERNEL_PINNED_MEMORY_H_

#include <cstdint>
#include <map>
#include <mutex>

#include "lib/emulator/hardware/physical_memory.h"

namespace berth::emulator {

// The physical addresses of the memory that an emulated kernel has pinned for its hardware: any
// will do as long as the hardware finds the same memory there. Thread-safe.
class PinnedMemory : public PhysicalMemory {
 public:
  // Returns where `memory` is from now on, aligned to its size, which is a power of two. An address
  // is not used again for long.
  uint64_t Add(QueueMemory memory);
  // Of what Add() returned. Who has opened it keeps it.
  void Remove(uint64_t address);

  QueueMemory Open(uint64_t address, size_t size) override;

 private:
  std::mutex mu_;  // of what follows
  std::map<uint64_t, QueueMemory> memory_;
  uint64_t next_ = uint64_t{1} << 32;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_KERNEL_PINNED_MEMORY_H_
