// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HARDWARE_SMMU_TLB_ARRAY_H_
#define BERTH_LIB_EMULATOR_HARDWARE_SMMU_TLB_ARRAY_H_

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace berth::emulator {

// What a cached translation is known by.
struct TlbTag {
  uint64_t address = 0;  // first byte, aligned to the size
  uint16_t vmid = 0;
  uint16_t asid = 0;
  uint8_t size_log2 = 0;     // bytes; 0 = no entry
  uint8_t granule_log2 = 0;  // of the tables that it came from
  uint8_t level = 0;         // of the descriptor that it came from
  bool global = false;       // of every ASID
};
static_assert(sizeof(TlbTag) == 16);

// What an invalidation by address takes away: entries that translate any byte of [first, last] and
// match all that is given.
struct TlbRange {
  uint16_t vmid = 0;
  uint16_t asid = 0;
  bool any_asid = false;
  uint8_t granule_log2 = 0;  // 0 = any
  uint8_t level = 0;         // 0 = any
  uint64_t first = 0;
  uint64_t last = 0;
};

// A set-associative array of cached translations of different sizes: `kSets` sets (a power of two)
// of four. A full set loses its oldest entry. What looks by address costs a probe for each size
// present and page; what does not match anything by ASID costs nothing. Not thread-safe.
template <typename Payload, size_t kSets>
class TlbArray {
 public:
  struct Hit {
    const TlbTag* tag = nullptr;
    const Payload* payload = nullptr;
    explicit operator bool() const { return tag != nullptr; }
  };
  // The smallest entry that translates `address`.
  Hit Find(uint16_t vmid, uint16_t asid, uint64_t address) const {
    for (uint64_t sizes = sizes_; sizes != 0; sizes &= sizes - 1) {
      const int size = std::countr_zero(sizes);
      const size_t set = SetOf(vmid, address, size);
      for (size_t i = set; i < set + kWays; ++i) {
        const TlbTag& tag = tags_[i];
        if (tag.size_log2 == size && tag.vmid == vmid && (tag.global || tag.asid == asid) &&
            (tag.address ^ address) >> size == 0) {
          return {&tag, &payloads_[i]};
        }
      }
    }
    return {};
  }

  void Insert(const TlbTag& tag, Payload payload) {
    const size_t set = SetOf(tag.vmid, tag.address, tag.size_log2);
    size_t slot = set;
    while (slot < set + kWays && tags_[slot].size_log2 != 0 && !SameKey(tags_[slot], tag)) ++slot;
    if (slot == set + kWays) slot = set + victims_[set / kWays]++ % kWays;
    Erase(slot);
    tags_[slot] = tag;
    payloads_[slot] = std::move(payload);
    Count(tag, 1);
  }

  void EraseRange(const TlbRange& range) {
    if (!range.any_asid && by_asid_[Bucket(range.vmid, range.asid)] == 0 &&
        by_asid_[GlobalBucket(range.vmid)] == 0) {
      return;
    }
    uint64_t probes = 0;
    for (uint64_t sizes = sizes_; sizes != 0; sizes &= sizes - 1) {
      const int size = std::countr_zero(sizes);
      probes += (range.last >> size) - (range.first >> size) + 1;
      if (probes > kMostProbes) {
        EraseIf([&](const TlbTag& tag) { return Matches(range, tag); });
        return;
      }
    }
    for (uint64_t sizes = sizes_; sizes != 0; sizes &= sizes - 1) {
      const int size = std::countr_zero(sizes);
      for (uint64_t page = range.first >> size; page <= range.last >> size; ++page) {
        const size_t set = SetOf(range.vmid, page << size, size);
        for (size_t i = set; i < set + kWays; ++i) {
          if (tags_[i].size_log2 == size && Matches(range, tags_[i])) Erase(i);
        }
      }
    }
  }
  // Entries of every ASID stay.
  void EraseAsid(uint16_t vmid, uint16_t asid) {
    if (by_asid_[Bucket(vmid, asid)] == 0) return;
    EraseIf([&](const TlbTag& tag) { return tag.vmid == vmid && tag.asid == asid && !tag.global; });
  }
  void EraseVmid(uint16_t vmid) {
    EraseIf([&](const TlbTag& tag) { return tag.vmid == vmid; });
  }

 private:
  static constexpr size_t kWays = 4;
  static constexpr size_t kBuckets = 256;
  // More pages than this are looked for in the whole array instead.
  static constexpr uint64_t kMostProbes = kSets / 4;

  static size_t SetOf(uint16_t vmid, uint64_t address, int size) {
    const uint64_t key = ((address >> size) ^ static_cast<uint64_t>(size) << 48) + vmid;
    return (key * 0x9e3779b97f4a7c15U >> 32) % kSets * kWays;
  }
  static size_t Bucket(uint16_t vmid, uint16_t asid) { return (vmid * 31U + asid) % kBuckets; }
  static size_t GlobalBucket(uint16_t vmid) { return kBuckets + vmid % kBuckets; }
  static bool SameKey(const TlbTag& a, const TlbTag& b) {
    return a.address == b.address && a.vmid == b.vmid && a.size_log2 == b.size_log2 &&
           a.global == b.global && (a.global || a.asid == b.asid);
  }
  static bool Matches(const TlbRange& range, const TlbTag& tag) {
    const uint64_t last = tag.address | ((uint64_t{1} << tag.size_log2) - 1);
    return tag.vmid == range.vmid && tag.address <= range.last && range.first <= last &&
           (range.any_asid || tag.global || tag.asid == range.asid) &&
           (range.granule_log2 == 0 || tag.granule_log2 == range.granule_log2) &&
           (range.level == 0 || tag.level == range.level);
  }

  template <typename Predicate>
  void EraseIf(Predicate predicate) {
    if (sizes_ == 0) return;
    for (size_t i = 0; i < tags_.size(); ++i) {
      if (tags_[i].size_log2 != 0 && predicate(tags_[i])) Erase(i);
    }
  }
  void Erase(size_t slot) {
    TlbTag& tag = tags_[slot];
    if (tag.size_log2 == 0) return;
    Count(tag, -1);
    tag = {};
    payloads_[slot] = {};
  }
  void Count(const TlbTag& tag, int change) {
    by_asid_[tag.global ? GlobalBucket(tag.vmid) : Bucket(tag.vmid, tag.asid)] += change;
    by_size_[tag.size_log2] += change;
    const uint64_t bit = uint64_t{1} << tag.size_log2;
    sizes_ = by_size_[tag.size_log2] != 0 ? sizes_ | bit : sizes_ & ~bit;
  }

  uint64_t sizes_ = 0;  // bit n: there are entries of 1 << n bytes
  std::array<int, 64> by_size_ = {};
  std::array<int, 2 * kBuckets> by_asid_ = {};  // entries by hash of VMID and ASID; global ones
  alignas(64) std::array<TlbTag, kSets* kWays> tags_ = {};
  std::array<Payload, kSets* kWays> payloads_ = {};
  std::array<uint8_t, kSets> victims_ = {};
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_SMMU_TLB_ARRAY_H_
