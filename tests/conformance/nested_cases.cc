// SPDX-License-Identifier: Apache-2.0
//
// Page tables and nested translation. Linux drivers/iommu/iommufd/hw_pagetable.c,
// drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3-iommufd.c.
#include <cerrno>

#include "tests/conformance/kernel_api_suite.h"

namespace berth::conformance {
namespace {

constexpr uint64_t kTranslate[2] = {
    uapi::kSte0Valid.Put(1) | uapi::kSte0Config.Put(uapi::kSteConfigS1Translate), 0};

}  // namespace

// hw_pagetable.c, iommufd_hwpt_alloc(), iommufd_hwpt_paging_alloc().
TEST_P(KernelApiSuite, HwptAllocOnAnIoasChecksInOrder) {
  const Vm vm = NewVm();
  auto valid = Sized<uapi::IommuHwptAlloc>();
  valid.dev_id = vm.device.id;
  valid.pt_id = vm.ioas;
  using Arg = uapi::IommuHwptAlloc;
  ExpectPrecedence<Arg>(vm.context, uapi::kIommuHwptAlloc, valid,
                        {{"reserved", [](Arg& a) { a.reserved = 1; }, EOPNOTSUPP},
                         {"length without a type", [](Arg& a) { a.data_len = 8; }, EINVAL},
                         {"no such device", [](Arg& a) { a.dev_id = kStaleId; }, ENOENT},
                         {"no such parent", [](Arg& a) { a.pt_id = kStaleId; }, EINVAL},
                         {"no parent", [&](Arg& a) { a.pt_id = vm.device.id; }, EINVAL},
                         {"unknown flag", [](Arg& a) { a.flags = 1 << 20; }, EOPNOTSUPP}});
  auto arg = valid;
  arg.reserved2 = 1;  // not looked at
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, arg), 0);
}

// hw_pagetable.c, iommufd_hwpt_alloc(), iommufd_viommu_alloc_hwpt_nested(),
// iommufd_hwpt_nested_alloc(); arm-smmu-v3-iommufd.c, arm_vsmmu_alloc_domain_nested().
TEST_P(KernelApiSuite, NestedHwptAllocChecksInOrder) {
  BERTH_NEEDS(Need::kSmmu);
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
  direct.pt_id = NewHwpt(vm, 0);
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, direct), -EOPNOTSUPP)
      << "before it is seen that this is no parent";
}

// arm-smmu-v3-iommufd.c, arm_smmu_validate_vste().
TEST_P(KernelApiSuite, StreamTableEntryHasOnlyGuestBits) {
  BERTH_NEEDS(Need::kSmmu);
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

// arm-smmu-v3-iommufd.c, arm_smmu_attach_dev_nested(), arm_smmu_attach_prepare_vmaster().
TEST_P(KernelApiSuite, TranslationNeedsAVdevice) {
  BERTH_NEEDS(Need::kSmmu);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  const uint32_t abort = NewNested(vm, viommu, uapi::kSteAbort);
  const uint32_t bypass = NewNested(vm, viommu, uapi::kSteBypass);
  const uint32_t translate = NewNested(vm, viommu, kTranslate);
  EXPECT_EQ(Attach(vm, abort), 0);
  EXPECT_EQ(Attach(vm, bypass), 0) << "a replace";
  EXPECT_EQ(Destroy(vm.context, abort), 0);
  EXPECT_EQ(Destroy(vm.context, bypass), -EBUSY);
  EXPECT_EQ(Attach(vm, translate), -ENOENT);
  NewVdevice(vm, viommu, 3);
  EXPECT_EQ(Attach(vm, translate), 0);
  EXPECT_EQ(Destroy(vm.context, translate), -EBUSY);
  EXPECT_EQ(Attach(vm, vm.parent), 0);
  EXPECT_EQ(Destroy(vm.context, translate), 0);
}

}  // namespace berth::conformance
