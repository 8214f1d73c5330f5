// SPDX-License-Identifier: Apache-2.0
//
// Page tables, nested translation and invalidation. Linux drivers/iommu/iommufd/hw_pagetable.c,
// drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3-iommufd.c.
#include <cerrno>
#include <cstring>

#include "tests/conformance/kernel_api_suite.h"

namespace berth::conformance {
namespace {

using Command = uapi::IommuViommuArmSmmuv3Invalidate;

constexpr uint64_t kTranslate[2] = {
    uapi::kSte0Valid.Put(1) | uapi::kSte0Config.Put(uapi::kSteConfigS1Translate), 0};

Command TlbiNhVa(uint64_t asid, uint64_t va) {
  return {{uapi::kCmdTlbiNhVa | uapi::kTlbi0Asid.Put(asid), uapi::kTlbi1Address.Put(va >> 12)}};
}

uapi::IommuHwptInvalidate InvalidateArg(uint32_t viommu, const Command* commands, uint32_t count) {
  auto arg = Sized<uapi::IommuHwptInvalidate>();
  arg.hwpt_id = viommu;
  arg.data_uptr = reinterpret_cast<uint64_t>(commands);
  arg.data_type = uapi::kViommuInvalidateArmSmmuv3;
  arg.entry_len = sizeof(*commands);
  arg.entry_num = count;
  return arg;
}

}  // namespace

TEST_P(KernelApiSuite, HwptAllocOnAnIoasChecksInOrder) {
  const Vm vm = NewVm();
  auto valid = Sized<uapi::IommuHwptAlloc>();
  valid.dev_id = vm.device;
  valid.pt_id = vm.ioas;
  using Arg = uapi::IommuHwptAlloc;
  ExpectPrecedence<Arg>(vm.context, uapi::kIommuHwptAlloc, valid,
                        {{"reserved", [](Arg& a) { a.reserved = 1; }, EOPNOTSUPP},
                         {"length without a type", [](Arg& a) { a.data_len = 8; }, EINVAL},
                         {"no such device", [](Arg& a) { a.dev_id = kStaleId; }, ENOENT},
                         {"no such parent", [](Arg& a) { a.pt_id = kStaleId; }, EINVAL},
                         {"no parent", [&](Arg& a) { a.pt_id = vm.device; }, EINVAL},
                         {"unknown flag", [](Arg& a) { a.flags = 1 << 20; }, EOPNOTSUPP}});
  auto arg = valid;
  arg.flags = uapi::kHwptAllocNestParent | uapi::kHwptAllocDirtyTracking;
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, arg), -EOPNOTSUPP)
      << "a nesting parent is nothing else on this SMMU";
  arg = valid;
  arg.reserved2 = 1;  // not looked at
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, arg), 0);
}

TEST_P(KernelApiSuite, NestedHwptAllocChecksInOrder) {
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  const uint64_t bad_ste[2] = {uapi::kSteAbort[0] | 1ULL << 52, 0};
  using Arg = uapi::IommuHwptAlloc;
  ExpectPrecedence<Arg>(
      vm.context, uapi::kIommuHwptAlloc, NestedArg(vm, viommu, uapi::kSteAbort),
      {{"reserved", [](Arg& a) { a.reserved = 1; }, EOPNOTSUPP},
       {"a type without data", [](Arg& a) { a.data_len = 0; }, EINVAL},
       {"no such device", [](Arg& a) { a.dev_id = kStaleId; }, ENOENT},
       {"no such parent", [](Arg& a) { a.pt_id = kStaleId; }, EINVAL},
       {"a flag for parents", [](Arg& a) { a.flags = uapi::kHwptAllocNestParent; }, EOPNOTSUPP},
       {"another vendor's type", [](Arg& a) { a.data_type = uapi::kHwptDataVtdS1; }, EINVAL},
       {"shorter data", [](Arg& a) { a.data_len = 8; }, EINVAL},
       {"a bit that is not the guest's",
        [&](Arg& a) { a.data_uptr = reinterpret_cast<uint64_t>(bad_ste); }, EIO}});
  auto direct = NestedArg(vm, vm.parent, uapi::kSteAbort);
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, direct), -EOPNOTSUPP)
      << "nesting needs a vIOMMU on this SMMU";
}

TEST_P(KernelApiSuite, StreamTableEntryHasOnlyGuestBits) {
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  struct Case {
    uint64_t ste[2];
    int error;
  };
  const uint64_t translate = kTranslate[0];
  for (const Case& c : std::vector<Case>{
           {{0, 0}, 0},  // V = 0 means abort
           {{uapi::kSteAbort[0], 0}, 0},
           {{uapi::kSteBypass[0], 0}, 0},
           {{translate | uapi::kSte0S1ContextPtr.Put(0x1234), uapi::kSte1S1Cir.Put(1)}, 0},
           {{translate, uapi::kSte1Eats.Put(uapi::kSteEatsTranslate)}, 0},
           {{translate, uapi::kSte1Eats.Put(2)}, EIO},
           {{uapi::kSte0Valid.Put(1) | uapi::kSte0Config.Put(6), 0}, EIO},
           {{translate | 1ULL << 52, 0}, EIO},
           {{translate, 1ULL << 8}, EIO},
           {{translate, 1ULL << 63}, EIO}}) {
    auto arg = NestedArg(vm, viommu, c.ste);
    EXPECT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, arg), -c.error)
        << std::hex << c.ste[0] << " " << c.ste[1];
  }
}

TEST_P(KernelApiSuite, TranslationNeedsAVdevice) {
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  const uint32_t abort = NewNested(vm, viommu, uapi::kSteAbort);
  const uint32_t bypass = NewNested(vm, viommu, uapi::kSteBypass);
  const uint32_t translate = NewNested(vm, viommu, kTranslate);
  EXPECT_EQ(Attach(vm.cdev, abort), 0);
  EXPECT_EQ(Attach(vm.cdev, bypass), 0) << "a replace";
  EXPECT_EQ(Destroy(vm.context, abort), 0);
  EXPECT_EQ(Destroy(vm.context, bypass), -EBUSY);
  EXPECT_EQ(Attach(vm.cdev, translate), -ENOENT);
  NewVdevice(vm, viommu, 3);
  EXPECT_EQ(Attach(vm.cdev, translate), 0);
  EXPECT_EQ(Destroy(vm.context, translate), -EBUSY);
  EXPECT_EQ(Attach(vm.cdev, vm.parent), 0);
  EXPECT_EQ(Destroy(vm.context, translate), 0);
}

TEST_P(KernelApiSuite, InvalidateChecksInOrder) {
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  const Command command = TlbiNhVa(1, 0x5000);
  using Arg = uapi::IommuHwptInvalidate;
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

TEST_P(KernelApiSuite, InvalidateCountsWhatItHandled) {
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

TEST_P(KernelApiSuite, InvalidateEntriesMayHaveAnotherLength) {
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

}  // namespace berth::conformance
