// SPDX-License-Identifier: Apache-2.0
//
// vIOMMUs and vDEVICEs. Linux drivers/iommu/iommufd/viommu.c,
// drivers/iommu/arm/arm-smmu-v3/{arm-smmu-v3-iommufd,tegra241-cmdqv}.c.
#include <cerrno>

#include "lib/iommufd/mapped_region.h"
#include "tests/conformance/kernel_api_suite.h"

namespace berth::conformance {

TEST_P(KernelApiSuite, ViommuAllocChecksInOrder) {
  const Vm vm = NewVm();
  const uint32_t plain_hwpt = NewHwpt(vm, 0);
  uapi::IommuViommuTegra241Cmdqv page0 = {};
  const auto valid = ViommuArg(vm, &page0);
  using Arg = uapi::IommuViommuAlloc;
  ExpectPrecedence<Arg>(vm.context, uapi::kIommuViommuAlloc, valid,
                        {{"flags", [](Arg& a) { a.flags = 1; }, EOPNOTSUPP},
                         {"type 0", [](Arg& a) { a.type = uapi::kViommuTypeDefault; }, EOPNOTSUPP},
                         {"no such device", [](Arg& a) { a.dev_id = kStaleId; }, ENOENT},
                         {"not a device", [&](Arg& a) { a.dev_id = vm.ioas; }, ENOENT},
                         {"unknown type", [](Arg& a) { a.type = 77; }, EOPNOTSUPP},
                         {"no such HWPT", [](Arg& a) { a.hwpt_id = kStaleId; }, ENOENT},
                         {"not an HWPT", [&](Arg& a) { a.hwpt_id = vm.ioas; }, ENOENT},
                         {"no nesting parent", [&](Arg& a) { a.hwpt_id = plain_hwpt; }, EINVAL},
                         {"shorter data", [](Arg& a) { a.data_len = 8; }, EINVAL},
                         {"longer data", [](Arg& a) { a.data_len = 24; }, EINVAL}});
  auto arg = valid;
  arg.reserved = 1;  // not looked at
  EXPECT_EQ(Call(vm.context, uapi::kIommuViommuAlloc, arg), 0);
}

TEST_P(KernelApiSuite, PlainViommuIgnoresItsData) {
  const Vm vm = NewVm();
  auto arg = ViommuArg(vm, nullptr);
  arg.type = uapi::kViommuTypeArmSmmuv3;
  arg.data_len = 5;
  arg.data_uptr = 1;
  EXPECT_EQ(Call(vm.context, uapi::kIommuViommuAlloc, arg), 0);
}

TEST_P(KernelApiSuite, ParentOfAnotherUnitIsEinval) {
  const std::optional<std::string> other = under_test().other_device();
  if (!other.has_value()) GTEST_SKIP() << "a machine with one unit";
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  const UniqueFd cdev = OpenCdev(*other);
  const uint32_t device = Bind(cdev, vm.context);
  uapi::IommuViommuTegra241Cmdqv page0 = {};
  auto alloc = ViommuArg(vm, &page0);
  alloc.dev_id = device;
  alloc.data_len = 8;  // checked later
  EXPECT_EQ(Call(vm.context, uapi::kIommuViommuAlloc, alloc), -EINVAL);
  auto vdevice = Sized<uapi::IommuVdeviceAlloc>();
  vdevice.viommu_id = viommu;
  vdevice.dev_id = device;
  EXPECT_EQ(Call(vm.context, uapi::kIommuVdeviceAlloc, vdevice), -EINVAL);
  auto nested = NestedArg(vm, viommu, uapi::kSteAbort);
  nested.dev_id = device;
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, nested), -EINVAL);
  EXPECT_EQ(Attach(cdev, vm.parent), -EINVAL);
}

TEST_P(KernelApiSuite, Page0WindowsAreTheFirstThatFit) {
  const Vm vm = NewVm();
  uapi::IommuViommuTegra241Cmdqv a = {};
  uapi::IommuViommuTegra241Cmdqv b = {};
  const uint32_t first = NewViommu(vm, &a);
  NewViommu(vm, &b);
  EXPECT_EQ(a.out_vintf_mmap_offset, 0x1000U);
  EXPECT_EQ(a.out_vintf_mmap_length, kPage0Size);
  EXPECT_EQ(b.out_vintf_mmap_offset, 0x1000U + kPage0Size);
  EXPECT_EQ(Destroy(vm.context, first), 0);
  NewViommu(vm, &a);
  EXPECT_EQ(a.out_vintf_mmap_offset, 0x1000U);
}

TEST_P(KernelApiSuite, VintfsOfAUnitAreAPoolAcrossContexts) {
  const int all = under_test().vintfs();
  EXPECT_EQ(FreeVintfs(), all);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  EXPECT_EQ(FreeVintfs(), all - 1);
  NewPlainViommu(vm);
  EXPECT_EQ(FreeVintfs(), all - 1) << "a plain vIOMMU takes none";
  EXPECT_EQ(Destroy(vm.context, viommu), 0);
  EXPECT_EQ(FreeVintfs(), all);
}

TEST_P(KernelApiSuite, VdeviceAllocChecksInOrder) {
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  NewVdevice(vm, viommu, 7);
  const UniqueFd cdev = OpenCdev(device(1));
  auto valid = Sized<uapi::IommuVdeviceAlloc>();
  valid.viommu_id = viommu;
  valid.dev_id = Bind(cdev, vm.context);
  valid.virt_id = 8;
  using Arg = uapi::IommuVdeviceAlloc;
  ExpectPrecedence<Arg>(vm.context, uapi::kIommuVdeviceAlloc, valid,
                        {{"no such vIOMMU", [](Arg& a) { a.viommu_id = kStaleId; }, ENOENT},
                         {"no such device", [](Arg& a) { a.dev_id = kStaleId; }, ENOENT},
                         {"the device has one", [&](Arg& a) { a.dev_id = vm.device; }, EEXIST},
                         {"the vSID is taken", [](Arg& a) { a.virt_id = 7; }, EEXIST},
                         {"21 bits", [](Arg& a) { a.virt_id = 1 << uapi::kVsidBits; }, EINVAL}});
  // A device has one vDEVICE, on whatever vIOMMU.
  auto again = valid;
  again.viommu_id = NewViommu(vm);
  again.dev_id = vm.device;
  EXPECT_EQ(Call(vm.context, uapi::kIommuVdeviceAlloc, again), -EEXIST);
  auto arg = valid;
  arg.virt_id = (1 << uapi::kVsidBits) - 1;
  EXPECT_EQ(Call(vm.context, uapi::kIommuVdeviceAlloc, arg), 0);
}

TEST_P(KernelApiSuite, SidSlotsOfAVintfRunOut) {
  Vm vm = NewVm();
  const size_t slots = size_t{1} << CmdqvInfo(vm).log2vsids;
  if (under_test().devices().size() <= slots) GTEST_SKIP() << "fewer devices than SID slots";
  const uint32_t viommu = NewViommu(vm);
  uint32_t last = NewVdevice(vm, viommu, 0);
  std::vector<UniqueFd> cdevs;
  auto arg = Sized<uapi::IommuVdeviceAlloc>();
  arg.viommu_id = viommu;
  for (size_t i = 1; i <= slots; ++i) {
    cdevs.push_back(OpenCdev(device(i)));
    arg.dev_id = Bind(cdevs.back(), vm.context);
    arg.virt_id = i;
    EXPECT_EQ(Call(vm.context, uapi::kIommuVdeviceAlloc, arg), i < slots ? 0 : -ENOSPC) << i;
  }
  EXPECT_EQ(Destroy(vm.context, last), 0);
  EXPECT_EQ(Call(vm.context, uapi::kIommuVdeviceAlloc, arg), 0) << "one slot is free again";
}

// tegra241-cmdqv.c, tegra241_cmdqv_init_vintf_user(): the data, then the VINTF.
TEST_P(KernelApiSuite, ViommuDataIsReadBeforeAVintfIsSought) {
  const Vm vm = NewVm();
  for (int i = 0; i < under_test().vintfs(); ++i) NewViommu(vm);
  uapi::IommuViommuTegra241Cmdqv page0 = {};
  using Arg = uapi::IommuViommuAlloc;
  ExpectPrecedence<Arg>(vm.context, uapi::kIommuViommuAlloc, ViommuArg(vm, &page0),
                        {{"no such HWPT", [](Arg& a) { a.hwpt_id = kStaleId; }, ENOENT},
                         {"no data", [](Arg& a) { a.data_len = 0; }, EINVAL},
                         {"unreadable", [](Arg& a) { a.data_uptr = 8; }, EFAULT},
                         {"no VINTF", [](Arg&) {}, ENOSPC}});
  NewPlainViommu(vm);  // needs none
}

TEST_P(KernelApiSuite, VdeviceAllocTakesOnlyItsTypes) {
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  using Arg = uapi::IommuVdeviceAlloc;
  ExpectPrecedence<Arg>(vm.context, uapi::kIommuVdeviceAlloc, VdeviceArg(vm, viommu, 1),
                        {{"not a vIOMMU", [&](Arg& a) { a.viommu_id = vm.device; }, ENOENT},
                         {"not a device", [&](Arg& a) { a.dev_id = viommu; }, ENOENT}});
}

// viommu.c, iommufd_vdevice_alloc_ioctl(): vSIDs are of the vIOMMU, a vDEVICE is of the device.
TEST_P(KernelApiSuite, VsidsAreOfTheirViommu) {
  const Vm vm = NewVm();
  const UniqueFd cdev = OpenCdev(device(1));
  const uint32_t first = NewViommu(vm);
  const uint32_t second = NewViommu(vm);
  const uint32_t vdevice = NewVdevice(vm, first, 7);
  auto other = VdeviceArg(vm, second, 7);
  other.dev_id = Bind(cdev, vm.context);
  EXPECT_EQ(Call(vm.context, uapi::kIommuVdeviceAlloc, other), 0) << "the same vSID elsewhere";
  EXPECT_EQ(Destroy(vm.context, vdevice), 0);
  EXPECT_EQ(NewVdevice(vm, first, 7), vdevice) << "device and vSID are free again";
}

// A vDEVICE that was refused by the driver leaves neither device nor vSID taken.
TEST_P(KernelApiSuite, RefusedVdeviceLeavesNothing) {
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  auto arg = VdeviceArg(vm, viommu, 1 << uapi::kVsidBits);
  EXPECT_EQ(Call(vm.context, uapi::kIommuVdeviceAlloc, arg), -EINVAL);
  EXPECT_EQ(NewVdevice(vm, viommu, 1), viommu + 1);
}

}  // namespace berth::conformance
