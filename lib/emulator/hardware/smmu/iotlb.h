// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HARDWARE_SMMU_IOTLB_H_
#define BERTH_LIB_EMULATOR_HARDWARE_SMMU_IOTLB_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "lib/emulator/hardware/smmu/brief_lock.h"
#include "lib/emulator/hardware/smmu/memory.h"
#include "lib/emulator/hardware/smmu/stage2.h"
#include "lib/emulator/hardware/smmu/tlb_array.h"
#include "lib/emulator/hardware/smmu/walk.h"

namespace berth::emulator {

// A whole translation, both stages. It does not keep its memory: an entry that outlives it leads
// nowhere.
struct CachedLeaf {
  std::weak_ptr<const Memory> memory;
  uint64_t offset = 0;  // of the entry's first byte
  uint64_t ipa = 0;     // of the entry's first byte
  Rights stage1;
  Rights stage2;
  bool clean = false;  // a write is to change the descriptor first (Leaf::clean)
};

// The translations that an SMMU remembers, and the tables on the way to them. Bounded. Thread-safe.
//
// A walk may have read a table before the guest changed it and end after the invalidation for that
// change: it tells what it knew when it began, and what has been overtaken is not remembered.
class Iotlb {
 public:
  Iotlb() = default;
  Iotlb(const Iotlb&) = delete;
  Iotlb& operator=(const Iotlb&) = delete;

  // What the walk is to hand to the inserts, taken before its first fetch.
  using Epoch = uint64_t;
  Epoch BeginWalk(uint16_t vmid);

  struct LeafHit {
    CachedLeaf leaf;
    uint64_t within = 0;  // of the entry, where the address lies
    uint64_t size = 0;    // bytes of the entry
  };
  std::optional<LeafHit> FindLeaf(uint16_t vmid, uint16_t asid, uint64_t address);
  void InsertLeaf(Epoch epoch, const TlbTag& tag, CachedLeaf leaf);

  // The lowest table on the way to `address`.
  std::optional<Table> FindTable(uint16_t vmid, uint16_t asid, uint64_t address);
  void InsertTable(Epoch epoch, const TlbTag& tag, const Table& table);

  enum class Scope : uint8_t {
    kLeaves,  // translations only
    kAll,     // the tables on the way to them, too, whatever range.level says
  };
  void InvalidateRange(const TlbRange& range, Scope scope);
  void InvalidateAsid(uint16_t vmid, uint16_t asid);
  void InvalidateVmid(uint16_t vmid);
  void InvalidateAll();

 private:
  // 512 translations, 128 tables.
  struct Store {
    TlbArray<CachedLeaf, 128> leaves;
    TlbArray<Table, 32> tables;
  };
  // A part of the VMIDs, so that VMs seldom wait for one another.
  struct alignas(64) Bank {
    BriefLock lock;
    Epoch epoch ABSL_GUARDED_BY(lock) = 0;  // counts invalidations
    std::unique_ptr<Store> store ABSL_GUARDED_BY(lock);
  };
  static constexpr size_t kBanks = 64;

  Bank& BankOf(uint16_t vmid) { return banks_[vmid % kBanks]; }

  std::array<Bank, kBanks> banks_;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_SMMU_IOTLB_H_
