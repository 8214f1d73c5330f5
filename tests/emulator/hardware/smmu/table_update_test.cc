// SPDX-License-Identifier: Apache-2.0
//
// What an SMMU with HTTU writes into a guest's tables (Arm IHI 0070, 3.13; Arm DDI 0487, D8.5.1 and
// D8.5.2).
#include <fcntl.h>

#include <atomic>
#include <functional>
#include <thread>

#include "lib/emulator/hardware/command.h"
#include "tests/emulator/hardware/smmu/smmu_fixture.h"

namespace berth::emulator::testing {
namespace {

constexpr uint64_t kOld = kPteNormal & ~kPteAf;
constexpr uint64_t kClean = kPteNormal | kPteReadOnly | kPteDbm;

class TableUpdateTest : public SmmuTest {
 protected:
  TableUpdateTest() : SmmuTest(TableUpdates::kAccessAndDirty) {}

  void AttachWith(uint64_t cd_bits) {
    AttachDevice({.asid = kAsid, .low = &tables_, .set = cd_bits});
  }
  void Map(uint64_t bits) { tables_.Map(kVa, page_, 3, bits); }
  uint64_t Leaf() { return memory_.Load(tables_.Descriptor(kVa, 3)); }
  static uint64_t LeafWith(uint64_t page, uint64_t bits) {
    return page | bits | kPteValid | kPteTable;
  }
  bool Writes(uint64_t value, Translating translating = Translating::kBySmmu) {
    return WriteDword(kVa, value, kSid, translating).status == DmaResult::Status::kOk;
  }
  // The id of the record of a refused access.
  static uint64_t EventId(const DmaResult& result) {
    EXPECT_EQ(result.status, DmaResult::Status::kAborted);
    return result.event ? uapi::kEvt0Id.Get(result.event->evt[0]) : 0;
  }
  void ForgetTranslations() {
    Command all = {};
    all.opcode = Opcode::kTlbiNhAll;
    all.vmid = kVmid;
    smmu_.Invalidate(all);
  }

  Tables tables_{&memory_};
  uint64_t page_ = memory_.AllocatePage(42);
};

TEST_F(TableUpdateTest, AccessSetsTheAccessFlag) {
  AttachWith(kCdHa);
  Map(kOld);
  EXPECT_EQ(ReadDword(kVa), 42U);
  EXPECT_EQ(Leaf(), LeafWith(page_, kOld | kPteAf));
  Map(kOld);
  ForgetTranslations();
  EXPECT_TRUE(Writes(43));
  EXPECT_EQ(Leaf(), LeafWith(page_, kOld | kPteAf));
  EXPECT_EQ(memory_.Load(page_), 43U);
}

TEST_F(TableUpdateTest, AccessFlagOfABlock) {
  constexpr uint64_t kBlock = 2 << 20;
  AttachWith(kCdHa);
  const uint64_t block = memory_.AllocatePage(44, kBlock);
  tables_.Map(kVa / kBlock * kBlock, block, 2, kOld);
  EXPECT_EQ(ReadDword(kVa / kBlock * kBlock), 44U);
  EXPECT_NE(memory_.Load(tables_.Descriptor(kVa, 2)) & kPteAf, 0U);
}

TEST_F(TableUpdateTest, WithoutHaAnAccessFlagIsAFault) {
  AttachWith(kCdHd);
  Map(kOld);
  uint64_t value = 0;
  EXPECT_EQ(EventId(Read(kVa, &value)), uapi::kEvtFAccess);
  EXPECT_EQ(Leaf(), LeafWith(page_, kOld));
}

TEST_F(TableUpdateTest, WriteMakesDirtyAndAReadDoesNot) {
  AttachWith(kCdHa | kCdHd);
  Map(kClean);
  EXPECT_EQ(ReadDword(kVa), 42U);
  EXPECT_EQ(Leaf(), LeafWith(page_, kClean));
  EXPECT_TRUE(Writes(43)) << "what a read has left in the IOTLB does not forbid it";
  EXPECT_EQ(Leaf(), LeafWith(page_, kClean & ~kPteReadOnly));
  EXPECT_EQ(memory_.Load(page_), 43U);
  // As with every change of a descriptor: the SMMU looks again after an invalidation.
  Map(kClean);
  EXPECT_TRUE(Writes(44));
  EXPECT_EQ(Leaf(), LeafWith(page_, kClean)) << "still known as dirty";
  ForgetTranslations();
  EXPECT_TRUE(Writes(45));
  EXPECT_EQ(Leaf(), LeafWith(page_, kClean & ~kPteReadOnly));
}

TEST_F(TableUpdateTest, OneUpdateForBoth) {
  AttachWith(kCdHa | kCdHd);
  Map(kClean & ~kPteAf);
  EXPECT_TRUE(Writes(43));
  EXPECT_EQ(Leaf(), LeafWith(page_, kClean & ~kPteReadOnly));
}

TEST_F(TableUpdateTest, ReadByAtsDoesNotMakeDirty) {
  AttachWith(kCdHa | kCdHd);
  Map(kClean);
  EXPECT_EQ(ReadDword(kVa, kSid, Translating::kByAts), 42U);
  EXPECT_EQ(Leaf(), LeafWith(page_, kClean));
  EXPECT_TRUE(Writes(43, Translating::kByAts)) << "the device asks again";
  EXPECT_EQ(Leaf(), LeafWith(page_, kClean & ~kPteReadOnly));
}

// What forbids a write for other reasons goes on doing so, and an access that is refused leaves the
// descriptor as it is.
TEST_F(TableUpdateTest, RefusedAccessChangesNothing) {
  struct Row {
    const char* what;
    uint64_t cd;
    uint64_t leaf;
    uint64_t above;  // bits of the table descriptor
  };
  const Row rows[] = {
      {"no HD", kCdHa, kClean, 0},
      {"no HA", kCdHd, kClean, 0},
      {"no DBM", kCdHa | kCdHd, (kClean & ~kPteDbm) & ~kPteAf, 0},
      {"not the user's", kCdHa | kCdHd, (kClean & ~kPteUser) & ~kPteAf, 0},
      {"APTable", kCdHa | kCdHd, kClean & ~kPteAf, kPteApTableReadOnly},
  };
  for (const Row& row : rows) {
    Map(row.leaf);
    const uint64_t table = tables_.Descriptor(kVa, 2);
    const uint64_t before = memory_.Load(table);
    memory_.Store(table, before | row.above);
    AttachWith(row.cd);
    ForgetTranslations();
    EXPECT_EQ(EventId(WriteDword(kVa, 43)), uapi::kEvtFPermission) << row.what;
    EXPECT_EQ(Leaf(), LeafWith(page_, row.leaf)) << row.what;
    memory_.Store(table, before);
  }
  EXPECT_EQ(memory_.Load(page_), 42U);
}

// The leaf's page is another guest-physical one than those the tests above use, so that stage 2 can
// treat it, or the table, differently.
class TableUpdateStage2Test : public TableUpdateTest {
 protected:
  // Stage 2 is all of memory, readable, and writeable but for the page of `read_only`.
  void AttachBehind(std::shared_ptr<const Memory> memory, uint64_t read_only) {
    const uint64_t base = memory_.base();
    const auto map = [&](uint64_t first, uint64_t end, Rights access) {
      if (first < end) stage2_->Map(first, end - 1, memory, first - base, access);
    };
    map(base, read_only, {true, true});
    map(read_only, read_only + 4096, {true, false});
    map(read_only + 4096, base + memory_.size(), {true, true});
    WriteContext(&memory_, cd_, {.asid = kAsid, .low = &tables_, .set = kCdHa | kCdHd});
    StreamEntry entry;
    entry.config = StreamEntry::Config::kNested;
    entry.stage2 = stage2_;
    entry.vmid = kVmid;
    entry.guest_ste =
        cd_ | uapi::kSte0Valid.Put(1) | uapi::kSte0Config.Put(uapi::kSteConfigS1Translate);
    smmu_.SetStream(kSid, std::move(entry));
  }

  std::shared_ptr<Stage2> stage2_ = std::make_shared<Stage2>();
};

TEST_F(TableUpdateStage2Test, WriteThatStage2ForbidsDoesNotMakeDirty) {
  Map(kClean);
  AttachBehind(memory_.memory(), page_);
  const DmaResult result = WriteDword(kVa, 43);
  EXPECT_EQ(EventId(result), uapi::kEvtFPermission);
  EXPECT_EQ(uapi::kEvt1S2.Get(result.event->evt[1]), 1U);
  EXPECT_EQ(Leaf(), LeafWith(page_, kClean));
}

// IHI 0070, 7.3.16: CLASS is TT, TTRnW 0.
TEST_F(TableUpdateStage2Test, TableThatStage2DoesNotLetWrite) {
  Map(kOld);
  const uint64_t descriptor = tables_.Descriptor(kVa, 3);
  AttachBehind(memory_.memory(), descriptor / 4096 * 4096);
  uint64_t value = 0;
  const DmaResult result = Read(kVa, &value);
  EXPECT_EQ(EventId(result), uapi::kEvtFPermission);
  EXPECT_EQ(result.event->evt[1],
            uint64_t{1} << 35 | uint64_t{1} << 39 | uint64_t{1} << 40);  // RnW, S2, CLASS
  EXPECT_EQ(result.event->evt[3], descriptor & ~uint64_t{0xfff});
  EXPECT_EQ(Leaf(), LeafWith(page_, kOld));
}

// Memory in which the guest is always a little faster, `times` times.
class ContendedMemory : public FileMemory {
 public:
  ContendedMemory(const FileMemory& memory, int times, std::function<void()> guest)
      : times_(times), guest_(std::move(guest)) {
    file.Reset(::fcntl(memory.file.get(), F_DUPFD_CLOEXEC, 0));
  }
  Exchange CompareExchange(uint64_t offset, uint64_t expected, uint64_t desired) const override {
    ++exchanges;
    if (exchanges <= times_) guest_();
    return FileMemory::CompareExchange(offset, expected, desired);
  }

  mutable int exchanges = 0;

 private:
  const int times_;
  const std::function<void()> guest_;
};

TEST_F(TableUpdateStage2Test, LostRaceIsRetried) {
  Map(kClean);
  const uint64_t descriptor = tables_.Descriptor(kVa, 3);
  const auto contended = std::make_shared<ContendedMemory>(
      *memory_.memory(), 3,
      [this, descriptor] { memory_.Store(descriptor, memory_.Load(descriptor) ^ kPteSoftware); });
  AttachBehind(contended, memory_.Allocate());
  EXPECT_TRUE(Writes(43));
  EXPECT_EQ(contended->exchanges, 4);
  EXPECT_EQ(Leaf(), LeafWith(page_, (kClean | kPteSoftware) & ~kPteReadOnly));
}

TEST_F(TableUpdateStage2Test, LostRaceAgainstAnUnmapIsAFault) {
  Map(kClean);
  const auto contended =
      std::make_shared<ContendedMemory>(*memory_.memory(), 1, [this] { tables_.Unmap(kVa); });
  AttachBehind(contended, memory_.Allocate());
  EXPECT_EQ(EventId(WriteDword(kVa, 43)), uapi::kEvtFTranslation);
  EXPECT_EQ(Leaf(), 0U);
  EXPECT_EQ(memory_.Load(page_), 42U);
}

// The guest changes another bit of the descriptor all the time, and none of its changes is lost.
TEST_F(TableUpdateTest, UpdatesAreAtomicForTheGuest) {
  constexpr int kRounds = 200;
  memory_.Seal();
  AttachWith(kCdHa | kCdHd);
  Map(kClean);
  std::atomic_ref<uint64_t> leaf(
      *reinterpret_cast<uint64_t*>(memory_.Data(tables_.Descriptor(kVa, 3))));
  std::atomic<bool> stop = false;
  uint64_t expected = leaf.load() & kPteSoftware;
  std::thread guest([&] {
    while (!stop.load()) {
      EXPECT_EQ(leaf.fetch_xor(kPteSoftware) & kPteSoftware, expected);
      expected ^= kPteSoftware;
    }
  });
  for (int i = 0; i < kRounds; ++i) {
    leaf.fetch_or(kPteReadOnly);
    ForgetTranslations();
    EXPECT_TRUE(Writes(100 + i));
    EXPECT_EQ(leaf.load() & kPteReadOnly, 0U) << i;
  }
  stop = true;
  guest.join();
  EXPECT_EQ(leaf.load(), LeafWith(page_, (kClean & ~kPteReadOnly) | expected));
}

}  // namespace
}  // namespace berth::emulator::testing
