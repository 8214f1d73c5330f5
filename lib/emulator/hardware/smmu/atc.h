// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HARDWARE_SMMU_ATC_H_
#define BERTH_LIB_EMULATOR_HARDWARE_SMMU_ATC_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "lib/emulator/hardware/smmu/brief_lock.h"
#include "lib/emulator/hardware/smmu/memory.h"
#include "lib/emulator/hardware/smmu/stage2.h"

namespace berth::emulator {

// The translations that one device was told by ATS and remembers (PCI Express Base Specification,
// 10). Requests without PASID only. Bounded: the oldest goes. Thread-safe.
class Atc {
 public:
  struct Entry {
    uint64_t first = 0;
    uint64_t last = 0;
    std::weak_ptr<const Memory> memory;
    uint64_t offset = 0;  // of `first`
    Rights access;
  };

  // As Iotlb's: what was asked for before an invalidation is not remembered after it.
  using Epoch = uint64_t;
  Epoch BeginRequest();
  // Takes the place of what it overlaps.
  void Insert(Epoch epoch, Entry entry);

  std::optional<Entry> Find(uint64_t address);

  // Every entry that translates any byte of [first, last].
  void Invalidate(uint64_t first, uint64_t last);

 private:
  static constexpr size_t kEntries = 64;

  void Erase(uint64_t first, uint64_t last) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  BriefLock lock_;
  Epoch epoch_ ABSL_GUARDED_BY(lock_) = 0;
  size_t used_ ABSL_GUARDED_BY(lock_) = 0;
  size_t oldest_ ABSL_GUARDED_BY(lock_) = 0;
  std::array<Entry, kEntries> entries_ ABSL_GUARDED_BY(lock_);  // the first `used_`
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_SMMU_ATC_H_
