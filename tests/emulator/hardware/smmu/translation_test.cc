// SPDX-License-Identifier: Apache-2.0
//
// Where addresses lead, for every shape of table.
#include <sys/stat.h>

#include <string>
#include <tuple>

#include "tests/emulator/hardware/smmu/smmu_fixture.h"

namespace berth::emulator::testing {
namespace {

// Granule, size of the input addresses, level of the leaf.
using Shape = std::tuple<int, int, int>;
class TranslationTest : public SmmuTest, public ::testing::WithParamInterface<Shape> {};

TEST_P(TranslationTest, ReadsAndWritesWhereTheTablesLead) {
  const auto [granule, input_bits, level] = GetParam();
  // Larger than the largest block that is read through, which no memory has to fill.
  Tables tables(&memory_, granule, input_bits);
  ASSERT_LE(tables.first_level(), level);
  const uint64_t size = uint64_t{1} << tables.Shift(level);
  const uint64_t va = 0xfedcba987654 & ((uint64_t{1} << input_bits) - 1) & ~(size - 1);
  // A block of a size that this memory does not have begins where the memory does: stage 2 has a
  // part of it.
  const uint64_t target =
      size > memory_.size() ? memory_.base() & ~(size - 1) : memory_.Allocate(size);
  const uint64_t inside = size > memory_.size() ? memory_.Allocate() - target : size - 4096;
  memory_.Store(target + inside + 8, 77);
  tables.Map(va, target, level);
  AttachDevice({.asid = kAsid, .low = &tables});
  for (int i = 0; i < 2; ++i) {  // walked, and remembered
    EXPECT_EQ(ReadDword(va + inside + 8), 77U);
    EXPECT_EQ(WriteDword(va + inside + 16, 5 + i).status, DmaResult::Status::kOk);
    EXPECT_EQ(memory_.Load(target + inside + 16), 5U + i);
    EXPECT_EQ(ReadDword(va + inside + 8, kSid, Translating::kByAts), 77U);
  }
  EXPECT_EQ(ReadDword(va ^ size), std::nullopt);
}

std::string NameOf(const ::testing::TestParamInfo<Shape>& info) {
  return "Granule" + std::to_string(1 << (std::get<0>(info.param) - 10)) + "KInput" +
         std::to_string(std::get<1>(info.param)) + "Level" +
         std::to_string(std::get<2>(info.param));
}
INSTANTIATE_TEST_SUITE_P(Smmu, TranslationTest,
                         ::testing::Values(Shape{12, 48, 3}, Shape{12, 48, 2}, Shape{12, 48, 1},
                                           Shape{12, 39, 3}, Shape{12, 39, 1}, Shape{12, 40, 3},
                                           Shape{12, 32, 2}, Shape{12, 30, 3}, Shape{12, 25, 3},
                                           Shape{14, 48, 3}, Shape{14, 48, 2}, Shape{14, 47, 3},
                                           Shape{14, 36, 2}, Shape{14, 25, 3}, Shape{16, 48, 3},
                                           Shape{16, 48, 2}, Shape{16, 42, 3}, Shape{16, 43, 2},
                                           Shape{16, 29, 3}, Shape{16, 25, 3}),
                         NameOf);

TEST_F(SmmuTest, ATransactionMayCrossPages) {
  Tables tables(&memory_);
  const uint64_t first = memory_.AllocatePage(0);
  memory_.Allocate();
  const uint64_t second = memory_.AllocatePage(0);
  tables.Map(kVa, first);
  tables.Map(kVa + 0x1000, second);
  AttachDevice({.asid = kAsid, .low = &tables});
  std::array<std::byte, 0x1800> bytes;
  bytes.fill(std::byte{0x11});
  EXPECT_EQ(smmu_.Write(kSid, kVa + 0x800, bytes, Translating::kBySmmu).done, bytes.size());
  EXPECT_EQ(memory_.Load(first + 0x7f8), 0U);
  EXPECT_EQ(memory_.Load(first + 0xff8), 0x1111111111111111U);
  EXPECT_EQ(memory_.Load(second + 0xff8), 0x1111111111111111U);
  // And ends where a page is not there.
  const DmaResult result = smmu_.Write(kSid, kVa + 0x1800, bytes, Translating::kBySmmu);
  EXPECT_EQ(result.status, DmaResult::Status::kAborted);
  EXPECT_EQ(result.done, 0x800U);
}

TEST_F(SmmuTest, TheUpperHalfHasTablesOfItsOwn) {
  Tables low(&memory_, 12, 48);
  Tables high(&memory_, 16, 42);
  low.Map(0x5000, memory_.AllocatePage(1));
  high.Map(0x10000, memory_.AllocatePage(2, 0x10000));
  AttachDevice({.asid = kAsid, .low = &low, .high = &high});
  const uint64_t base = ~uint64_t{0} << 42;
  EXPECT_EQ(ReadDword(0x5000), 1U);
  EXPECT_EQ(ReadDword(base + 0x10000), 2U);
  EXPECT_EQ(ReadDword(base - 0x10000), std::nullopt) << "below the upper half";
  EXPECT_EQ(ReadDword(uint64_t{1} << 48 | 0x5000), std::nullopt) << "above the lower half";
  AttachDevice({.asid = kAsid + 1, .high = &high});
  EXPECT_EQ(ReadDword(0x5000), std::nullopt) << "EPD0";
  EXPECT_EQ(ReadDword(base + 0x10000), 2U);
}

TEST_F(SmmuTest, ATagInTheTopByteIsNotAnAddressWhereSo) {
  Tables tables(&memory_);
  tables.Map(kVa, memory_.AllocatePage(1));
  const uint64_t tagged = uint64_t{0xa5} << 56 | kVa;
  AttachDevice({.asid = kAsid, .low = &tables, .high = &tables});
  EXPECT_EQ(ReadDword(tagged), std::nullopt);
  AttachDevice({.asid = kAsid, .low = &tables, .high = &tables, .set = kCdTbi0});
  EXPECT_EQ(ReadDword(tagged), 1U);
  EXPECT_EQ(ReadDword(kVa), 1U) << "the same translation";
  const uint64_t high = ~uint64_t{0} << 48 | kVa;
  const uint64_t tagged_high = high & ~(uint64_t{0x5a} << 56);
  EXPECT_EQ(ReadDword(high), 1U);
  EXPECT_EQ(ReadDword(tagged_high), std::nullopt);
  AttachDevice({.asid = kAsid, .low = &tables, .high = &tables, .set = kCdTbi1});
  EXPECT_EQ(ReadDword(tagged_high), 1U);
  // Invalidated by the address without the tag.
  tables.Map(kVa, memory_.AllocatePage(2));
  Command command = {.opcode = Opcode::kTlbiNhVa, .vmid = kVmid, .asid = kAsid};
  command.address = high;
  command.pages = 1;
  smmu_.Invalidate(command);
  EXPECT_EQ(ReadDword(tagged_high), 2U);
}

TEST_F(SmmuTest, GlobalTranslationsServeEveryAsid) {
  Tables one(&memory_);
  Tables other(&memory_);
  one.Map(kVa, memory_.AllocatePage(1), 3, kPteNormal & ~kPteNotGlobal);
  const uint64_t other_cd = memory_.Allocate();
  AttachDevice({.asid = kAsid, .low = &one});
  WriteContext(&memory_, other_cd, {.asid = kAsid + 1, .low = &other});
  Attach(kSid + 1, kVmid, other_cd);
  Attach(kSid + 2, kVmid + 1, other_cd);
  EXPECT_EQ(ReadDword(kVa, kSid + 1), std::nullopt);
  EXPECT_EQ(ReadDword(kVa), 1U);
  EXPECT_EQ(ReadDword(kVa, kSid + 1), 1U);
  EXPECT_EQ(ReadDword(kVa, kSid + 2), std::nullopt) << "another VM";
}

TEST_F(SmmuTest, StreamsOfOneAsidShareTranslations) {
  Tables tables(&memory_);
  tables.Map(kVa, memory_.AllocatePage(1));
  AttachDevice({.asid = kAsid, .low = &tables});
  Attach(kSid + 1, kVmid, cd_);
  ASSERT_EQ(ReadDword(kVa), 1U);
  tables.Unmap(kVa);
  EXPECT_EQ(ReadDword(kVa, kSid + 1), 1U);
}

// Thousands of pages: old translations make room, and everything stays right.
TEST_F(SmmuTest, CachesAreBounded) {
  Tables tables(&memory_);
  AttachDevice({.asid = kAsid, .low = &tables});
  constexpr uint64_t kCount = 3000;
  for (uint64_t i = 0; i < kCount; ++i) tables.Map(kVa + i * 0x1000, memory_.AllocatePage(i + 1));
  for (const auto translating : {Translating::kBySmmu, Translating::kByAts}) {
    for (uint64_t i = 0; i < kCount; ++i) {
      ASSERT_EQ(ReadDword(kVa + i * 0x1000, kSid, translating), i + 1);
    }
  }
  const uint64_t other = memory_.AllocatePage(1000000);
  for (uint64_t i = 0; i < kCount; ++i) tables.Map(kVa + i * 0x1000, other);
  for (const auto translating : {Translating::kBySmmu, Translating::kByAts}) {
    uint64_t stale = 0;
    for (uint64_t i = kCount; i-- > 0;) {
      if (ReadDword(kVa + i * 0x1000, kSid, translating) != 1000000U) ++stale;
    }
    EXPECT_GT(stale, 0U);
    EXPECT_LT(stale, 600U);
  }
}

// What outlives its memory leads nowhere.
TEST_F(SmmuTest, ATranslationDoesNotKeepItsMemory) {
  auto other = std::make_unique<GuestMemory>(4096, 0x80000000);
  memory_.stage2()->Map(0x80000000, 0x80000fff, other->memory(), 0, {true, true});
  other->AllocatePage(1);
  Tables tables(&memory_);
  tables.Map(kVa, 0x80000000);
  AttachDevice({.asid = kAsid, .low = &tables});
  ASSERT_EQ(ReadDword(kVa), 1U);
  ASSERT_EQ(ReadDword(kVa, kSid, Translating::kByAts), 1U);
  const std::weak_ptr<const Memory> memory = other->memory();
  memory_.stage2()->Unmap(0x80000000);
  other.reset();
  EXPECT_TRUE(memory.expired());
  EXPECT_EQ(ReadDword(kVa), std::nullopt);
  EXPECT_EQ(ReadDword(kVa, kSid, Translating::kByAts), std::nullopt);
}

TEST_F(SmmuTest, StageOneThatStageTwoHasInPiecesIsTranslatedPageByPage) {
  // Two stretches of one file, the other way round.
  GuestMemory other(4 << 20, 0x80000000);
  memory_.stage2()->Map(0x80000000, 0x800fffff, other.memory(), 0x100000, {true, true});
  memory_.stage2()->Map(0x80100000, 0x801fffff, other.memory(), 0, {true, true});
  other.Store(other.base() + 0x100000, 1);
  other.Store(other.base(), 2);
  Tables tables(&memory_);
  tables.Map(0x200000, 0x80000000, 2);
  AttachDevice({.asid = kAsid, .low = &tables});
  for (const auto translating : {Translating::kBySmmu, Translating::kByAts}) {
    for (int i = 0; i < 2; ++i) {
      EXPECT_EQ(ReadDword(0x200000, kSid, translating), 1U);
      EXPECT_EQ(ReadDword(0x300000, kSid, translating), 2U);
    }
  }
}

// A guest's file may be cut under the hardware.
TEST_F(SmmuTest, MemoryThatIsGoneIsABusAbort) {
  Tables tables(&memory_);
  const uint64_t page = memory_.AllocatePage(1);
  tables.Map(kVa, page);
  AttachDevice({.asid = kAsid, .low = &tables});
  ASSERT_EQ(ReadDword(kVa), 1U);
  const int fd = memory_.memory()->file.get();
  ASSERT_EQ(::ftruncate(fd, static_cast<off_t>(page - memory_.base())), 0);
  EXPECT_EQ(ReadDword(kVa), std::nullopt);
  EXPECT_EQ(WriteDword(kVa, 1).status, DmaResult::Status::kAborted);
  ASSERT_EQ(::ftruncate(fd, 0), 0);
  EXPECT_EQ(ReadDword(kVa + 0x1000), std::nullopt) << "the tables are gone";
  struct stat info;
  ASSERT_EQ(::fstat(fd, &info), 0);
  EXPECT_EQ(info.st_size, 0) << "DMA does not grow a file";
}

TEST_F(SmmuTest, AStreamThatWasNeverSetAborts) {
  uint64_t value = 0;
  const DmaResult result = Read(kVa, &value, 0x999);
  EXPECT_EQ(result.status, DmaResult::Status::kAborted);
  EXPECT_FALSE(result.event.has_value());
}

}  // namespace
}  // namespace berth::emulator::testing
