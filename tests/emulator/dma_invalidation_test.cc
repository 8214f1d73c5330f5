// SPDX-License-Identifier: Apache-2.0
//
// Every invalidation command and every field of it, as a guest sends it: in a vCMDQ and through
// HWPT_INVALIDATE. Which of the places that the devices remember (invalidation_scene.h) are read
// anew afterwards, and that all others are read as they were. What each command does stands in Arm
// IHI 0070, 4.3 to 4.5; who takes it in Linux tegra241-cmdqv.c,
// tegra241_guest_vcmdq_supports_cmd(), and arm-smmu-v3-iommufd.c, arm_vsmmu_convert_user_cmd().
#include <cerrno>
#include <ostream>
#include <string>

#include "tests/emulator/invalidation_scene.h"

namespace berth::emulator {
namespace {

// Who executes the command; others refuse it.
enum class Takers : uint8_t { kBoth, kVcmdq, kKernel, kNobody };

struct Row {
  std::string name;
  RawCommand command;
  Places fresh;
  Takers takers = Takers::kBoth;
};
void PrintTo(const Row& row, std::ostream* out) { *out << row.name; }
std::string NameOf(const ::testing::TestParamInfo<Row>& info) { return info.param.name; }

class DmaInvalidation : public InvalidationScene, public ::testing::WithParamInterface<Row> {};

TEST_P(DmaInvalidation, InAVcmdq) {
  const Row& row = GetParam();
  ExpectStale(row.fresh);
  if (row.takers == Takers::kBoth || row.takers == Takers::kVcmdq) {
    Execute(one_, {row.command});
    ExpectFresh(row.fresh);
    return;
  }
  one_.queue->Submit({row.command, testing::kSync});
  ASSERT_TRUE(one_.queue->AwaitError());
  EXPECT_EQ(one_.queue->cons_error(), 1U);
  EXPECT_EQ(one_.queue->cons(), 0U);
  ExpectFresh({});
}

TEST_P(DmaInvalidation, ThroughTheKernel) {
  const Row& row = GetParam();
  const bool takes = row.takers == Takers::kBoth || row.takers == Takers::kKernel;
  ASSERT_EQ(ExecuteTrapped(one_, row.command), takes ? 0 : -EIO);
  ExpectFresh(takes ? row.fresh : Places());
}

// Fields of dword 0.
constexpr uint64_t Vmid(uint64_t vmid) { return vmid << 32; }
constexpr uint64_t Num(uint64_t num) { return num << 12; }
constexpr uint64_t Scale(uint64_t scale) { return scale << 20; }
constexpr uint64_t Ssid(uint64_t ssid) { return ssid << 12; }
constexpr uint64_t kSsv = 1 << 11;
constexpr uint64_t kGlobal = 1 << 9;
// Fields of dword 1.
constexpr uint64_t kLeaf = 1;
constexpr uint64_t kTg4K = 1 << 10;
constexpr uint64_t kTg16K = 2 << 10;
constexpr uint64_t kTg64K = 3 << 10;
constexpr uint64_t Ttl(uint64_t level) { return level << 8; }

constexpr RawCommand NhAsid(uint64_t asid, uint64_t high = 0) {
  return {asid << 48 | high | 0x11, 0};
}
constexpr RawCommand NhVa(uint64_t asid, uint64_t dword1, uint64_t high = 0) {
  return {asid << 48 | high | 0x12, dword1};
}
constexpr RawCommand NhVaa(uint64_t dword1, uint64_t high = 0) { return {high | 0x13, dword1}; }
constexpr RawCommand Atc(uint64_t vsid, uint64_t dword1, uint64_t high = 0) {
  return {vsid << 32 | high | 0x40, dword1};
}
constexpr RawCommand Cfgi(uint64_t opcode, uint64_t vsid, uint64_t dword1 = 0, uint64_t high = 0) {
  return {vsid << 32 | high | opcode, dword1};
}

using enum Place;

// All that the SMMU itself remembers of the guest's translations.
const Places kAllOfTheVm = {kPage,  kNextPage, kFarPage,   kBlock,  kGlobalPage,
                            kTable, kHigh64K,  kOtherAsid, kHigh16K};
// What one ASID has of it, and by addresses below the upper half.
const Places kAllOfTheAsid = {kPage, kNextPage, kFarPage, kBlock, kTable, kHigh64K};
const Places kLowerHalf = {kPage, kNextPage, kFarPage, kBlock, kGlobalPage, kTable};

std::vector<Row> AsidRows() {
  return {
      {"NhAll", {0x10, 0}, kAllOfTheVm, Takers::kKernel},
      {"NhAllVmidOfAnother", {0x10 | Vmid(kOtherVmid), 0}, kAllOfTheVm, Takers::kKernel},
      // The kernel makes it TLBI_NH_ALL of the VM.
      {"NsnhAll", {0x30, 0}, kAllOfTheVm, Takers::kKernel},
      {"NhAsid", NhAsid(kFirstAsid), kAllOfTheAsid},
      {"NhAsidOther", NhAsid(kSecondAsid), {kOtherAsid, kHigh16K}},
      {"NhAsidUnused", NhAsid(6), {}},
      {"NhAsidVmidOfAnother", NhAsid(kFirstAsid, Vmid(kOtherVmid)), kAllOfTheAsid},
  };
}

std::vector<Row> AddressRows() {
  return {
      {"Va", NhVa(kFirstAsid, kPageVa), {kPage}},
      {"VaNext", NhVa(kFirstAsid, kPageVa + 0x1000), {kNextPage}},
      {"VaPrevious", NhVa(kFirstAsid, kPageVa - 0x1000), {}},
      {"VaSameLowBits", NhVa(kFirstAsid, kPageVa & 0xffffffff), {}},
      {"VaFar", NhVa(kFirstAsid, kFarVa), {kFarPage}},
      {"VaOtherAsid", NhVa(kSecondAsid, kPageVa), {kOtherAsid}},
      {"VaUnusedAsid", NhVa(6, kPageVa), {}},
      {"VaVmidOfAnother", NhVa(kFirstAsid, kPageVa, Vmid(kOtherVmid)), {kPage}},
      {"VaGlobal", NhVa(kFirstAsid, kGlobalVa), {kGlobalPage}},
      {"VaGlobalUnusedAsid", NhVa(6, kGlobalVa), {kGlobalPage}},
      {"VaBlockFirst", NhVa(kFirstAsid, kBlockVa), {kBlock}},
      {"VaBlockLast", NhVa(kFirstAsid, kBlockVa + 0x1ff000), {kBlock}},
      {"VaBlockBehind", NhVa(kFirstAsid, kBlockVa + 0x200000), {}},
      {"VaTable", NhVa(kFirstAsid, kTableVa), {kTable}},
      {"VaTableNextPage", NhVa(kFirstAsid, kTableVa + 0x1000), {}},
      {"VaHigh64K", NhVa(kFirstAsid, kHigh64KVa), {kHigh64K}},
      {"VaHigh64KLastPage", NhVa(kFirstAsid, kHigh64KVa + 0xf000), {kHigh64K}},
      {"VaHigh64KBehind", NhVa(kFirstAsid, kHigh64KVa + 0x10000), {}},
      {"VaHigh16KLastPage", NhVa(kSecondAsid, kHigh16KVa + 0x3000), {kHigh16K}},
      // Only what the last level says: a table on the way stays, and what it leads to.
      {"VaLeaf", NhVa(kFirstAsid, kPageVa | kLeaf), {kPage}},
      {"VaLeafBlock", NhVa(kFirstAsid, kBlockVa | kLeaf), {kBlock}},
      {"VaLeafTable", NhVa(kFirstAsid, kTableVa | kLeaf), {}},
      {"VaAts", NhVa(kFirstAsid, kAtsVa), {}},
  };
}

std::vector<Row> RangeRows() {
  constexpr uint64_t kBelow = (kPageVa - 0x4000) | kTg4K;
  constexpr uint64_t kFarBelow = (kPageVa - 0x7000) | kTg4K;
  return {
      {"RangeNumEndsBelow", NhVa(kFirstAsid, kBelow, Num(3)), {}},
      {"RangeNumEndsWithIt", NhVa(kFirstAsid, kBelow, Num(4)), {kPage}},
      {"RangeNumEndsBehindIt", NhVa(kFirstAsid, kBelow, Num(5)), {kPage, kNextPage}},
      {"RangeNumLargest", NhVa(kFirstAsid, (kPageVa + 0x1000) | kTg4K, Num(31)), {kNextPage}},
      {"RangeScaleEndsBelow", NhVa(kFirstAsid, kFarBelow, Scale(2)), {}},
      {"RangeScaleEndsWithIt", NhVa(kFirstAsid, kFarBelow, Scale(3)), {kPage}},
      {"RangeNumScale", NhVa(kFirstAsid, kFarBelow, Num(2) | Scale(2)), {kPage, kNextPage}},
      {"RangeOfTwoGiB",
       NhVa(kFirstAsid, kPageVa | kTg4K, Scale(19)),
       {kPage, kNextPage, kBlock, kTable, kGlobalPage}},
      {"RangeOfFourGiB", NhVa(kFirstAsid, kPageVa | kTg4K, Num(1) | Scale(19)), kLowerHalf},
      {"RangeLargest", NhVa(kFirstAsid, kTg4K, Num(31) | Scale(31)), kLowerHalf},
      {"RangeLargestLeaf",
       NhVa(kFirstAsid, kTg4K | kLeaf, Num(31) | Scale(31)),
       {kPage, kNextPage, kFarPage, kBlock, kGlobalPage}},
      {"RangeLargestUnusedAsid", NhVa(6, kTg4K, Num(31) | Scale(31)), {kGlobalPage}},
      {"RangeLargestTtl2", NhVa(kFirstAsid, kTg4K | kLeaf | Ttl(2), Num(31) | Scale(31)), {kBlock}},
      {"RangeLargestTtl3",
       NhVa(kFirstAsid, kTg4K | kLeaf | Ttl(3), Num(31) | Scale(31)),
       {kPage, kNextPage, kFarPage, kGlobalPage}},
      {"RangeLargestTtl1", NhVa(kFirstAsid, kTg4K | kLeaf | Ttl(1), Num(31) | Scale(31)), {}},
      {"RangeIntoABlock", NhVa(kFirstAsid, (kBlockVa - 0x4000) | kTg4K, Num(4)), {kBlock}},
      {"RangeBelowABlock", NhVa(kFirstAsid, (kBlockVa - 0x4000) | kTg4K, Num(3)), {}},
      {"RangeTable", NhVa(kFirstAsid, kTableVa | kTg4K, Num(1)), {kTable}},
      {"RangeTableLeaf", NhVa(kFirstAsid, kTableVa | kTg4K | kLeaf, Num(1)), {}},
  };
}

std::vector<Row> GranuleRows() {
  constexpr uint64_t k64KBelow = (kHigh64KVa - 0x40000) | kTg64K;
  constexpr uint64_t k16KBelow = (kHigh16KVa - 0x10000) | kTg16K;
  return {
      {"Ttl3", NhVa(kFirstAsid, kPageVa | kTg4K | Ttl(3)), {kPage}},
      {"Ttl2", NhVa(kFirstAsid, kPageVa | kTg4K | Ttl(2)), {}},
      {"Ttl1", NhVa(kFirstAsid, kPageVa | kTg4K | Ttl(1)), {}},
      {"Ttl2Block", NhVa(kFirstAsid, kBlockVa | kTg4K | Ttl(2)), {kBlock}},
      {"Ttl3Block", NhVa(kFirstAsid, kBlockVa | kTg4K | Ttl(3)), {}},
      {"Tg64K", NhVa(kFirstAsid, kHigh64KVa | kTg64K | Ttl(3)), {kHigh64K}},
      {"Tg64KTtl2", NhVa(kFirstAsid, kHigh64KVa | kTg64K | Ttl(2)), {}},
      {"Tg64KOfA4KPage", NhVa(kFirstAsid, (kPageVa & ~0xffffULL) | kTg64K | Ttl(3)), {}},
      {"Tg16KOfA64KPage", NhVa(kFirstAsid, kHigh64KVa | kTg16K | Ttl(3)), {}},
      {"Tg4KOfA64KPage", NhVa(kFirstAsid, kHigh64KVa | kTg4K | Ttl(3)), {}},
      {"Tg16K", NhVa(kSecondAsid, kHigh16KVa | kTg16K | Ttl(3)), {kHigh16K}},
      {"Tg4KOfA16KPage", NhVa(kSecondAsid, kHigh16KVa | kTg4K | Ttl(3)), {}},
      {"Tg16KWrongAsid", NhVa(kFirstAsid, kHigh16KVa | kTg16K | Ttl(3)), {}},
      {"Range64KEndsBelow", NhVa(kFirstAsid, k64KBelow, Num(3)), {}},
      {"Range64K", NhVa(kFirstAsid, k64KBelow, Num(4)), {kHigh64K}},
      {"Range64KScale", NhVa(kFirstAsid, k64KBelow, Num(1) | Scale(2)), {kHigh64K}},
      {"Range16KEndsBelow", NhVa(kSecondAsid, k16KBelow, Num(3)), {}},
      {"Range16K", NhVa(kSecondAsid, k16KBelow, Num(4)), {kHigh16K}},
      {"Range16KScale", NhVa(kSecondAsid, k16KBelow, Num(1) | Scale(2)), {kHigh16K}},
  };
}

std::vector<Row> AnyAsidRows() {
  std::vector<Row> rows = {
      {"Vaa", NhVaa(kPageVa), {kPage, kOtherAsid}},
      {"VaaNext", NhVaa(kPageVa + 0x1000), {kNextPage}},
      {"VaaVmidOfAnother", NhVaa(kPageVa, Vmid(kOtherVmid)), {kPage, kOtherAsid}},
      {"VaaGlobal", NhVaa(kGlobalVa), {kGlobalPage}},
      {"VaaTable", NhVaa(kTableVa), {kTable}},
      {"VaaTableLeaf", NhVaa(kTableVa | kLeaf), {}},
      {"VaaTtl3", NhVaa(kPageVa | kTg4K | Ttl(3)), {kPage, kOtherAsid}},
      {"VaaTtl2", NhVaa(kPageVa | kTg4K | Ttl(2)), {}},
      {"VaaTg64K", NhVaa(kHigh64KVa | kTg64K | Ttl(3)), {kHigh64K}},
      {"VaaTg16K", NhVaa(kHigh16KVa | kTg16K | Ttl(3)), {kHigh16K}},
      {"VaaRange", NhVaa((kPageVa - 0x4000) | kTg4K, Num(5)), {kPage, kNextPage, kOtherAsid}},
      {"VaaRangeScale", NhVaa((kPageVa - 0x7000) | kTg4K, Scale(3)), {kPage, kOtherAsid}},
      {"VaaRangeEndsBelow", NhVaa((kPageVa - 0x4000) | kTg4K, Num(3)), {}},
  };
  for (Row& row : rows) row.takers = Takers::kKernel;
  return rows;
}

std::vector<Row> AtcRows() {
  constexpr uint64_t kBase = kAtsVa & ~0x1ffffULL;
  return {
      {"Atc", Atc(kFirstVsid, kAtsVa), {kAts}},
      {"AtcNextPage", Atc(kFirstVsid, kAtsVa + 0x1000), {}},
      {"AtcFar", Atc(kFirstVsid, kAtsVa + 0x10000), {kFarAts}},
      {"AtcSize1", Atc(kFirstVsid, (kAtsVa - 0x1000) | 1), {kAts}},
      {"AtcSize3", Atc(kFirstVsid, (kBase + 0x8000) | 3), {kAts}},
      {"AtcSize3Below", Atc(kFirstVsid, kBase | 3), {}},
      {"AtcSize4", Atc(kFirstVsid, kBase | 4), {kAts}},
      {"AtcSize4Behind", Atc(kFirstVsid, (kBase + 0x10000) | 4), {kFarAts}},
      {"AtcSize5", Atc(kFirstVsid, kBase | 5), {kAts, kFarAts}},
      {"AtcSizeAlignsTheAddress", Atc(kFirstVsid, (kAtsVa + 0x10000) | 5), {kAts, kFarAts}},
      {"AtcSize51", Atc(kFirstVsid, 51), {kAts, kFarAts}},
      {"AtcSize51UpperHalf", Atc(kFirstVsid, uint64_t{1} << 63 | 51), {}},
      {"AtcSize52", Atc(kFirstVsid, 52), {kAts, kFarAts}},
      {"AtcOtherStream", Atc(kSecondVsid, kAtsVa), {kOtherAts}},
      {"AtcOtherStreamAll", Atc(kSecondVsid, 52), {kOtherAts}},
      {"AtcStreamWithoutAts", Atc(kContextVsid, 52), {}},
      // Global is a matter of PASIDs, and a PASID of other translations than those without.
      {"AtcGlobal", Atc(kFirstVsid, kAtsVa, kGlobal), {kAts}, Takers::kVcmdq},
      {"AtcSubstream", Atc(kFirstVsid, kAtsVa, kSsv), {}, Takers::kVcmdq},
      {"AtcSubstreamNumber", Atc(kFirstVsid, kAtsVa, kSsv | Ssid(1)), {}, Takers::kVcmdq},
      {"AtcSubstreamGlobal", Atc(kFirstVsid, 52, kSsv | kGlobal), {}, Takers::kVcmdq},
      {"AtcOfAPage", Atc(kFirstVsid, kPageVa), {}},
      {"AtcUnknownStream", Atc(0x57, 52), {}, Takers::kNobody},
      {"AtcSize53", Atc(kFirstVsid, 53), {}, Takers::kNobody},
  };
}

std::vector<Row> ContextRows() {
  return {
      {"CfgiCd", Cfgi(0x05, kContextVsid), {kContext}, Takers::kKernel},
      {"CfgiCdLeaf", Cfgi(0x05, kContextVsid, kLeaf), {kContext}, Takers::kKernel},
      {"CfgiCdOther", Cfgi(0x05, kOtherContextVsid, kLeaf), {kOtherContext}, Takers::kKernel},
      {"CfgiCdUnchanged", Cfgi(0x05, kFirstVsid, kLeaf), {}, Takers::kKernel},
      {"CfgiCdAll", Cfgi(0x06, kContextVsid), {kContext}, Takers::kKernel},
      {"CfgiCdAllOther", Cfgi(0x06, kOtherContextVsid), {kOtherContext}, Takers::kKernel},
      {"CfgiCdUnknownStream", Cfgi(0x05, 0x57, kLeaf), {}, Takers::kNobody},
      {"CfgiCdAllUnknownStream", Cfgi(0x06, 0x57), {}, Takers::kNobody},
      {"CfgiCdSubstream", Cfgi(0x05, kContextVsid, kLeaf, Ssid(1)), {}, Takers::kNobody},
  };
}

// What neither a vCMDQ nor the kernel takes from a guest.
std::vector<Row> RefusedRows() {
  const std::vector<std::pair<std::string, RawCommand>> commands = {
      {"TgAlone", NhVa(kFirstAsid, kPageVa | kTg4K)},
      {"TtlWithoutTg", NhVa(kFirstAsid, kPageVa | Ttl(3))},
      {"NumWithoutTg", NhVa(kFirstAsid, kPageVa, Num(1))},
      {"ScaleWithoutTg", NhVa(kFirstAsid, kPageVa, Scale(1))},
      {"Tg16KTtl1", NhVa(kFirstAsid, kHigh16KVa | kTg16K | Ttl(1))},
      {"NhVaReservedBit", NhVa(kFirstAsid, kPageVa | 1 << 4)},
      {"NhAsidReservedBit", {NhAsid(kFirstAsid).dword0 | 1 << 10, 0}},
      {"PrefetchConfig", Cfgi(0x01, kContextVsid)},
      {"PrefetchAddress", Cfgi(0x02, kContextVsid)},
      {"CfgiSte", Cfgi(0x03, kContextVsid, kLeaf)},
      {"CfgiAll", Cfgi(0x04, 0, 31)},
      {"El2All", {0x20, 0}},
      {"El2Va", {0x22, kPageVa}},
      {"S12Vmall", {0x28, 0}},
      {"S2Ipa", {0x2a, testing::GuestMemory::kBase}},
      {"PriResponse", Cfgi(0x41, kFirstVsid)},
      {"Resume", Cfgi(0x44, kFirstVsid)},
      {"StallTerminate", Cfgi(0x45, kFirstVsid)},
      {"SyncWithAnInterrupt", {0x46 | 1 << 12, 0}},
      {"NoOpcode", {0, 0}},
  };
  std::vector<Row> rows = {{"Sync", testing::kSync, {}, Takers::kVcmdq}};
  for (const auto& [name, command] : commands) {
    rows.push_back({name, command, {}, Takers::kNobody});
  }
  return rows;
}

INSTANTIATE_TEST_SUITE_P(Asid, DmaInvalidation, ::testing::ValuesIn(AsidRows()), NameOf);
INSTANTIATE_TEST_SUITE_P(Address, DmaInvalidation, ::testing::ValuesIn(AddressRows()), NameOf);
INSTANTIATE_TEST_SUITE_P(Range, DmaInvalidation, ::testing::ValuesIn(RangeRows()), NameOf);
INSTANTIATE_TEST_SUITE_P(Granule, DmaInvalidation, ::testing::ValuesIn(GranuleRows()), NameOf);
INSTANTIATE_TEST_SUITE_P(AnyAsid, DmaInvalidation, ::testing::ValuesIn(AnyAsidRows()), NameOf);
INSTANTIATE_TEST_SUITE_P(Atc, DmaInvalidation, ::testing::ValuesIn(AtcRows()), NameOf);
INSTANTIATE_TEST_SUITE_P(Context, DmaInvalidation, ::testing::ValuesIn(ContextRows()), NameOf);
INSTANTIATE_TEST_SUITE_P(Refused, DmaInvalidation, ::testing::ValuesIn(RefusedRows()), NameOf);

}  // namespace
}  // namespace berth::emulator
