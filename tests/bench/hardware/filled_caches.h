// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_BENCH_HARDWARE_FILLED_CACHES_H_
#define BERTH_TESTS_BENCH_HARDWARE_FILLED_CACHES_H_

#include <array>
#include <cstdint>
#include <cstdlib>
#include <utility>
#include <vector>

#include "lib/emulator/hardware/smmu/smmu.h"
#include "lib/iommufd/uapi/smmuv3.h"
#include "tests/emulator/hardware/smmu/guest_memory.h"

namespace berth::bench {

// An SMMU with one device for each VMID from 1 on, each of which has read so many pages that the
// IOTLB holds translations of its VMID.
class FilledCaches {
 public:
  // Addresses of the pages that each device has read.
  static constexpr uint64_t kFirst = 0x10000000;
  static constexpr uint64_t kPages = 256;
  static constexpr uint64_t kEnd = kFirst + kPages * 4096;

  explicit FilledCaches(int vmids) {
    for (int vmid = 1; vmid <= vmids; ++vmid) Fill(static_cast<uint16_t>(vmid));
  }

  [[nodiscard]] emulator::Smmu* smmu() { return &smmu_; }

  // Translations of `vmid` that are still remembered: pages that its device reads although the
  // guest's tables do not have them any more. To be asked once, at the end.
  uint64_t CountCached(uint16_t vmid) {
    uint64_t cached = 0;
    for (uint64_t i = 0; i < kPages; ++i) tables_.at(vmid - 1).Unmap(kFirst + i * 4096);
    for (uint64_t i = 0; i < kPages; ++i) cached += CanRead(vmid, kFirst + i * 4096) ? 1 : 0;
    return cached;
  }

 private:
  void Fill(uint16_t vmid) {
    using emulator::testing::Context;
    emulator::testing::Tables& tables = tables_.emplace_back(&memory_);
    const uint64_t page = memory_.AllocatePage(vmid);
    const uint64_t cd = memory_.Allocate();
    WriteContext(&memory_, cd, Context{.asid = 9, .low = &tables});
    emulator::StreamEntry entry;
    entry.config = emulator::StreamEntry::Config::kNested;
    entry.stage2 = memory_.stage2();
    entry.vmid = vmid;
    entry.guest_ste =
        cd | uapi::kSte0Valid.Put(1) | uapi::kSte0Config.Put(uapi::kSteConfigS1Translate);
    smmu_.SetStream(vmid, std::move(entry));
    for (uint64_t i = 0; i < kPages; ++i) {
      const uint64_t address = kFirst + i * 4096;
      tables.Map(address, page);
      if (!CanRead(vmid, address)) std::abort();
    }
  }
  bool CanRead(uint32_t sid, uint64_t address) {
    std::array<std::byte, 8> bytes;
    const auto result = smmu_.Read(sid, address, bytes, emulator::Translating::kBySmmu);
    return result.status == emulator::DmaResult::Status::kOk;
  }

  emulator::testing::GuestMemory memory_{64 << 20};
  std::vector<emulator::testing::Tables> tables_;  // by VMID, from 1
  emulator::Smmu smmu_{48};
};

}  // namespace berth::bench

#endif  // BERTH_TESTS_BENCH_HARDWARE_FILLED_CACHES_H_
