// SPDX-License-Identifier: Apache-2.0
//
// Every bit of every command that HWPT_INVALIDATE takes, against the fields of Arm IHI 0070, 4.3 to
// 4.5, and what Linux leaves to a guest (arm-smmu-v3-iommufd.c, arm_vsmmu_convert_user_cmd()).
#include <gtest/gtest.h>

#include <algorithm>

#include "lib/iommufd/uapi/smmuv3.h"
#include "tests/emulator/emulator_fixture.h"

namespace berth::emulator {
namespace {

constexpr uint64_t kVsid = 0x15;

constexpr uint64_t Bits(int high, int low) {
  return (high == 63 ? ~uint64_t{0} : (uint64_t{1} << (high + 1)) - 1) &
         ~((uint64_t{1} << low) - 1);
}

struct Case {
  const char* name;
  uint64_t command[2];  // that is accepted
  uint64_t free[2];     // bits that may be set beside those
};

constexpr uint64_t kVmid = Bits(47, 32);
constexpr uint64_t kAsid = Bits(63, 48);
constexpr uint64_t kRange0 = Bits(16, 12) | Bits(24, 20);  // NUM, SCALE
constexpr uint64_t kRange1 = Bits(9, 8) | Bits(11, 10);    // TTL, TG
constexpr uint64_t kAddress = Bits(63, 12);
constexpr uint64_t kOneRange = 1 << 12;  // NUM
constexpr uint64_t kTg4K = 1 << 10;
constexpr uint64_t kSid = kVsid << 32;

constexpr Case kCases[] = {
    {"TLBI_NSNH_ALL", {0x30, 0}, {0, 0}},
    {"TLBI_NH_ALL", {0x10, 0}, {kVmid, 0}},
    {"TLBI_NH_ASID", {0x11, 0}, {kVmid | kAsid, 0}},
    {"TLBI_NH_VA",
     {0x12 | kOneRange, kTg4K},
     {kVmid | kAsid | kRange0, Bits(0, 0) | kRange1 | kAddress}},
    {"TLBI_NH_VAA", {0x13 | kOneRange, kTg4K}, {kVmid | kRange0, Bits(0, 0) | kRange1 | kAddress}},
    // The StreamID is looked up; Global, SSV and SubstreamID need substreams, which no unit here
    // has.
    {"ATC_INV", {0x40 | kSid, 0}, {kSid, Bits(5, 0) | kAddress}},
    {"CFGI_CD", {0x05 | kSid, 0}, {kSid, Bits(0, 0)}},
    {"CFGI_CD_ALL", {0x06 | kSid, 0}, {kSid, 0}},
};

class InvalidateTest : public EmulatorTest {
 protected:
  void SetUp() override {
    EmulatorTest::SetUp();
    guest_ = MakeGuest("vfio0");
    uapi::IommuVdeviceAlloc cmd = {};
    cmd.viommu_id = guest_.viommu;
    cmd.dev_id = guest_.device;
    cmd.virt_id = kVsid;
    ASSERT_EQ(Call(guest_.context, uapi::kIommuVdeviceAlloc, &cmd), 0);
  }
  int Invalidate(uint64_t dword0, uint64_t dword1) {
    const uint64_t command[2] = {dword0, dword1};
    uapi::IommuHwptInvalidate cmd = {};
    cmd.hwpt_id = guest_.viommu;
    cmd.data_uptr = reinterpret_cast<uint64_t>(command);
    cmd.data_type = uapi::kViommuInvalidateArmSmmuv3;
    cmd.entry_len = sizeof(command);
    cmd.entry_num = 1;
    const int rc = Call(guest_.context, uapi::kIommuHwptInvalidate, &cmd);
    EXPECT_EQ(cmd.entry_num, rc == 0 ? 1U : 0U);
    return rc;
  }

  Guest guest_;
};

TEST_F(InvalidateTest, EachBitIsAFieldOrRefused) {
  for (const Case& c : kCases) {
    EXPECT_EQ(Invalidate(c.command[0], c.command[1]), 0) << c.name;
    for (int bit = 8; bit < 128; ++bit) {
      const size_t word = bit / 64;
      const uint64_t mask = uint64_t{1} << (bit % 64);
      uint64_t command[2] = {c.command[0], c.command[1]};
      command[word] |= mask;
      const int expected =
          (c.free[word] & mask) != 0 || command[word] == c.command[word] ? 0 : -EIO;
      EXPECT_EQ(Invalidate(command[0], command[1]), expected) << c.name << " bit " << bit;
    }
  }
}

TEST_F(InvalidateTest, OnlyEightCommandsAreAGuests) {
  for (uint64_t opcode = 0; opcode < 256; ++opcode) {
    const bool known = std::ranges::any_of(
        kCases, [opcode](const Case& c) { return (c.command[0] & 0xff) == opcode; });
    if (known) continue;
    EXPECT_EQ(Invalidate(opcode | kSid, 0), -EIO) << opcode;
  }
}

TEST_F(InvalidateTest, RangesNeedAGranuleAndAGranuleARange) {
  constexpr uint64_t kVa = 0x12;
  constexpr uint64_t kTg16K = 2 << 10;
  EXPECT_EQ(Invalidate(kVa, 0), 0);
  EXPECT_EQ(Invalidate(kVa | kOneRange, 0), -EIO);
  EXPECT_EQ(Invalidate(kVa, 1 << 8), -EIO) << "TTL without TG";
  EXPECT_EQ(Invalidate(kVa, kTg4K), -EIO) << "TG alone";
  EXPECT_EQ(Invalidate(kVa, kTg4K | 1 << 8), 0);
  EXPECT_EQ(Invalidate(kVa, kTg16K | 1 << 8), -EIO) << "no level 1 leaf with 16 KiB";
  EXPECT_EQ(Invalidate(kVa, kTg16K | 2 << 8), 0);
}

TEST_F(InvalidateTest, StreamsAndSizesAreChecked) {
  EXPECT_EQ(Invalidate(0x40 | kSid, 52), 0);
  EXPECT_EQ(Invalidate(0x40 | kSid, 53), -EIO);
  EXPECT_EQ(Invalidate(0x40 | (kVsid + 1) << 32, 0), -EIO);
  EXPECT_EQ(Invalidate(0x06 | (kVsid + 1) << 32, 0), -EIO);
}

}  // namespace
}  // namespace berth::emulator
