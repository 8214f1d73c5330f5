// SPDX-License-Identifier: Apache-2.0
//
// Every invalidation command and every field of it: what it takes away, and what it must not.
#include <functional>
#include <ostream>
#include <string>

#include "tests/emulator/hardware/smmu/smmu_fixture.h"

namespace berth::emulator::testing {
namespace {

enum class Expect { kStale, kFresh };

struct Case {
  std::string name;
  Command command;
  Expect expect;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }
std::string NameOf(const ::testing::TestParamInfo<Case>& info) { return info.param.name; }

constexpr uint16_t kOurVmid = 7;
constexpr uint16_t kOurAsid = 5;
constexpr uint64_t kOurVa = 0x123456789000;
constexpr uint32_t kOurSid = 0x100;

Command Va(uint64_t address, const std::function<void(Command&)>& change = nullptr) {
  Command command = {.opcode = Opcode::kTlbiNhVa, .vmid = kOurVmid, .asid = kOurAsid};
  command.address = address;
  command.pages = 1;
  if (change) change(command);
  return command;
}
Command Range(uint64_t address, uint64_t pages, uint8_t granule_log2 = 12, uint8_t ttl = 0) {
  return Va(address, [&](Command& c) {
    c.pages = pages;
    c.granule_log2 = granule_log2;
    c.ttl = ttl;
  });
}
Command Of(Opcode opcode, uint16_t vmid = 0, uint16_t asid = 0) {
  return {.opcode = opcode, .vmid = vmid, .asid = asid};
}
Command OfStream(Opcode opcode, uint32_t sid,
                 const std::function<void(Command&)>& change = nullptr) {
  Command command = {.opcode = opcode, .sid = sid};
  if (change) change(command);
  return command;
}

// A page is read, its descriptor is changed, a command is executed: which page is read now?
class InvalidationTest : public SmmuTest, public ::testing::WithParamInterface<Case> {
 protected:
  static_assert(kVmid == kOurVmid && kAsid == kOurAsid && kVa == kOurVa && kSid == kOurSid);

  void Check(Tables& tables, uint64_t address, int level, uint64_t bits = kPteNormal) {
    const uint64_t size = uint64_t{1} << tables.Shift(level);
    const uint64_t before = memory_.AllocatePage(1, size);
    const uint64_t after = memory_.AllocatePage(2, size);
    tables.Map(address, before, level, bits);
    AttachDevice({.asid = kAsid, .low = &tables});
    ASSERT_EQ(ReadDword(address & ~(size - 1)), 1U);
    tables.Map(address, after, level, bits);
    ASSERT_EQ(ReadDword(address & ~(size - 1)), 1U) << "nothing has been invalidated yet";
    smmu_.Invalidate(GetParam().command);
    EXPECT_EQ(smmu_.Sync(), ConsError::kNone);
    EXPECT_EQ(ReadDword(address & ~(size - 1)), GetParam().expect == Expect::kFresh ? 2U : 1U);
  }
};

using PageInvalidation = InvalidationTest;
TEST_P(PageInvalidation, FreshensWhatItNames) {
  Tables tables(&memory_);
  Check(tables, kVa, 3);
}

const Case kPageCases[] = {
    {"Va", Va(kOurVa), Expect::kFresh},
    {"VaWrongVmid", Va(kOurVa, [](Command& c) { c.vmid = 8; }), Expect::kStale},
    {"VaVmidOfTheSameBank", Va(kOurVa, [](Command& c) { c.vmid = 7 + 64; }), Expect::kStale},
    {"VaWrongAsid", Va(kOurVa, [](Command& c) { c.asid = 6; }), Expect::kStale},
    {"VaNextPage", Va(kOurVa + 0x1000), Expect::kStale},
    {"VaPreviousPage", Va(kOurVa - 0x1000), Expect::kStale},
    {"VaSameLowBits", Va(kOurVa & 0xffffffff), Expect::kStale},
    {"VaLeaf", Va(kOurVa, [](Command& c) { c.leaf = true; }), Expect::kFresh},
    {"VaTtl3", Range(kOurVa, 1, 12, 3), Expect::kFresh},
    {"VaTtl2", Range(kOurVa, 1, 12, 2), Expect::kStale},
    {"VaTtl1", Range(kOurVa, 1, 12, 1), Expect::kStale},
    {"VaGranule16K", Range(kOurVa & ~0x3fffULL, 1, 14, 3), Expect::kStale},
    {"VaGranule64K", Range(kOurVa & ~0xffffULL, 1, 16, 3), Expect::kStale},
    {"RangeFromBelow", Range(kOurVa - 0x4000, 5), Expect::kFresh},
    {"RangeEndsBelow", Range(kOurVa - 0x4000, 4), Expect::kStale},
    {"RangeFromThePage", Range(kOurVa, 32), Expect::kFresh},
    {"RangeFromAbove", Range(kOurVa + 0x1000, 32), Expect::kStale},
    {"RangeOfManyPages", Range(kOurVa - 0x1000000, 32 << 10), Expect::kFresh},
    {"RangeOfManyPagesBelow", Range(kOurVa - 0x8000000, 32 << 10), Expect::kStale},
    {"RangeOfEverything", Range(0, uint64_t{32} << 39), Expect::kFresh},
    {"RangeOfManyPagesWrongAsid",
     Va(0,
        [](Command& c) {
          c.asid = 6;
          c.pages = uint64_t{1} << 36;
        }),
     Expect::kStale},
    {"RangeOfManyPagesWrongVmid",
     Va(0,
        [](Command& c) {
          c.vmid = 71;
          c.pages = uint64_t{1} << 36;
        }),
     Expect::kStale},
    {"RangeTtl2", Range(kOurVa - 0x4000, 8, 12, 2), Expect::kStale},
    {"Asid", Of(Opcode::kTlbiNhAsid, 7, 5), Expect::kFresh},
    {"AsidWrongAsid", Of(Opcode::kTlbiNhAsid, 7, 6), Expect::kStale},
    {"AsidWrongVmid", Of(Opcode::kTlbiNhAsid, 71, 5), Expect::kStale},
    {"Vaa",
     Va(kOurVa,
        [](Command& c) {
          c.opcode = Opcode::kTlbiNhVaa;
          c.asid = 0;
        }),
     Expect::kFresh},
    {"VaaNextPage", Va(kOurVa + 0x1000, [](Command& c) { c.opcode = Opcode::kTlbiNhVaa; }),
     Expect::kStale},
    {"VaaWrongVmid",
     Va(kOurVa,
        [](Command& c) {
          c.opcode = Opcode::kTlbiNhVaa;
          c.vmid = 71;
        }),
     Expect::kStale},
    {"All", Of(Opcode::kTlbiNhAll, 7), Expect::kFresh},
    {"AllWrongVmid", Of(Opcode::kTlbiNhAll, 71), Expect::kStale},
    {"S12Vmall", Of(Opcode::kTlbiS12Vmall, 7), Expect::kFresh},
    {"S12VmallWrongVmid", Of(Opcode::kTlbiS12Vmall, 71), Expect::kStale},
    {"NsnhAll", Of(Opcode::kTlbiNsnhAll), Expect::kFresh},
    // A combined translation is not one of stage 2 alone.
    {"S2Ipa",
     Va(GuestMemory::kBase,
        [](Command& c) {
          c.opcode = Opcode::kTlbiS2Ipa;
          c.pages = 1 << 20;
        }),
     Expect::kStale},
    {"El2All", Of(Opcode::kTlbiEl2All), Expect::kStale},
    {"AtcInv", OfStream(Opcode::kAtcInv, kOurSid), Expect::kStale},
    {"CfgiCd", OfStream(Opcode::kCfgiCd, kOurSid), Expect::kStale},
    {"CfgiSte", OfStream(Opcode::kCfgiSte, kOurSid), Expect::kStale},
    {"Prefetch", OfStream(Opcode::kPrefetchConfig, kOurSid), Expect::kStale},
};
INSTANTIATE_TEST_SUITE_P(Smmu, PageInvalidation, ::testing::ValuesIn(kPageCases), NameOf);

using GlobalInvalidation = InvalidationTest;
TEST_P(GlobalInvalidation, FreshensWhatItNames) {
  Tables tables(&memory_);
  Check(tables, kVa, 3, kPteNormal & ~kPteNotGlobal);
}

const Case kGlobalCases[] = {
    {"Va", Va(kOurVa), Expect::kFresh},
    {"VaOtherAsid", Va(kOurVa, [](Command& c) { c.asid = 6; }), Expect::kFresh},
    {"VaNextPage", Va(kOurVa + 0x1000), Expect::kStale},
    {"RangeOtherAsid",
     Va(0,
        [](Command& c) {
          c.asid = 6;
          c.pages = uint64_t{1} << 36;
        }),
     Expect::kFresh},
    {"VaWrongVmid", Va(kOurVa, [](Command& c) { c.vmid = 71; }), Expect::kStale},
    {"Asid", Of(Opcode::kTlbiNhAsid, 7, 5), Expect::kStale},
    {"Vaa", Va(kOurVa, [](Command& c) { c.opcode = Opcode::kTlbiNhVaa; }), Expect::kFresh},
    {"All", Of(Opcode::kTlbiNhAll, 7), Expect::kFresh},
};
INSTANTIATE_TEST_SUITE_P(Smmu, GlobalInvalidation, ::testing::ValuesIn(kGlobalCases), NameOf);

// A block of 2 MiB at kVa.
using BlockInvalidation = InvalidationTest;
TEST_P(BlockInvalidation, FreshensWhatItNames) {
  Tables tables(&memory_);
  Check(tables, kVa, 2);
}

const Case kBlockCases[] = {
    {"Va", Va(kOurVa), Expect::kFresh},
    {"VaFirstPage", Va(kOurVa & ~0x1fffffULL), Expect::kFresh},
    {"VaLastPage", Va(kOurVa | 0x1ff000), Expect::kFresh},
    {"VaNextBlock", Va((kOurVa | 0x1fffff) + 1), Expect::kStale},
    {"VaTtl2", Range(kOurVa, 1, 12, 2), Expect::kFresh},
    {"VaTtl3", Range(kOurVa, 1, 12, 3), Expect::kStale},
    {"RangeThatEndsInIt", Range((kOurVa & ~0x1fffffULL) - 0x4000, 5), Expect::kFresh},
    {"RangeThatEndsBeforeIt", Range((kOurVa & ~0x1fffffULL) - 0x4000, 4), Expect::kStale},
};
INSTANTIATE_TEST_SUITE_P(Smmu, BlockInvalidation, ::testing::ValuesIn(kBlockCases), NameOf);

// A page of 64 KiB around kVa.
using Granule64KInvalidation = InvalidationTest;
TEST_P(Granule64KInvalidation, FreshensWhatItNames) {
  Tables tables(&memory_, 16);
  Check(tables, kVa, 3);
}

const Case kGranule64KCases[] = {
    {"Va", Va(kOurVa), Expect::kFresh},
    {"VaOtherPartOfThePage", Va(kOurVa & ~0xffffULL), Expect::kFresh},
    {"VaNextPage", Va((kOurVa | 0xffff) + 1), Expect::kStale},
    {"VaTtl3", Range(kOurVa & ~0xffffULL, 1, 16, 3), Expect::kFresh},
    {"VaTtl2", Range(kOurVa & ~0xffffULL, 1, 16, 2), Expect::kStale},
    {"Granule4K", Range(kOurVa, 1, 12, 3), Expect::kStale},
    {"Range", Range((kOurVa & ~0xffffULL) - 0x40000, 5, 16), Expect::kFresh},
    {"RangeEndsBelow", Range((kOurVa & ~0xffffULL) - 0x40000, 4, 16), Expect::kStale},
};
INSTANTIATE_TEST_SUITE_P(Smmu, Granule64KInvalidation, ::testing::ValuesIn(kGranule64KCases),
                         NameOf);

// The table that the page's descriptor is in is replaced by another.
using TableInvalidation = InvalidationTest;
TEST_P(TableInvalidation, FreshensWhatItNames) {
  Tables tables(&memory_);
  const uint64_t before = memory_.AllocatePage(1);
  const uint64_t after = memory_.AllocatePage(2);
  tables.Map(kVa, before);
  AttachDevice({.asid = kAsid, .low = &tables});
  ASSERT_EQ(ReadDword(kVa), 1U);
  memory_.Store(tables.Descriptor(kVa, 2), memory_.Allocate() | kPteTable | kPteValid);
  tables.Map(kVa, after);
  smmu_.Invalidate(GetParam().command);
  smmu_.Sync();
  EXPECT_EQ(ReadDword(kVa), GetParam().expect == Expect::kFresh ? 2U : 1U);
}

const Case kTableCases[] = {
    {"Va", Va(kOurVa), Expect::kFresh},
    {"VaLeaf", Va(kOurVa, [](Command& c) { c.leaf = true; }), Expect::kStale},
    {"VaTtl3", Range(kOurVa, 1, 12, 3), Expect::kFresh},
    {"VaTtl3Leaf",
     Va(kOurVa,
        [](Command& c) {
          c.ttl = 3;
          c.leaf = true;
        }),
     Expect::kStale},
    {"VaOfTheSameTable", Va(kOurVa + 0x1000), Expect::kStale},
    {"VaWrongAsid", Va(kOurVa, [](Command& c) { c.asid = 6; }), Expect::kStale},
    {"Range", Range(kOurVa - 0x4000, 8), Expect::kFresh},
    {"RangeOfManyPages", Range(kOurVa - 0x1000000, 32 << 10), Expect::kFresh},
    {"Asid", Of(Opcode::kTlbiNhAsid, 7, 5), Expect::kFresh},
    {"AsidWrongAsid", Of(Opcode::kTlbiNhAsid, 7, 6), Expect::kStale},
    {"All", Of(Opcode::kTlbiNhAll, 7), Expect::kFresh},
    {"AllWrongVmid", Of(Opcode::kTlbiNhAll, 71), Expect::kStale},
};
INSTANTIATE_TEST_SUITE_P(Smmu, TableInvalidation, ::testing::ValuesIn(kTableCases), NameOf);

// The stream's context descriptor gets other tables and another ASID.
using ContextInvalidation = InvalidationTest;
TEST_P(ContextInvalidation, FreshensWhatItNames) {
  Tables before(&memory_);
  Tables after(&memory_);
  before.Map(kVa, memory_.AllocatePage(1));
  after.Map(kVa, memory_.AllocatePage(2));
  AttachDevice({.asid = kAsid, .low = &before});
  ASSERT_EQ(ReadDword(kVa), 1U);
  WriteContext(&memory_, cd_, {.asid = kAsid + 1, .low = &after});
  ASSERT_EQ(ReadDword(kVa), 1U) << "nothing has been invalidated yet";
  smmu_.Invalidate(GetParam().command);
  smmu_.Sync();
  EXPECT_EQ(ReadDword(kVa), GetParam().expect == Expect::kFresh ? 2U : 1U);
}

const Case kContextCases[] = {
    {"Cd", OfStream(Opcode::kCfgiCd, kOurSid), Expect::kFresh},
    {"CdLeaf", OfStream(Opcode::kCfgiCd, kOurSid, [](Command& c) { c.leaf = true; }),
     Expect::kFresh},
    {"CdWrongSid", OfStream(Opcode::kCfgiCd, kOurSid + 1), Expect::kStale},
    {"CdOtherSubstream", OfStream(Opcode::kCfgiCd, kOurSid, [](Command& c) { c.ssid = 1; }),
     Expect::kStale},
    {"CdAll", OfStream(Opcode::kCfgiCdAll, kOurSid), Expect::kFresh},
    {"CdAllWrongSid", OfStream(Opcode::kCfgiCdAll, kOurSid + 1), Expect::kStale},
    {"Ste", OfStream(Opcode::kCfgiSte, kOurSid), Expect::kFresh},
    {"SteWrongSid", OfStream(Opcode::kCfgiSte, kOurSid - 1), Expect::kStale},
    {"SteRange", OfStream(Opcode::kCfgiSteRange, kOurSid, [](Command& c) { c.sid_span_log2 = 4; }),
     Expect::kFresh},
    {"SteRangeBelow",
     OfStream(Opcode::kCfgiSteRange, kOurSid - 16, [](Command& c) { c.sid_span_log2 = 4; }),
     Expect::kStale},
    {"CfgiAll", OfStream(Opcode::kCfgiSteRange, 0, [](Command& c) { c.sid_span_log2 = 32; }),
     Expect::kFresh},
    {"Tlbi", Of(Opcode::kTlbiNsnhAll), Expect::kStale},
};
INSTANTIATE_TEST_SUITE_P(Smmu, ContextInvalidation, ::testing::ValuesIn(kContextCases), NameOf);

// The device has the translation from ATS, and the SMMU has forgotten it.
using AtcInvalidation = InvalidationTest;
TEST_P(AtcInvalidation, FreshensWhatItNames) {
  Tables tables(&memory_);
  tables.Map(kVa, memory_.AllocatePage(1));
  AttachDevice({.asid = kAsid, .low = &tables});
  ASSERT_EQ(ReadDword(kVa, kSid, Translating::kByAts), 1U);
  tables.Map(kVa, memory_.AllocatePage(2));
  smmu_.Invalidate(Of(Opcode::kTlbiNsnhAll));
  smmu_.Sync();
  ASSERT_EQ(ReadDword(kVa, kSid, Translating::kByAts), 1U);
  ASSERT_EQ(ReadDword(kVa), 2U) << "without ATS the device asks the SMMU";
  smmu_.Invalidate(GetParam().command);
  smmu_.Sync();
  EXPECT_EQ(ReadDword(kVa, kSid, Translating::kByAts),
            GetParam().expect == Expect::kFresh ? 2U : 1U);
}

Command AtcInv(uint64_t address, uint64_t pages, uint32_t sid = kOurSid) {
  return OfStream(Opcode::kAtcInv, sid, [&](Command& c) {
    c.address = address;
    c.pages = pages;
  });
}

const Case kAtcCases[] = {
    {"Page", AtcInv(kOurVa, 1), Expect::kFresh},
    {"NextPage", AtcInv(kOurVa + 0x1000, 1), Expect::kStale},
    {"PreviousPage", AtcInv(kOurVa - 0x1000, 1), Expect::kStale},
    {"Size", AtcInv(kOurVa & ~0xffffULL, 16), Expect::kFresh},
    {"SizeBelow", AtcInv((kOurVa & ~0xffffULL) - 0x10000, 16), Expect::kStale},
    {"LargestSize", AtcInv(0, uint64_t{1} << 51), Expect::kFresh},
    {"UpperHalf", AtcInv(uint64_t{1} << 63, uint64_t{1} << 51), Expect::kStale},
    {"Everything", AtcInv(0, 0), Expect::kFresh},
    {"WrongSid", AtcInv(kOurVa, 1, kOurSid + 1), Expect::kStale},
    {"EverythingWrongSid", AtcInv(0, 0, kOurSid + 1), Expect::kStale},
    {"Pasid", OfStream(Opcode::kAtcInv, kOurSid, [](Command& c) { c.has_ssid = true; }),
     Expect::kStale},
    {"AllPasids",
     OfStream(Opcode::kAtcInv, kOurSid, [](Command& c) { c.has_ssid = c.global = true; }),
     Expect::kStale},
    {"Tlbi", Va(kOurVa), Expect::kStale},
    {"CfgiSte", OfStream(Opcode::kCfgiSte, kOurSid), Expect::kStale},
};
INSTANTIATE_TEST_SUITE_P(Smmu, AtcInvalidation, ::testing::ValuesIn(kAtcCases), NameOf);

}  // namespace
}  // namespace berth::emulator::testing
