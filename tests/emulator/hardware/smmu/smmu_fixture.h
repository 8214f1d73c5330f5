// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_EMULATOR_HARDWARE_SMMU_SMMU_FIXTURE_H_
#define BERTH_TESTS_EMULATOR_HARDWARE_SMMU_SMMU_FIXTURE_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <span>

#include "lib/emulator/hardware/smmu/smmu.h"
#include "lib/iommufd/uapi/smmuv3.h"
#include "tests/emulator/hardware/smmu/guest_memory.h"

namespace berth::emulator::testing {

// An SMMU with one guest and one device in front of it.
class SmmuTest : public ::testing::Test {
 protected:
  explicit SmmuTest(TableUpdates updates = TableUpdates::kNone) : smmu_(48, updates) {}

  static constexpr uint32_t kSid = 0x100;
  static constexpr uint16_t kVmid = 7;
  static constexpr uint16_t kAsid = 5;
  // Table indices differ at each level.
  static constexpr uint64_t kVa = 0x123456789000;

  enum class WithAts { kNo, kYes };
  // Stage 1 of `sid` is the context descriptor at `cd`.
  void Attach(uint32_t sid, uint16_t vmid, uint64_t cd, WithAts with_ats = WithAts::kYes) {
    StreamEntry entry;
    entry.config = StreamEntry::Config::kNested;
    entry.stage2 = memory_.stage2();
    entry.vmid = vmid;
    entry.guest_ste =
        cd | uapi::kSte0Valid.Put(1) | uapi::kSte0Config.Put(uapi::kSteConfigS1Translate);
    entry.ats = with_ats == WithAts::kYes;
    smmu_.SetStream(sid, std::move(entry));
  }
  // The device, with `context`.
  void AttachDevice(const Context& context) {
    WriteContext(&memory_, cd_, context);
    Attach(kSid, kVmid, cd_);
  }

  // A DMA read of the dword at `address`.
  DmaResult Read(uint64_t address, uint64_t* value, uint32_t sid = kSid,
                 Translating translating = Translating::kBySmmu) {
    return smmu_.Read(sid, address, std::as_writable_bytes(std::span<uint64_t, 1>(value, 1)),
                      translating);
  }
  // nullopt: it failed.
  std::optional<uint64_t> ReadDword(uint64_t address, uint32_t sid = kSid,
                                    Translating translating = Translating::kBySmmu) {
    uint64_t value = 0;
    if (Read(address, &value, sid, translating).status != DmaResult::Status::kOk) {
      return std::nullopt;
    }
    return value;
  }
  DmaResult WriteDword(uint64_t address, uint64_t value, uint32_t sid = kSid,
                       Translating translating = Translating::kBySmmu) {
    return smmu_.Write(sid, address, std::as_bytes(std::span<uint64_t, 1>(&value, 1)), translating);
  }

  Smmu smmu_;
  GuestMemory memory_;
  uint64_t cd_ = memory_.Allocate();
};

}  // namespace berth::emulator::testing

#endif  // BERTH_TESTS_EMULATOR_HARDWARE_SMMU_SMMU_FIXTURE_H_
