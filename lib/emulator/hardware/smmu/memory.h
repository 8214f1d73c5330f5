// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HARDWARE_SMMU_MEMORY_H_
#define BERTH_LIB_EMULATOR_HARDWARE_SMMU_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "lib/base/unique_fd.h"

namespace berth::emulator {

// Guest memory as the bus reaches it. Thread-safe.
class Memory {
 public:
  virtual ~Memory() = default;

  // All of it, or false: the bus aborts. After false some bytes may have been transferred. An
  // aligned dword is read or written as a whole only if no one else writes it meanwhile.
  virtual bool Read(uint64_t offset, std::span<std::byte> out) const = 0;
  virtual bool Write(uint64_t offset, std::span<const std::byte> bytes) const = 0;

  // Changes an aligned dword, if it still has the value that was read.
  enum class Exchange : uint8_t {
    kDone,
    kLost,   // it has another value
    kAbort,  // the bus aborts
  };
  virtual Exchange CompareExchange(uint64_t offset, uint64_t expected, uint64_t desired) const = 0;
};

// The memory of a file: a memfd, or /proc/PID/mem. Its owner might cut the file at any time, so
// nothing is mapped that is not sealed against that: what is not there any more is false, never
// SIGBUS. CompareExchange() is atomic for whoever maps a file that is sealed; of another it reads,
// compares and writes.
class FileMemory : public Memory {
 public:
  bool Read(uint64_t offset, std::span<std::byte> out) const override;
  bool Write(uint64_t offset, std::span<const std::byte> bytes) const override;
  Exchange CompareExchange(uint64_t offset, uint64_t expected, uint64_t desired) const override;

  UniqueFd file;  // set before the memory is shared
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_SMMU_MEMORY_H_
