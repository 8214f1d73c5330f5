// SPDX-License-Identifier: Apache-2.0
//
// What fails, and the record of it, bit by bit (Arm IHI 0070, 7.3).
#include <functional>
#include <ostream>
#include <string>

#include "tests/emulator/hardware/smmu/smmu_fixture.h"

namespace berth::emulator::testing {
namespace {

constexpr uint64_t kReadBit = uint64_t{1} << 35;
constexpr uint64_t kS2Bit = uint64_t{1} << 39;
constexpr uint64_t kClassCd = 0;
constexpr uint64_t kClassTable = uint64_t{1} << 40;
constexpr uint64_t kClassInput = uint64_t{2} << 40;
constexpr uint64_t kTtRead = uint64_t{1} << 44;

class FaultTest : public SmmuTest {
 protected:
  using Record = std::array<uint64_t, 4>;
  static Record Of(const DmaResult& result) {
    EXPECT_EQ(result.status, DmaResult::Status::kAborted);
    EXPECT_TRUE(result.event.has_value());
    if (!result.event) return {};
    return {result.event->evt[0], result.event->evt[1], result.event->evt[2], result.event->evt[3]};
  }
  static uint64_t Head(uint8_t id) { return uint64_t{kSid} << 32 | id; }
  Record ReadFault(uint64_t address) {
    uint64_t value = 0;
    return Of(Read(address, &value));
  }
  Record WriteFault(uint64_t address) { return Of(WriteDword(address, 1)); }

  Tables tables_{&memory_};
};

TEST_F(FaultTest, Translation) {
  AttachDevice({.asid = kAsid, .low = &tables_});
  EXPECT_EQ(ReadFault(kVa + 8), (Record{Head(0x10), kReadBit | kClassInput, kVa + 8, 0}));
  EXPECT_EQ(WriteFault(kVa + 16), (Record{Head(0x10), kClassInput, kVa + 16, 0}));
  // Outside both halves, and a half that is disabled.
  const uint64_t outside = uint64_t{1} << 48;
  EXPECT_EQ(ReadFault(outside), (Record{Head(0x10), kReadBit | kClassInput, outside, 0}));
  const uint64_t high = ~uint64_t{0} << 12;
  EXPECT_EQ(ReadFault(high), (Record{Head(0x10), kReadBit | kClassInput, high, 0}));
}

TEST_F(FaultTest, ReservedDescriptorsAreInvalid) {
  AttachDevice({.asid = kAsid, .low = &tables_});
  const uint64_t page = memory_.AllocatePage(1);
  // Level 3 without bit 1, and a block at level 0.
  memory_.Store(tables_.Descriptor(kVa, 3), page | kPteNormal | kPteValid);
  EXPECT_EQ(ReadFault(kVa)[0], Head(0x10));
  memory_.Store(tables_.Descriptor(0x8000000000, 0), kPteNormal | kPteValid);
  EXPECT_EQ(ReadFault(0x8000000000)[0], Head(0x10));
}

TEST_F(FaultTest, BlocksThatAGranuleDoesNotHave) {
  for (const int granule : {14, 16}) {
    Tables tables(&memory_, granule, 48);
    tables.Map(uint64_t{1} << tables.Shift(1), 0, 1);
    AttachDevice({.asid = static_cast<uint16_t>(granule), .low = &tables});
    EXPECT_EQ(ReadFault(uint64_t{1} << tables.Shift(1))[0], Head(0x10));
  }
}

TEST_F(FaultTest, Permission) {
  tables_.Map(kVa, memory_.AllocatePage(1), 3, kPteNormal | kPteReadOnly);
  tables_.Map(kVa + 0x1000, memory_.AllocatePage(1), 3, kPteNormal & ~kPteUser);
  AttachDevice({.asid = kAsid, .low = &tables_});
  for (int i = 0; i < 2; ++i) {  // walked, and remembered
    EXPECT_EQ(WriteFault(kVa), (Record{Head(0x13), kClassInput, kVa, 0}));
    EXPECT_EQ(ReadFault(kVa + 0x1000),
              (Record{Head(0x13), kReadBit | kClassInput, kVa + 0x1000, 0}));
  }
  EXPECT_EQ(ReadDword(kVa), 1U);
  // What is remembered includes what is forbidden.
  tables_.Map(kVa, memory_.AllocatePage(2));
  EXPECT_EQ(WriteFault(kVa)[0], Head(0x13));
  smmu_.Invalidate({.opcode = Opcode::kTlbiNhAsid, .vmid = kVmid, .asid = kAsid});
  EXPECT_EQ(WriteDword(kVa, 1).status, DmaResult::Status::kOk);
}

TEST_F(FaultTest, PermissionOfTheTablesAbove) {
  tables_.Map(kVa, memory_.AllocatePage(1));
  const uint64_t descriptor = tables_.Descriptor(kVa, 1);
  const uint64_t plain = memory_.Load(descriptor);
  memory_.Store(descriptor, plain | kPteApTableReadOnly);
  AttachDevice({.asid = 1, .low = &tables_});
  EXPECT_EQ(ReadDword(kVa), 1U);
  EXPECT_EQ(WriteFault(kVa)[0], Head(0x13));
  memory_.Store(descriptor, plain | kPteApTableNoUser);
  AttachDevice({.asid = 2, .low = &tables_});
  EXPECT_EQ(ReadFault(kVa)[0], Head(0x13));
  AttachDevice({.asid = 3, .low = &tables_, .low_flags = kCdHad});
  EXPECT_EQ(ReadDword(kVa), 1U) << "HAD0: tables say nothing";
}

TEST_F(FaultTest, Access) {
  tables_.Map(kVa, memory_.AllocatePage(1), 3, kPteNormal & ~kPteAf);
  AttachDevice({.asid = kAsid, .low = &tables_});
  EXPECT_EQ(ReadFault(kVa), (Record{Head(0x12), kReadBit | kClassInput, kVa, 0}));
  // Not remembered: the flag alone is enough.
  tables_.Map(kVa, memory_.AllocatePage(2));
  EXPECT_EQ(ReadDword(kVa), 2U);
  tables_.Map(kVa + 0x1000, memory_.AllocatePage(3), 3, kPteNormal & ~kPteAf);
  AttachDevice({.asid = kAsid, .low = &tables_, .set = kCdAffd});
  EXPECT_EQ(ReadDword(kVa + 0x1000), 3U) << "AFFD: no access faults";
}

TEST_F(FaultTest, AddressSize) {
  AttachDevice({.asid = kAsid, .low = &tables_, .ips = 0});  // 32 bits
  tables_.Map(kVa, uint64_t{1} << 32);
  EXPECT_EQ(ReadFault(kVa), (Record{Head(0x11), kReadBit | kClassInput, kVa, 0}));
  const uint64_t other = kVa + 0x200000;
  memory_.Store(tables_.Descriptor(other, 2), uint64_t{1} << 40 | kPteTable | kPteValid);
  EXPECT_EQ(WriteFault(other), (Record{Head(0x11), kClassInput, other, 0}));
}

TEST_F(FaultTest, TheFirstReasonIsTheOneRecorded) {
  AttachDevice({.asid = kAsid, .low = &tables_, .ips = 0});
  tables_.Map(kVa, uint64_t{1} << 32, 3, kPteNotGlobal);  // too large, not accessed, not ours
  EXPECT_EQ(ReadFault(kVa)[0], Head(0x11));
  tables_.Map(kVa, memory_.AllocatePage(1), 3, kPteNotGlobal);
  EXPECT_EQ(ReadFault(kVa)[0], Head(0x12));
  tables_.Map(kVa, 0, 3, kPteNotGlobal | kPteAf);  // not in stage 2, either
  EXPECT_EQ(ReadFault(kVa)[0], Head(0x13));
}

TEST_F(FaultTest, StageTwo) {
  const uint64_t nowhere = 0x300000000;
  const uint64_t read_only = 0x400000000;
  const uint64_t write_only = 0x500000000;
  memory_.stage2()->Map(read_only, read_only + 0xfff, memory_.memory(), 0, {true, false});
  memory_.stage2()->Map(write_only, write_only + 0xfff, memory_.memory(), 0, {false, true});
  tables_.Map(kVa, nowhere);
  tables_.Map(kVa + 0x1000, read_only);
  memory_.Store(tables_.Descriptor(kVa + 0x40000000, 1), nowhere | kPteTable | kPteValid);
  memory_.Store(tables_.Descriptor(kVa + 0x80000000, 1), write_only | kPteTable | kPteValid);
  AttachDevice({.asid = kAsid, .low = &tables_});
  EXPECT_EQ(ReadFault(kVa + 8),
            (Record{Head(0x10), kReadBit | kS2Bit | kClassInput, kVa + 8, nowhere}));
  for (int i = 0; i < 2; ++i) {  // walked, and remembered
    EXPECT_EQ(WriteFault(kVa + 0x1008),
              (Record{Head(0x13), kS2Bit | kClassInput, kVa + 0x1008, read_only}));
  }
  const auto table_of = [](uint64_t base, uint64_t va) { return base + (va >> 21 & 511) * 8; };
  uint64_t va = kVa + 0x40000000;
  EXPECT_EQ(WriteFault(va), (Record{Head(0x10), kS2Bit | kClassTable, va,
                                    table_of(nowhere, va) & ~uint64_t{0xfff}}));
  va = kVa + 0x80000000;
  EXPECT_EQ(ReadFault(va), (Record{Head(0x13), kReadBit | kS2Bit | kClassTable | kTtRead, va,
                                   table_of(write_only, va) & ~uint64_t{0xfff}}));
}

TEST_F(FaultTest, StageTwoAlone) {
  StreamEntry entry;
  entry.config = StreamEntry::Config::kStage2;
  entry.stage2 = memory_.stage2();
  smmu_.SetStream(kSid, entry);
  EXPECT_EQ(ReadFault(0x1008),
            (Record{Head(0x10), kReadBit | kS2Bit | kClassInput, 0x1008, 0x1000}));
  EXPECT_EQ(ReadDword(memory_.AllocatePage(9)), 9U);
}

TEST_F(FaultTest, ContextDescriptorThatCannotBeRead) {
  Attach(kSid, kVmid, 0x300000000);
  EXPECT_EQ(ReadFault(kVa), (Record{Head(0x10), kReadBit | kS2Bit | kClassCd, kVa, 0x300000000}));
}

TEST_F(FaultTest, BadStreamTableEntry) {
  WriteContext(&memory_, cd_, {.asid = kAsid, .low = &tables_});
  StreamEntry entry;
  entry.config = StreamEntry::Config::kNested;
  entry.stage2 = memory_.stage2();
  entry.guest_ste = cd_ | uapi::kSte0S1CdMax.Put(1);
  smmu_.SetStream(kSid, entry);
  EXPECT_EQ(ReadFault(kVa), (Record{Head(0x04), 0, 0, 0}));
}

// CD.R of 0 keeps faults of stage 1 off the record, and nothing else.
TEST_F(FaultTest, UnrecordedFaultsStillAbort) {
  tables_.Map(kVa, 0x300000000);
  tables_.Map(kVa + 0x1000, memory_.AllocatePage(1), 3, kPteNormal | kPteReadOnly);
  AttachDevice({.asid = kAsid, .low = &tables_, .clear = kCdRecord});
  uint64_t value = 0;
  for (const uint64_t address : {kVa + 0x2000, uint64_t{1} << 48}) {
    const DmaResult result = Read(address, &value);
    EXPECT_EQ(result.status, DmaResult::Status::kAborted);
    EXPECT_FALSE(result.event.has_value());
  }
  EXPECT_FALSE(WriteDword(kVa + 0x1000, 1).event.has_value());
  EXPECT_EQ(ReadFault(kVa)[0], Head(0x10)) << "of stage 2";
}

struct BadContext {
  std::string name;
  std::function<void(Context&)> change;
};
void PrintTo(const BadContext& bad, std::ostream* out) { *out << bad.name; }

class BadContextTest : public FaultTest, public ::testing::WithParamInterface<BadContext> {};

TEST_P(BadContextTest, IsRecordedAndNotRemembered) {
  tables_.Map(kVa, memory_.AllocatePage(1));
  Context context = {.asid = kAsid, .low = &tables_};
  const Context good = context;
  GetParam().change(context);
  AttachDevice(context);
  EXPECT_EQ(ReadFault(kVa), (Record{Head(0x0a), 0, 0, 0}));
  uint64_t value = 0;
  const DmaResult by_ats = Read(kVa, &value, kSid, Translating::kByAts);
  EXPECT_EQ(by_ats.status, DmaResult::Status::kDenied);
  EXPECT_TRUE(by_ats.event.has_value());
  WriteContext(&memory_, cd_, good);
  EXPECT_EQ(ReadDword(kVa), 1U);
}

const BadContext kBadContexts[] = {
    {"Invalid", [](Context& c) { c.clear = kCdValid; }},
    {"AArch32", [](Context& c) { c.clear = kCdAa64; }},
    {"NoAbort", [](Context& c) { c.clear = kCdAbort; }},
    {"Stall", [](Context& c) { c.set = kCdStall; }},
    {"AccessFlagUpdate", [](Context& c) { c.set = kCdHa; }},
    {"DirtyUpdate", [](Context& c) { c.set = kCdHd; }},
    {"BigEndian", [](Context& c) { c.set = kCdEndi; }},
    {"InputTooLarge", [](Context& c) { c.clear = 0x3f; }},
    {"InputTooSmall", [](Context& c) { c.set = 0x3f; }},
    {"ReservedGranule", [](Context& c) { c.set = 0xc0; }},
    {"TableBeyondTheOutputSize",
     [](Context& c) {
       c.low_flags = uint64_t{1} << 33;
       c.ips = 0;
     }},
};
INSTANTIATE_TEST_SUITE_P(Smmu, BadContextTest, ::testing::ValuesIn(kBadContexts),
                         [](const auto& bad) { return bad.param.name; });

// ---- ATS.

TEST_F(FaultTest, AtsLeavesNoRecordOfTranslationFaults) {
  tables_.Map(kVa, memory_.AllocatePage(1), 3, kPteNormal | kPteReadOnly);
  AttachDevice({.asid = kAsid, .low = &tables_});
  uint64_t value = 0;
  DmaResult result = Read(kVa + 0x1000, &value, kSid, Translating::kByAts);
  EXPECT_EQ(result.status, DmaResult::Status::kAborted);
  EXPECT_FALSE(result.event.has_value());
  result = WriteDword(kVa, 1, kSid, Translating::kByAts);
  EXPECT_EQ(result.status, DmaResult::Status::kAborted);
  EXPECT_FALSE(result.event.has_value());
}

TEST_F(FaultTest, AtsIsDeniedWhereItIsNotEnabled) {
  tables_.Map(kVa, memory_.AllocatePage(1));
  WriteContext(&memory_, cd_, {.asid = kAsid, .low = &tables_});
  Attach(kSid, kVmid, cd_, WithAts::kNo);
  uint64_t value = 0;
  EXPECT_EQ(Read(kVa, &value, kSid, Translating::kByAts).status, DmaResult::Status::kDenied);
  EXPECT_EQ(ReadDword(kVa), 1U);
}

// A device that was told "read only" asks again before it gives up a write.
TEST_F(FaultTest, AtsAsksAgainForMorePermissions) {
  const uint64_t page = memory_.AllocatePage(1);
  tables_.Map(kVa, page, 3, kPteNormal | kPteReadOnly);
  AttachDevice({.asid = kAsid, .low = &tables_});
  ASSERT_EQ(ReadDword(kVa, kSid, Translating::kByAts), 1U);
  tables_.Map(kVa, page);
  smmu_.Invalidate({.opcode = Opcode::kTlbiNhAsid, .vmid = kVmid, .asid = kAsid});
  EXPECT_EQ(WriteDword(kVa, 5, kSid, Translating::kByAts).status, DmaResult::Status::kOk);
  EXPECT_EQ(ReadDword(kVa, kSid, Translating::kByAts), 5U);
}

TEST_F(FaultTest, AnAttachmentEmptiesTheAtc) {
  tables_.Map(kVa, memory_.AllocatePage(1));
  AttachDevice({.asid = kAsid, .low = &tables_});
  ASSERT_EQ(ReadDword(kVa, kSid, Translating::kByAts), 1U);
  tables_.Map(kVa, memory_.AllocatePage(2));
  AttachDevice({.asid = kAsid + 1, .low = &tables_});
  EXPECT_EQ(ReadDword(kVa, kSid, Translating::kByAts), 2U);
  tables_.Map(kVa, memory_.AllocatePage(3));
  smmu_.Invalidate({.opcode = Opcode::kTlbiNsnhAll});
  smmu_.ClearAtc(kSid);
  EXPECT_EQ(ReadDword(kVa, kSid, Translating::kByAts), 3U);
}

}  // namespace
}  // namespace berth::emulator::testing
