// SPDX-License-Identifier: Apache-2.0
//
// HWPT_INVALIDATE. Linux drivers/iommu/iommufd/hw_pagetable.c, iommufd_hwpt_invalidate();
// drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3-iommufd.c, arm_vsmmu_cache_invalidate() and
// arm_vsmmu_convert_user_cmd(); include/linux/iommu.h, iommu_copy_struct_from_full_user_array().
#include <cerrno>

#include "tests/conformance/kernel_api_suite.h"

namespace berth::conformance {
namespace {

using Command = uapi::IommuViommuArmSmmuv3Invalidate;
using Arg = uapi::IommuHwptInvalidate;

constexpr uint64_t kVsid = 3;
constexpr uint32_t kGranule4k = 1;  // TG

uapi::IommuHwptInvalidate InvalidateArg(uint32_t viommu, const Command* commands, uint32_t count) {
  auto arg = Sized<Arg>();
  arg.hwpt_id = viommu;
  arg.data_uptr = reinterpret_cast<uint64_t>(commands);
  arg.data_type = uapi::kViommuInvalidateArmSmmuv3;
  arg.entry_len = sizeof(*commands);
  arg.entry_num = count;
  return arg;
}

Command TlbiNhVa(uint64_t asid, uint64_t va) {
  return {{uapi::kCmdTlbiNhVa | uapi::kTlbi0Asid.Put(asid), uapi::kTlbi1Address.Put(va >> 12)}};
}

// A command and the bits that a guest may set in it, one at a time.
struct Kind {
  const char* name;
  Command valid;
  uint64_t free0;
  uint64_t free1;
};

// Bits that only mean something together (range, TTL) are in none: alone they are reserved
// combinations (Arm IHI 0070, 4.4.1).
std::vector<Kind> Kinds(bool asid16) {
  using namespace uapi;  // NOLINT(google-build-using-namespace): a table of its names
  const uint64_t asid = asid16 ? kTlbi0Asid.mask() : kTlbi0Asid.Put(0xff);
  const uint64_t vmid = kTlbi0Vmid.mask();
  const uint64_t address = kTlbi1Address.mask() | kTlbi1Leaf.mask();
  return {{"TLBI_NSNH_ALL", {{kCmdTlbiNsnhAll, 0}}, 0, 0},
          {"TLBI_NH_ALL", {{kCmdTlbiNhAll, 0}}, vmid, 0},
          {"TLBI_NH_ASID", {{kCmdTlbiNhAsid, 0}}, vmid | asid, 0},
          {"TLBI_NH_VA", {{kCmdTlbiNhVa, 0}}, vmid | asid, address},
          {"TLBI_NH_VAA", {{kCmdTlbiNhVaa, 0}}, vmid, address},
          {"CFGI_CD", {{kCmdCfgiCd | kCfgi0Sid.Put(kVsid), 0}}, 0, kCfgi1Leaf.mask()},
          {"CFGI_CD_ALL", {{kCmdCfgiCdAll | kCfgi0Sid.Put(kVsid), 0}}, 0, 0}};
}

}  // namespace

// hw_pagetable.c, iommufd_hwpt_invalidate(); include/linux/iommu.h,
// iommu_copy_struct_from_full_user_array().
TEST_P(KernelApiSuite, InvalidateChecksInOrder) {
  BERTH_NEEDS(Need::kSmmu);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  const Command command = TlbiNhVa(1, 0x5000);
  ExpectPrecedence<Arg>(
      vm.context, uapi::kIommuHwptInvalidate, InvalidateArg(viommu, &command, 1),
      {{"reserved", [](Arg& a) { a.reserved = 1; }, EOPNOTSUPP},
       {"no data", [](Arg& a) { a.data_uptr = 0; }, EINVAL},
       {"length 0", [](Arg& a) { a.entry_len = 0; }, EINVAL},
       {"too long", [](Arg& a) { a.entry_len = 1 << 20; }, EINVAL},
       {"too many", [](Arg& a) { a.entry_num = uapi::kHwptInvalidateMaxEntries + 1; }, EINVAL},
       {"no such object", [](Arg& a) { a.hwpt_id = kStaleId; }, ENOENT},
       {"an IOAS", [&](Arg& a) { a.hwpt_id = vm.ioas; }, EINVAL},
       {"another vendor's type", [](Arg& a) { a.data_type = uapi::kHwptInvalidateVtdS1; },
        EINVAL}});
  auto none = InvalidateArg(viommu, &command, 0);
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptInvalidate, none), -EINVAL) << "no probe here";
}

// arm-smmu-v3-iommufd.c, arm_vsmmu_cache_invalidate(), arm_vsmmu_convert_user_cmd().
TEST_P(KernelApiSuite, InvalidateCountsWhatItHandled) {
  BERTH_NEEDS(Need::kSmmu);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  NewVdevice(vm, viommu, 3);
  std::vector<Command> commands = {
      TlbiNhVa(1, 0x5000),
      {{uapi::kCmdTlbiNhAsid | uapi::kTlbi0Asid.Put(1), 0}},
      {{uapi::kCmdTlbiNhAll, 0}},
      {{uapi::kCmdTlbiNsnhAll, 0}},
      {{uapi::kCmdCfgiCd | uapi::kCfgi0Sid.Put(3), uapi::kCfgi1Leaf.Put(1)}},
      {{uapi::kCmdCfgiCdAll | uapi::kCfgi0Sid.Put(3), 0}},
  };
  const auto count = static_cast<uint32_t>(commands.size());
  auto arg = InvalidateArg(viommu, commands.data(), count);
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptInvalidate, arg), 0);
  EXPECT_EQ(arg.entry_num, count);

  for (const Command& bad :
       std::vector<Command>{
           {{0xff, 0}},                                         // no such command
           {{uapi::kCmdSync, 0}},                               // the kernel's own
           {{uapi::kCmdCfgiSte | uapi::kCfgi0Sid.Put(3), 0}},   // the host's business
           {{uapi::kCmdCfgiCd | uapi::kCfgi0Sid.Put(99), 1}},   // no such vSID
           {{uapi::kCmdTlbiNhAsid | 1ULL << 13, 1ULL << 40}}})  // reserved bits
  {
    commands[2] = bad;
    arg = InvalidateArg(viommu, commands.data(), count);
    EXPECT_EQ(Call(vm.context, uapi::kIommuHwptInvalidate, arg), -EIO) << std::hex << bad.cmd[0];
    EXPECT_EQ(arg.entry_num, 2U) << "the index of the bad one";
  }
}

// include/linux/iommu.h, iommu_copy_struct_from_full_user_array(): copy_struct_from_user() for
// each entry.
TEST_P(KernelApiSuite, InvalidateEntriesMayHaveAnotherLength) {
  BERTH_NEEDS(Need::kSmmu);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  Tailed<Command> longer[2] = {{TlbiNhVa(1, 0x5000), 0}, {TlbiNhVa(1, 0x6000), 0}};
  auto arg = InvalidateArg(viommu, &longer[0].arg, 2);
  arg.entry_len = sizeof(longer[0]);
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptInvalidate, arg), 0);
  longer[1].tail = 1;
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptInvalidate, arg), -E2BIG);
  EXPECT_EQ(arg.entry_num, 0U);
  const uint64_t shorter[] = {uapi::kCmdTlbiNhAll, uapi::kCmdTlbiNhAll};
  arg = InvalidateArg(viommu, nullptr, 2);
  arg.data_uptr = reinterpret_cast<uint64_t>(shorter);
  arg.entry_len = sizeof(shorter[0]);
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptInvalidate, arg), 0);
  EXPECT_EQ(arg.entry_num, 2U);
}

// arm-smmu-v3-iommufd.c, arm_vsmmu_validate_user_cmd().
TEST_P(KernelApiSuite, EveryBitOfACommandIsChecked) {
  BERTH_NEEDS(Need::kSmmu);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  NewVdevice(vm, viommu, kVsid);
  const uapi::IommuHwInfoArmSmmuv3 smmu = SmmuInfo(vm);
  const bool substreams = uapi::kIdr1SsidSize.Get(smmu.idr[1]) != 0;
  const unsigned opcode_bits = uapi::kCmd0Opcode.high + 1;
  for (const Kind& kind : Kinds(uapi::kIdr0Asid16.Get(smmu.idr[0]) != 0)) {
    const auto opcode = static_cast<uint8_t>(uapi::kCmd0Opcode.Get(kind.valid.cmd[0]));
    const bool config = opcode == uapi::kCmdCfgiCd || opcode == uapi::kCmdCfgiCdAll;
    const uint64_t unknown =
        config && substreams ? uapi::kCmd0Ssv.mask() | uapi::kCfgi0Ssid.mask() : 0;
    for (unsigned bit = opcode_bits; bit < 128; ++bit) {
      const unsigned word = bit / 64;
      const uint64_t mask = uint64_t{1} << bit % 64;
      if (word == 0 && (unknown & mask) != 0) continue;
      Command command = kind.valid;
      command.cmd[word] ^= mask;
      const bool allowed = ((word == 0 ? kind.free0 : kind.free1) & mask) != 0;
      auto arg = InvalidateArg(viommu, &command, 1);
      EXPECT_EQ(Call(vm.context, uapi::kIommuHwptInvalidate, arg), allowed ? 0 : -EIO)
          << kind.name << " dword " << word << " bit " << bit % 64;
      EXPECT_EQ(arg.entry_num, allowed ? 1U : 0U);
    }
  }
}

// arm-smmu-v3-iommufd.c, arm_vsmmu_convert_user_cmd().
TEST_P(KernelApiSuite, OnlyGuestCommandsAreTaken) {
  BERTH_NEEDS(Need::kSmmu);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  NewVdevice(vm, viommu, kVsid);
  for (uint64_t opcode = 0; opcode < 256; ++opcode) {
    if (opcode == uapi::kCmdAtcInv) continue;
    const bool config = opcode == uapi::kCmdCfgiCd || opcode == uapi::kCmdCfgiCdAll;
    const bool guest = config || opcode == uapi::kCmdTlbiNsnhAll ||
                       (opcode >= uapi::kCmdTlbiNhAll && opcode <= uapi::kCmdTlbiNhVaa);
    const Command command = {{opcode | (config ? uapi::kCfgi0Sid.Put(kVsid) : 0), 0}};
    auto arg = InvalidateArg(viommu, &command, 1);
    EXPECT_EQ(Call(vm.context, uapi::kIommuHwptInvalidate, arg), guest ? 0 : -EIO)
        << std::hex << opcode;
  }
}

// arm-smmu-v3-iommufd.c, arm_vsmmu_validate_range().
TEST_P(KernelApiSuite, RangeNeedsAGranuleAndRil) {
  BERTH_NEEDS(Need::kSmmu);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  const bool ril = uapi::kIdr3Ril.Get(SmmuInfo(vm).idr[3]) != 0;
  const uint64_t va = uapi::kTlbi1Address.Put(0x100);
  const uint64_t granule = va | uapi::kTlbi1Tg.Put(kGranule4k);
  for (const uint64_t opcode : {uapi::kCmdTlbiNhVa, uapi::kCmdTlbiNhVaa}) {
    struct Case {
      uint64_t cmd0;
      uint64_t cmd1;
      bool valid;
    };
    for (const Case& c : std::vector<Case>{
             {opcode | uapi::kTlbi0Num.Put(7), granule, ril},
             {opcode | uapi::kTlbi0Num.Put(7) | uapi::kTlbi0Scale.Put(1), granule, ril},
             {opcode, granule | uapi::kTlbi1Ttl.Put(3), ril},
             {opcode, granule, false},
             {opcode | uapi::kTlbi0Num.Put(7), va, false},
             {opcode, va | uapi::kTlbi1Ttl.Put(3), false}}) {
      const Command command = {{c.cmd0, c.cmd1}};
      auto arg = InvalidateArg(viommu, &command, 1);
      EXPECT_EQ(Call(vm.context, uapi::kIommuHwptInvalidate, arg), c.valid ? 0 : -EIO)
          << std::hex << c.cmd0 << " " << c.cmd1;
    }
  }
}

// arm-smmu-v3-iommufd.c, arm_vsmmu_validate_user_cmd(), arm_vsmmu_vsid_to_sid().
TEST_P(KernelApiSuite, AtcInvNeedsAts) {
  BERTH_NEEDS(Need::kSmmu);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  NewVdevice(vm, viommu, kVsid);
  const uapi::IommuHwInfoArmSmmuv3 smmu = SmmuInfo(vm);
  const bool ats = uapi::kIdr0Ats.Get(smmu.idr[0]) != 0;
  const bool substreams = uapi::kIdr1SsidSize.Get(smmu.idr[1]) != 0;
  const uint64_t valid = uapi::kCmdAtcInv | uapi::kAtc0Sid.Put(kVsid);
  struct Case {
    uint64_t cmd0;
    uint64_t cmd1;
    bool valid;
  };
  for (const Case& c :
       std::vector<Case>{{valid, 0, true},
                         {valid, uapi::kAtc1Address.Put(0x1234), true},
                         {valid, uapi::kAtcMaxSize, true},
                         {valid, uapi::kAtcMaxSize + 1, false},
                         {uapi::kCmdAtcInv | uapi::kAtc0Sid.Put(99), 0, false},  // no such vSID
                         {valid | 1ULL << 8, 0, false},
                         {valid | uapi::kAtc0Global.mask(), 0, substreams},
                         {valid | 1ULL << 10, 0, false},
                         {valid | uapi::kCmd0Ssv.mask(), 0, substreams},
                         {valid | uapi::kAtc0Ssid.Put(1), 0, substreams},
                         {valid, 1ULL << 6, false},
                         {valid, 1ULL << 11, false}}) {
    const Command command = {{c.cmd0, c.cmd1}};
    auto arg = InvalidateArg(viommu, &command, 1);
    EXPECT_EQ(Call(vm.context, uapi::kIommuHwptInvalidate, arg), c.valid && ats ? 0 : -EIO)
        << std::hex << c.cmd0 << " " << c.cmd1;
  }
}

// hw_pagetable.c, iommufd_hwpt_invalidate(): done_num.
TEST_P(KernelApiSuite, InvalidateAlwaysWritesTheCountBack) {
  BERTH_NEEDS(Need::kSmmu);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  const uint32_t nested = NewNested(vm, viommu, uapi::kSteAbort);
  const Command command = {{uapi::kCmdTlbiNhAll, 0}};
  for (const auto& [what, apply, error] : std::vector<Fault<Arg>>{
           {"reserved", [](Arg& a) { a.reserved = 1; }, EOPNOTSUPP},
           {"no data", [](Arg& a) { a.data_uptr = 0; }, EINVAL},
           {"too many", [](Arg& a) { a.entry_num = uapi::kHwptInvalidateMaxEntries + 1; }, EINVAL},
           {"longer than a page", [&](Arg& a) { a.entry_len = page() + 1; }, EINVAL},
           {"no such object", [](Arg& a) { a.hwpt_id = kStaleId; }, ENOENT},
           {"a device", [&](Arg& a) { a.hwpt_id = vm.device.id; }, EINVAL},
           {"the nesting parent", [&](Arg& a) { a.hwpt_id = vm.parent; }, EINVAL},
           {"a nested HWPT", [&](Arg& a) { a.hwpt_id = nested; }, EOPNOTSUPP},
           {"another type", [](Arg& a) { a.data_type = 7; }, EINVAL},
           {"unreadable data", [](Arg& a) { a.data_uptr = 8; }, EFAULT}}) {
    auto arg = InvalidateArg(viommu, &command, 1);
    apply(arg);
    EXPECT_EQ(Call(vm.context, uapi::kIommuHwptInvalidate, arg), -error) << what;
    EXPECT_EQ(arg.entry_num, 0U) << what;
  }
  EXPECT_EQ(
      CallReadOnly(vm.context, uapi::kIommuHwptInvalidate, InvalidateArg(viommu, &command, 1)),
      -EFAULT);
}

// arm-smmu-v3-iommufd.c, arm_vsmmu_cache_invalidate(): all entries are copied at once, and 8 MiB
// are more than an allocation can have. That fails before the type is looked at, and leaves the
// count as it was.
TEST_P(KernelApiSuite, MostEntriesOfAllAreEnomem) {
  BERTH_NEEDS(Need::kSmmu);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  const std::vector<Command> commands(uapi::kHwptInvalidateMaxEntries, {{uapi::kCmdTlbiNhAll, 0}});
  auto arg = InvalidateArg(viommu, commands.data(), uapi::kHwptInvalidateMaxEntries);
  arg.data_type = 7;
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptInvalidate, arg), -ENOMEM);
  EXPECT_EQ(arg.entry_num, uapi::kHwptInvalidateMaxEntries);
  arg.hwpt_id = kStaleId;
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptInvalidate, arg), -ENOENT);
}

// include/linux/iommu.h, iommu_copy_struct_from_full_user_array(): entries may have up to a page
// each, and all of that is looked at.
TEST_P(KernelApiSuite, InvalidateEntriesMayBePagesApart) {
  BERTH_NEEDS(Need::kSmmu);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  constexpr uint32_t kLength = 4096;
  constexpr uint32_t kCount = 2500;  // 10 MB
  // Behind the entries nothing can be read.
  const uint64_t size = (uint64_t{kCount} * kLength + page() - 1) / page() * page();
  const UniqueFd file = NewMemory(size);
  auto* entries = static_cast<char*>(
      ::mmap(nullptr, size + page(), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0));
  ASSERT_NE(entries, MAP_FAILED);
  constexpr Command kCommand = {{uapi::kCmdTlbiNhAsid, 0}};
  for (uint32_t i = 0; i < kCount; ++i) {
    std::memcpy(entries + uint64_t{i} * kLength, &kCommand, sizeof(kCommand));
  }
  auto valid = InvalidateArg(viommu, reinterpret_cast<const Command*>(entries), kCount);
  valid.entry_len = kLength;
  const auto beyond = [](Arg& a) { a.entry_num = kCount + 64; };
  ExpectPrecedence<Arg>(vm.context, uapi::kIommuHwptInvalidate, valid,
                        {{"no such vIOMMU", [](Arg& a) { a.hwpt_id = kStaleId; }, ENOENT},
                         {"another type", [](Arg& a) { a.data_type = 7; }, EINVAL},
                         {"more than there is", beyond, EFAULT}});
  auto arg = valid;
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptInvalidate, arg), 0);
  EXPECT_EQ(arg.entry_num, kCount);
  entries[uint64_t{kCount} * kLength - 1] = 1;
  arg = valid;
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptInvalidate, arg), -E2BIG) << "its very last byte";
  EXPECT_EQ(arg.entry_num, 0U);
  ::munmap(entries, size + page());
}

// arm-smmu-v3-iommufd.c, arm_vsmmu_cache_invalidate(): batches of CMDQ_BATCH_ENTRIES.
TEST_P(KernelApiSuite, InvalidateCountsAcrossBatches) {
  BERTH_NEEDS(Need::kSmmu);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  std::vector<Command> commands(300, {{uapi::kCmdTlbiNhAsid, 0}});
  auto arg = InvalidateArg(viommu, commands.data(), 300);
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptInvalidate, arg), 0);
  EXPECT_EQ(arg.entry_num, 300U);
  for (const uint32_t bad : {0U, 1U, 62U, 63U, 64U, 200U, 299U}) {
    auto spoilt = commands;
    spoilt[bad].cmd[0] = uapi::kCmdSync;
    arg = InvalidateArg(viommu, spoilt.data(), 300);
    EXPECT_EQ(Call(vm.context, uapi::kIommuHwptInvalidate, arg), -EIO);
    EXPECT_EQ(arg.entry_num, bad);
  }
}

// arm-smmu-v3-iommufd.c, arm_vsmmu_vsid_to_sid(); viommu.c, iommufd_vdevice_abort().
TEST_P(KernelApiSuite, VsidsAreKnownWhileTheirVdeviceIs) {
  BERTH_NEEDS(Need::kSmmu);
  const Vm vm = NewVm();
  const uint32_t viommu = NewPlainViommu(vm);
  const Command command = {{uapi::kCmdCfgiCdAll | uapi::kCfgi0Sid.Put(kVsid), 0}};
  auto arg = InvalidateArg(viommu, &command, 1);
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptInvalidate, arg), -EIO);
  const uint32_t vdevice = NewVdevice(vm, viommu, kVsid);
  arg.entry_num = 1;
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptInvalidate, arg), 0) << "a plain vIOMMU does it too";
  EXPECT_EQ(Destroy(vm.context, vdevice), 0);
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptInvalidate, arg), -EIO);
}

}  // namespace berth::conformance
