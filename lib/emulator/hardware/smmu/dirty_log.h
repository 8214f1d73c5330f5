// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HARDWARE_SMMU_DIRTY_LOG_H_
#define BERTH_LIB_EMULATOR_HARDWARE_SMMU_DIRTY_LOG_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "lib/emulator/hardware/smmu/stage2.h"

namespace berth::emulator {

// Which descriptors of one translation table are dirty, as hardware with HTTU keeps them
// (IDR0.HTTU, CD.HD): a write by a device makes one dirty, a page or a block at a time, and only
// software makes it clean again. Addresses are of bytes; ranges include their last. Thread-safe.
//
// Bounded: beyond `most_pieces` stretches of dirty addresses more is called dirty than is.
class DirtyLog {
 public:
  explicit DirtyLog(uint8_t page_log2, size_t most_pieces = size_t{1} << 18)
      : page_log2_(page_log2), most_pieces_(most_pieces) {}

  // New descriptors for [first, last], which meets no other stretch: memory from `offset` on,
  // physically contiguous in pieces of `contiguous` bytes (a power of two) that are aligned to
  // that. Those that may be written begin dirty (Linux io-pgtable-arm.c, arm_lpae_prot_to_pte():
  // DBM is set and AP[2] clear).
  void Map(uint64_t first, uint64_t last, uint64_t offset, uint64_t contiguous, Rights access);
  // The stretch that begins at `first`, if there is one.
  void Unmap(uint64_t first);

  // A device is about to write there.
  void Write(uint64_t address, size_t size);

  enum class Then : uint8_t { kKeep, kClean };
  // Calls visit(first, last) for what is dirty in [first, last], ascending; makes it clean, too: a
  // block that lies there in part as a whole. A write that had begun before may still be going on.
  void Read(uint64_t first, uint64_t last, Then then,
            const std::function<void(uint64_t, uint64_t)>& visit);

 private:
  struct Stretch {
    uint64_t last = 0;
    uint64_t offset = 0;
    uint64_t contiguous = 0;
    bool writable = false;
  };
  struct Range {
    uint64_t first = 0;
    uint64_t last = 0;
  };

  // The descriptor that translates `address`, in the stretch that begins at `first`.
  [[nodiscard]] Range DescriptorAt(uint64_t first, const Stretch& stretch, uint64_t address) const;
  void Add(Range range) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Leaves what would make more than `most` pieces.
  void Subtract(Range range, size_t most) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::map<uint64_t, Stretch>::const_iterator Find(uint64_t address) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const uint8_t page_log2_;
  const size_t most_pieces_;
  absl::Mutex mu_;
  std::map<uint64_t, Stretch> stretches_ ABSL_GUARDED_BY(mu_);  // by first address
  std::map<uint64_t, uint64_t> dirty_ ABSL_GUARDED_BY(mu_);     // first -> last; they do not touch
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_SMMU_DIRTY_LOG_H_
