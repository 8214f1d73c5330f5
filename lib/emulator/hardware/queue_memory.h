// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HARDWARE_QUEUE_MEMORY_H_
#define BERTH_LIB_EMULATOR_HARDWARE_QUEUE_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "lib/base/unique_fd.h"
#include "lib/emulator/hardware/command.h"

namespace berth::emulator {

// The guest memory that a command queue lives in, as the hardware reads it: only reads, 16 bytes at
// a time. Cheap to copy; copies share the memory. Const methods are thread-safe.
class QueueMemory {
 public:
  // No memory: every fetch fails.
  QueueMemory() = default;

  // Memory that cannot go away while `owner` lives (a mapping of a memfd that is sealed against
  // shrinking). `data` must be aligned to 16 bytes. Read in place.
  static QueueMemory FromMapping(std::shared_ptr<const void> owner, const std::byte* data,
                                 size_t size);

  // Memory of a file that might shrink under us: read with pread(2), so that a hole left by
  // ftruncate(2) is a failed fetch (CONS.ERR 2) and not SIGBUS. `offset` in bytes.
  static QueueMemory FromFile(std::shared_ptr<const UniqueFd> fd, uint64_t offset, size_t size);

  // Bytes.
  [[nodiscard]] size_t size() const { return size_; }

  // The memory itself where it can be read in place, else null.
  [[nodiscard]] const std::byte* data() const { return data_; }

  // Reads `count` commands from entry `index` on. Returns how many whole commands could be read:
  // fewer than `count` when the memory ends or has gone.
  size_t Fetch(size_t index, size_t count, RawCommand* out) const;

 private:
  std::shared_ptr<const void> owner_;
  const std::byte* data_ = nullptr;
  int fd_ = -1;
  uint64_t offset_ = 0;
  size_t size_ = 0;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_QUEUE_MEMORY_H_
