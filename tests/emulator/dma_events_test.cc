// SPDX-License-Identifier: Apache-2.0
//
// What a guest reads from its vEVENTQ when a device of its does wrong: every record that Linux
// forwards (arm-smmu-v3.c, arm_smmu_handle_event(); arm-smmu-v3-iommufd.c,
// arm_vmaster_report_event()), bit by bit as in Arm IHI 0070, 7.3, but for the vSID.
#include <array>
#include <functional>
#include <optional>
#include <ostream>
#include <string>

#include "tests/emulator/dma_fixture.h"
#include "tests/testing/poll_until.h"

namespace berth::emulator {
namespace {

using testing::kPteNormal;
using testing::kPteReadOnly;

constexpr uint64_t kFaultVa = 0x123456789000;
constexpr uint64_t kGoodVa = 0x7100000000;
constexpr uint64_t kGoodPage = testing::GuestMemory::kBase + (8 << 20);

constexpr uint64_t kReadBit = uint64_t{1} << 35;
constexpr uint64_t kClassInput = uint64_t{2} << 40;

class DmaEvents : public DmaTest {
 protected:
  using Dwords = std::array<uint64_t, 4>;
  struct Record {
    uapi::IommufdVeventHeader header;
    Dwords event;
  };

  void Open(const Guest& guest) { AllocVeventq(guest, uapi::kVeventqTypeArmSmmuv3, 16, &events_); }
  // The next record; it comes when the device's thread delivers it. nullopt: it is not one.
  std::optional<Record> Next() {
    Record record;
    berth::testing::PollUntil([&] { return IsReadable(events_); });
    if (client().ReadEvents(events_.get(), &record, sizeof(record)) != sizeof(record)) {
      return std::nullopt;
    }
    return record;
  }
  // The next record is the `sequence`th, with these words.
  void ExpectNext(uint32_t sequence, const Dwords& event) {
    const auto record = Next();
    ASSERT_TRUE(record.has_value());
    EXPECT_EQ(record->header.flags, 0U);
    EXPECT_EQ(record->header.sequence, sequence);
    EXPECT_EQ(record->event, event);
  }
  static uint64_t Head(uint8_t id, uint32_t vsid = DmaVm::kVsid) {
    return uint64_t{vsid} << 32 | id;
  }
  static Dwords TranslationFaultAt(uint64_t address) {
    return {Head(0x10), kReadBit | kClassInput, address, 0};
  }

  UniqueFd events_;
};

enum class Faults : uint8_t { kRead, kWrite };

struct Row {
  std::string name;
  uint8_t id;
  Faults faults;
  uint64_t address;
  // What is wrong, by tables or context descriptor, before the device's first DMA.
  std::function<void(DmaVm& vm)> arrange;
};
void PrintTo(const Row& row, std::ostream* out) { *out << row.name; }

class DmaEventOf : public DmaEvents, public ::testing::WithParamInterface<Row> {
 protected:
  // C_BAD_CD names the stream alone, faults of translation the access.
  static Dwords Expected() {
    const Row& row = GetParam();
    if (row.id == 0x0a) return {Head(row.id), 0, 0, 0};
    return {Head(row.id), (row.faults == Faults::kRead ? kReadBit : 0) | kClassInput, row.address,
            0};
  }
};

// Twice, as what is wrong may be remembered.
TEST_P(DmaEventOf, IsReadWithTheVsid) {
  const Row& row = GetParam();
  DmaVm vm = MakeNestedVm("vfio0");
  Open(vm.guest);
  vm.tables->Map(kGoodVa, kGoodPage);
  if (row.arrange) row.arrange(vm);
  for (const uint32_t sequence : {0U, 1U}) {
    if (row.faults == Faults::kRead) {
      EXPECT_EQ(vm.dma->Copy(row.address, kGoodVa, 8), DmaStatus::kReadFault);
    } else {
      EXPECT_EQ(vm.dma->Copy(kGoodVa, row.address, 8), DmaStatus::kWriteFault);
    }
    ExpectNext(sequence, Expected());
  }
}

void Map(DmaVm& vm, uint64_t bits, uint64_t target = kGoodPage) {
  vm.tables->Map(kFaultVa, target, 3, bits);
}
void With(DmaVm& vm, testing::Context context) {
  context.asid = DmaVm::kAsid;
  context.low = vm.tables.get();
  testing::WriteContext(vm.memory.get(), vm.cd, context);
}
void SetAbove(DmaVm& vm, uint64_t bits) {
  const uint64_t descriptor = vm.tables->Descriptor(kFaultVa, 2);
  vm.memory->Store(descriptor, vm.memory->Load(descriptor) | bits);
}

const Row kTranslation[] = {
    {"Read", 0x10, Faults::kRead, kFaultVa + 0x10, nullptr},
    {"Write", 0x10, Faults::kWrite, kFaultVa + 0x18, nullptr},
    {"ReservedDescriptor", 0x10, Faults::kRead, kFaultVa,
     [](DmaVm& vm) {
       vm.memory->Store(vm.tables->Descriptor(kFaultVa, 3),
                        kGoodPage | kPteNormal | testing::kPteValid);
     }},
    {"OutsideBothHalves", 0x10, Faults::kRead, uint64_t{1} << 48, nullptr},
    {"InTheDisabledHalf", 0x10, Faults::kWrite, ~uint64_t{0} << 12, nullptr},
};
const Row kAddressSize[] = {
    {"Read", 0x11, Faults::kRead, kFaultVa + 8,
     [](DmaVm& vm) {
       With(vm, {.ips = 0});  // 32 bits
       Map(vm, kPteNormal, uint64_t{1} << 32);
     }},
    {"Write", 0x11, Faults::kWrite, kFaultVa + 8,
     [](DmaVm& vm) {
       With(vm, {.ips = 1});  // 36 bits
       Map(vm, kPteNormal, uint64_t{1} << 36);
     }},
    {"OfATable", 0x11, Faults::kRead, kFaultVa,
     [](DmaVm& vm) {
       With(vm, {.ips = 2});  // 40 bits
       vm.memory->Store(vm.tables->Descriptor(kFaultVa, 2),
                        uint64_t{1} << 40 | testing::kPteTable | testing::kPteValid);
     }},
};
const Row kAccess[] = {
    {"Read", 0x12, Faults::kRead, kFaultVa,
     [](DmaVm& vm) { Map(vm, kPteNormal & ~testing::kPteAf); }},
    {"Write", 0x12, Faults::kWrite, kFaultVa + 0xff8,
     [](DmaVm& vm) { Map(vm, kPteNormal & ~testing::kPteAf); }},
};
const Row kPermission[] = {
    {"WriteOfReadOnly", 0x13, Faults::kWrite, kFaultVa + 8,
     [](DmaVm& vm) { Map(vm, kPteNormal | kPteReadOnly); }},
    {"ReadOfPrivileged", 0x13, Faults::kRead, kFaultVa,
     [](DmaVm& vm) { Map(vm, kPteNormal & ~testing::kPteUser); }},
    {"WriteOfPrivileged", 0x13, Faults::kWrite, kFaultVa,
     [](DmaVm& vm) { Map(vm, kPteNormal & ~testing::kPteUser); }},
    {"WriteBelowAReadOnlyTable", 0x13, Faults::kWrite, kFaultVa,
     [](DmaVm& vm) {
       Map(vm, kPteNormal);
       SetAbove(vm, testing::kPteApTableReadOnly);
     }},
    {"ReadBelowAPrivilegedTable", 0x13, Faults::kRead, kFaultVa,
     [](DmaVm& vm) {
       Map(vm, kPteNormal);
       SetAbove(vm, testing::kPteApTableNoUser);
     }},
};
const Row kBadCd[] = {
    {"Invalid", 0x0a, Faults::kRead, kGoodVa,
     [](DmaVm& vm) { With(vm, {.clear = testing::kCdValid}); }},
    {"NotAArch64", 0x0a, Faults::kRead, kGoodVa,
     [](DmaVm& vm) { With(vm, {.clear = testing::kCdAa64}); }},
    {"Stalls", 0x0a, Faults::kRead, kGoodVa,
     [](DmaVm& vm) { With(vm, {.set = testing::kCdStall}); }},
    {"TableBeyondIps", 0x0a, Faults::kRead, kGoodVa,
     [](DmaVm& vm) { With(vm, {.ips = 0, .low_flags = uint64_t{1} << 32}); }},
    {"BigEndian", 0x0a, Faults::kRead, kGoodVa,
     [](DmaVm& vm) { With(vm, {.set = testing::kCdEndi}); }},
};

std::string NameOf(const ::testing::TestParamInfo<Row>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(FTranslation, DmaEventOf, ::testing::ValuesIn(kTranslation), NameOf);
INSTANTIATE_TEST_SUITE_P(FAddrSize, DmaEventOf, ::testing::ValuesIn(kAddressSize), NameOf);
INSTANTIATE_TEST_SUITE_P(FAccess, DmaEventOf, ::testing::ValuesIn(kAccess), NameOf);
INSTANTIATE_TEST_SUITE_P(FPermission, DmaEventOf, ::testing::ValuesIn(kPermission), NameOf);
INSTANTIATE_TEST_SUITE_P(CBadCd, DmaEventOf, ::testing::ValuesIn(kBadCd), NameOf);

TEST_F(DmaEvents, ABadStreamTableEntryNamesTheStream) {
  DmaVm vm = MakeNestedVm("vfio0");
  Open(vm.guest);
  // Substreams, of which this SMMU has none.
  const uint64_t ste = uapi::kSte0Valid.Put(1) |
                       uapi::kSte0Config.Put(uapi::kSteConfigS1Translate) | vm.cd |
                       uapi::kSte0S1CdMax.Put(1);
  ASSERT_EQ(Attach(vm, AllocNested(vm, ste, 0)), 0);
  EXPECT_EQ(vm.dma->Copy(kFaultVa, kFaultVa, 8), DmaStatus::kReadFault);
  ExpectNext(0, {Head(0x04), 0, 0, 0});
}

TEST_F(DmaEvents, EachDeviceHasItsOwnVsid) {
  DmaVm one = MakeNestedVm("vfio0");
  DmaVm two = AddDevice(one, "vfio1");
  two.tables = std::make_unique<testing::Tables>(one.memory.get());
  Nest(&two, 0xfffff, {.asid = 6, .low = two.tables.get()});
  Open(one.guest);
  EXPECT_EQ(two.dma->Copy(kFaultVa, kFaultVa, 8), DmaStatus::kReadFault);
  ExpectNext(0, {Head(0x10, 0xfffff), kReadBit | kClassInput, kFaultVa, 0});
  EXPECT_EQ(one.dma->Copy(kFaultVa, kFaultVa, 8), DmaStatus::kReadFault);
  ExpectNext(1, TranslationFaultAt(kFaultVa));
}

TEST_F(DmaEvents, FaultsOfStageTwoAreTheHostsOwn) {
  DmaVm vm = MakeNestedVm("vfio0");
  Open(vm.guest);
  vm.tables->Map(kFaultVa, 0x300000000);  // not in the IOAS
  EXPECT_EQ(vm.dma->Copy(kFaultVa, kFaultVa, 8), DmaStatus::kReadFault);
  EXPECT_EQ(vm.dma->Copy(kFaultVa + 0x1000, kFaultVa, 8), DmaStatus::kReadFault);
  ExpectNext(0, TranslationFaultAt(kFaultVa + 0x1000));  // the first one was of stage 2
}

TEST_F(DmaEvents, FaultsThatTheContextDoesNotRecordAreNot) {
  DmaVm vm = MakeNestedVm("vfio0");
  Open(vm.guest);
  With(vm, {.clear = testing::kCdRecord});
  EXPECT_EQ(vm.dma->Copy(kFaultVa, kFaultVa, 8), DmaStatus::kReadFault);
  With(vm, {});
  ASSERT_EQ(ExecuteTrapped(vm, {uint64_t{DmaVm::kVsid} << 32 | 0x05, 1}), 0);  // CFGI_CD
  EXPECT_EQ(vm.dma->Copy(kFaultVa + 8, kFaultVa, 8), DmaStatus::kReadFault);
  ExpectNext(0, TranslationFaultAt(kFaultVa + 8));
}

// IHI 0070, 3.9.1: a device that asks gets its answer, and only a wrong configuration is recorded.
TEST_F(DmaEvents, OfAtsOnlyConfigurationErrorsAreRecorded) {
  DmaVm vm = MakeNestedVm("vfio0");
  Open(vm.guest);
  EXPECT_EQ(vm.dma->Copy(kFaultVa, kFaultVa, 8, kDmaControlAts), DmaStatus::kReadFault);
  With(vm, {.clear = testing::kCdValid});
  ASSERT_EQ(ExecuteTrapped(vm, {uint64_t{DmaVm::kVsid} << 32 | 0x05, 1}), 0);
  EXPECT_EQ(vm.dma->Copy(kFaultVa, kFaultVa, 8, kDmaControlAts), DmaStatus::kReadDenied);
  ExpectNext(0, {Head(0x0a), 0, 0, 0});
}

}  // namespace
}  // namespace berth::emulator
