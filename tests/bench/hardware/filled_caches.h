// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_BENCH_HARDWARE_FILLED_CACHES_H_
#define BERTH_TESTS_BENCH_HARDWARE_FILLED_CACHES_H_

#include <array>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "lib/emulator/hardware/smmu/smmu.h"
#include "lib/iommufd/uapi/smmuv3.h"
#include "tests/emulator/hardware/smmu/guest_memory.h"

namespace berth::bench {

// An SMMU with one device for each VMID from 1 on, each of which has read so many pages that the
// IOTLB holds translations of its VMID.
class FilledCaches {
 public:
  explicit FilledCaches(int vmids) {
    for (int vmid = 1; vmid <= vmids; ++vmid) Fill(static_cast<uint16_t>(vmid));
  }

  [[nodiscard]] emulator::Smmu* smmu() { return &smmu_; }

 private:
  static constexpr int kPages = 256;
  static constexpr uint64_t kFirst = 0x10000000;

  void Fill(uint16_t vmid) {
    using emulator::testing::Context;
    emulator::testing::Tables tables(&memory_);
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
      std::array<std::byte, 8> bytes;
      const auto result = smmu_.Read(vmid, address, bytes, emulator::Translating::kBySmmu);
      if (result.status != emulator::DmaResult::Status::kOk) std::abort();
    }
  }

  emulator::testing::GuestMemory memory_{64 << 20};
  emulator::Smmu smmu_{48};
};

}  // namespace berth::bench

#endif  // BERTH_TESTS_BENCH_HARDWARE_FILLED_CACHES_H_
