// SPDX-License-Identifier: Apache-2.0
//
// vIOMMUs and vDEVICEs. Linux drivers/iommu/iommufd/viommu.c,
// drivers/iommu/arm/arm-smmu-v3/{arm-smmu-v3-iommufd,tegra241-cmdqv}.c.
#include <fcntl.h>

#include <cerrno>

#include "lib/iommufd/mapped_region.h"
#include "tests/conformance/kernel_api_suite.h"

namespace berth::conformance {

// viommu.c, iommufd_viommu_alloc_ioctl(); tegra241-cmdqv.c, tegra241_cmdqv_init_vintf_user().
TEST_P(KernelApiSuite, ViommuAllocChecksInOrder) {
  BERTH_NEEDS(Need::kViommus);
  const Vm vm = NewVm();
  const uint32_t plain_hwpt = NewHwpt(vm, 0);
  ViommuData data = {};
  const auto valid = ViommuArg(vm, &data);
  using Arg = uapi::IommuViommuAlloc;
  std::vector<Fault<Arg>> faults = {
      {"flags", [](Arg& a) { a.flags = 1; }, EOPNOTSUPP},
      {"type 0", [](Arg& a) { a.type = uapi::kViommuTypeDefault; }, EOPNOTSUPP},
      {"no such device", [](Arg& a) { a.dev_id = kStaleId; }, ENOENT},
      {"not a device", [&](Arg& a) { a.dev_id = vm.ioas; }, ENOENT},
      {"unknown type", [](Arg& a) { a.type = 77; }, EOPNOTSUPP},
      {"no such HWPT", [](Arg& a) { a.hwpt_id = kStaleId; }, ENOENT},
      {"not an HWPT", [&](Arg& a) { a.hwpt_id = vm.ioas; }, ENOENT},
      {"no nesting parent", [&](Arg& a) { a.hwpt_id = plain_hwpt; }, EINVAL}};
  if (Has(Need::kCmdqv)) {
    faults.push_back({"shorter data", [](Arg& a) { a.data_len = 8; }, EINVAL});
    faults.push_back({"longer data", [](Arg& a) { a.data_len = 24; }, EINVAL});
  }
  ExpectPrecedence<Arg>(vm.context, uapi::kIommuViommuAlloc, valid, faults);
  auto arg = valid;
  arg.reserved = 1;  // not looked at
  EXPECT_EQ(Call(vm.context, uapi::kIommuViommuAlloc, arg), 0);
}

// arm-smmu-v3-iommufd.c, arm_vsmmu_init().
TEST_P(KernelApiSuite, PlainViommuIgnoresItsData) {
  BERTH_NEEDS(Need::kPlainViommus);
  const Vm vm = NewVm();
  auto arg = ViommuArg(vm, nullptr);
  arg.type = uapi::kViommuTypeArmSmmuv3;
  arg.data_len = 5;
  arg.data_uptr = 1;
  EXPECT_EQ(Call(vm.context, uapi::kIommuViommuAlloc, arg), 0);
}

// arm-smmu-v3-iommufd.c, arm_vsmmu_init(); viommu.c, iommufd_vdevice_alloc_ioctl();
// hw_pagetable.c, iommufd_hwpt_alloc(); arm-smmu-v3.c, arm_smmu_attach_dev().
TEST_P(KernelApiSuite, ParentOfAnotherUnitIsEinval) {
  BERTH_NEEDS(Need::kOtherUnit, Need::kViommus);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  Device there;
  there.cdev = OpenCdev(*machine().other_device);
  there.id = Bind(there.cdev, vm.context);
  ViommuData data = {};
  auto alloc = ViommuArg(vm, &data);
  alloc.dev_id = there.id;
  alloc.data_len = 8;  // checked later
  EXPECT_EQ(Call(vm.context, uapi::kIommuViommuAlloc, alloc), -EINVAL);
  auto vdevice = Sized<uapi::IommuVdeviceAlloc>();
  vdevice.viommu_id = viommu;
  vdevice.dev_id = there.id;
  EXPECT_EQ(Call(vm.context, uapi::kIommuVdeviceAlloc, vdevice), -EINVAL);
  auto nested = NestedArg(vm, viommu);
  nested.dev_id = there.id;
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, nested), -EINVAL);
  nested.flags = uapi::kHwptAllocNestParent;
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, nested), -EINVAL) << "before the flags";
  EXPECT_EQ(Attach(vm.context, there, vm.parent), -EINVAL);
}

// driver.c, _iommufd_alloc_mmap(): from the second page on.
TEST_P(KernelApiSuite, WindowsAreTheFirstThatFit) {
  BERTH_NEEDS(Need::kHwQueues);
  const Vm vm = NewVm();
  ViommuData a = {};
  ViommuData b = {};
  const uint32_t first = NewViommu(vm, &a);
  NewViommu(vm, &b);
  const uint64_t length = Has(Need::kCmdqv) ? kPage0Size : 2 * page();
  EXPECT_EQ(WindowOf(a).offset, page());
  EXPECT_EQ(WindowOf(a).length, length);
  EXPECT_EQ(WindowOf(b).offset, page() + length);
  EXPECT_EQ(Destroy(vm.context, first), 0);
  NewViommu(vm, &a);
  EXPECT_EQ(WindowOf(a).offset, page());
}

// tegra241-cmdqv.c, tegra241_cmdqv_init_vintf(): ida_alloc_max() of the unit.
TEST_P(KernelApiSuite, VintfsOfAUnitAreAPoolAcrossContexts) {
  BERTH_NEEDS(Need::kCmdqv);
  const int all = machine().vintfs;
  EXPECT_EQ(FreeVintfs(), all);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  EXPECT_EQ(FreeVintfs(), all - 1);
  NewPlainViommu(vm);
  EXPECT_EQ(FreeVintfs(), all - 1) << "a plain vIOMMU takes none";
  EXPECT_EQ(Destroy(vm.context, viommu), 0);
  EXPECT_EQ(FreeVintfs(), all);
}

// viommu.c, iommufd_vdevice_alloc_ioctl(); tegra241-cmdqv.c, tegra241_vintf_init_vsid().
TEST_P(KernelApiSuite, VdeviceAllocChecksInOrder) {
  BERTH_NEEDS(Need::kViommus);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  NewVdevice(vm, viommu, 7);
  const Device other = AddDevice(vm.context, 1);
  auto valid = Sized<uapi::IommuVdeviceAlloc>();
  valid.viommu_id = viommu;
  valid.dev_id = other.id;
  valid.virt_id = 8;
  using Arg = uapi::IommuVdeviceAlloc;
  std::vector<Fault<Arg>> faults = {
      {"no such vIOMMU", [](Arg& a) { a.viommu_id = kStaleId; }, ENOENT},
      {"no such device", [](Arg& a) { a.dev_id = kStaleId; }, ENOENT},
      {"the device has one", [&](Arg& a) { a.dev_id = vm.device.id; }, EEXIST},
      {"the vSID is taken", [](Arg& a) { a.virt_id = 7; }, EEXIST}};
  if (Has(Need::kCmdqv)) {
    faults.push_back({"21 bits", [](Arg& a) { a.virt_id = 1 << uapi::kVsidBits; }, EINVAL});
  }
  ExpectPrecedence<Arg>(vm.context, uapi::kIommuVdeviceAlloc, valid, faults);
  // A device has one vDEVICE, on whatever vIOMMU.
  auto again = valid;
  again.viommu_id = NewViommu(vm);
  again.dev_id = vm.device.id;
  EXPECT_EQ(Call(vm.context, uapi::kIommuVdeviceAlloc, again), -EEXIST);
  auto arg = valid;
  arg.virt_id = (1 << uapi::kVsidBits) - 1;
  EXPECT_EQ(Call(vm.context, uapi::kIommuVdeviceAlloc, arg), 0);
}

// tegra241-cmdqv.c, tegra241_vintf_init_vsid(), tegra241_vintf_destroy_vsid().
TEST_P(KernelApiSuite, SidSlotsOfAVintfRunOut) {
  BERTH_NEEDS(Need::kCmdqv);
  Vm vm = NewVm();
  const size_t slots = size_t{1} << CmdqvInfo(vm).log2vsids;
  if (machine().devices.size() <= slots) GTEST_SKIP() << "needs more devices than SID slots";
  const uint32_t viommu = NewViommu(vm);
  uint32_t last = NewVdevice(vm, viommu, 0);
  std::vector<Device> devices;
  auto arg = Sized<uapi::IommuVdeviceAlloc>();
  arg.viommu_id = viommu;
  for (size_t i = 1; i <= slots; ++i) {
    devices.push_back(AddDevice(vm.context, i));
    arg.dev_id = devices.back().id;
    arg.virt_id = i;
    EXPECT_EQ(Call(vm.context, uapi::kIommuVdeviceAlloc, arg), i < slots ? 0 : -ENOSPC) << i;
  }
  using Arg = uapi::IommuVdeviceAlloc;
  ExpectPrecedence<Arg>(vm.context, uapi::kIommuVdeviceAlloc, arg,
                        {{"the device has one", [&](Arg& a) { a.dev_id = vm.device.id; }, EEXIST},
                         {"the vSID is taken", [](Arg& a) { a.virt_id = 0; }, EEXIST},
                         {"21 bits", [](Arg& a) { a.virt_id = 1 << uapi::kVsidBits; }, EINVAL},
                         {"no slot", [](Arg&) {}, ENOSPC}});
  EXPECT_EQ(Destroy(vm.context, last), 0);
  EXPECT_EQ(Call(vm.context, uapi::kIommuVdeviceAlloc, arg), 0) << "one slot is free again";
}

// tegra241-cmdqv.c, tegra241_cmdqv_init_vintf_user(): the data, then the VINTF.
TEST_P(KernelApiSuite, ViommuDataIsReadBeforeAVintfIsSought) {
  BERTH_NEEDS(Need::kCmdqv);
  const Vm vm = NewVm();
  for (int i = 0; i < machine().vintfs; ++i) NewViommu(vm);
  ViommuData data = {};
  using Arg = uapi::IommuViommuAlloc;
  ExpectPrecedence<Arg>(vm.context, uapi::kIommuViommuAlloc, ViommuArg(vm, &data),
                        {{"no such HWPT", [](Arg& a) { a.hwpt_id = kStaleId; }, ENOENT},
                         {"no data", [](Arg& a) { a.data_len = 0; }, EINVAL},
                         {"unreadable", [](Arg& a) { a.data_uptr = 8; }, EFAULT},
                         {"no VINTF", [](Arg&) {}, ENOSPC}});
  NewPlainViommu(vm);  // needs none
}

// viommu.c, iommufd_vdevice_alloc_ioctl(): iommufd_get_viommu(), iommufd_get_device().
TEST_P(KernelApiSuite, VdeviceAllocTakesOnlyItsTypes) {
  BERTH_NEEDS(Need::kViommus);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  using Arg = uapi::IommuVdeviceAlloc;
  ExpectPrecedence<Arg>(vm.context, uapi::kIommuVdeviceAlloc, VdeviceArg(vm, viommu, 1),
                        {{"not a vIOMMU", [&](Arg& a) { a.viommu_id = vm.device.id; }, ENOENT},
                         {"not a device", [&](Arg& a) { a.dev_id = viommu; }, ENOENT}});
}

// viommu.c, iommufd_vdevice_alloc_ioctl(): vSIDs are of the vIOMMU, a vDEVICE is of the device.
TEST_P(KernelApiSuite, VsidsAreOfTheirViommu) {
  BERTH_NEEDS(Need::kViommus);
  const Vm vm = NewVm();
  const Device device = AddDevice(vm.context, 1);
  const uint32_t first = NewViommu(vm);
  const uint32_t second = NewViommu(vm);
  const uint32_t vdevice = NewVdevice(vm, first, 7);
  auto other = VdeviceArg(vm, second, 7);
  other.dev_id = device.id;
  EXPECT_EQ(Call(vm.context, uapi::kIommuVdeviceAlloc, other), 0) << "the same vSID elsewhere";
  EXPECT_EQ(Destroy(vm.context, vdevice), 0);
  EXPECT_EQ(NewVdevice(vm, first, 7), vdevice) << "device and vSID are free again";
}

// viommu.c, iommufd_vdevice_abort(): a vDEVICE that was refused by the driver leaves neither
// device nor vSID taken.
TEST_P(KernelApiSuite, RefusedVdeviceLeavesNothing) {
  BERTH_NEEDS(Need::kCmdqv);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  auto arg = VdeviceArg(vm, viommu, 1 << uapi::kVsidBits);
  EXPECT_EQ(Call(vm.context, uapi::kIommuVdeviceAlloc, arg), -EINVAL);
  EXPECT_EQ(NewVdevice(vm, viommu, 1), viommu + 1);
}

// viommu.c, iommufd_viommu_alloc_ioctl(): get_viommu_size() of the driver, if it has vIOMMUs at
// all: arm-smmu-v3-iommufd.c, arm_smmu_get_viommu_size(); tegra241-cmdqv.c,
// tegra241_cmdqv_get_vintf_size(); selftest.c, mock_get_viommu_size().
TEST_P(KernelApiSuite, ViommuTypesAreTheDrivers) {
  const Vm vm = NewVm();
  using Arg = uapi::IommuViommuAlloc;
  for (const uint32_t type :
       {uapi::kViommuTypeArmSmmuv3, uapi::kViommuTypeTegra241Cmdqv, uapi::kViommuTypeSelftest}) {
    const bool plain = type == uapi::kViommuTypeArmSmmuv3 && Has(Need::kPlainViommus);
    if (plain || (type == types().viommu && Has(Need::kViommus))) continue;
    ViommuData data = {};
    auto arg = ViommuArg(vm, &data);
    arg.type = type;
    ExpectPrecedence<Arg>(
        vm.context, uapi::kIommuViommuAlloc, arg,
        {{"no such device", [](Arg& a) { a.dev_id = kStaleId; }, ENOENT},
         {"the type", [](Arg&) {}, EOPNOTSUPP},
         {"the type before the HWPT", [](Arg& a) { a.hwpt_id = kStaleId; }, EOPNOTSUPP}});
  }
}

// viommu.c, iommufd_vdevice_alloc_ioctl(): the unit before what is taken.
TEST_P(KernelApiSuite, VdeviceOfAnotherUnitIsEinvalFirst) {
  BERTH_NEEDS(Need::kOtherUnit, Need::kViommus);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  NewVdevice(vm, viommu, 7);
  Vm there;
  there.context = UniqueFd(::fcntl(vm.context.get(), F_DUPFD_CLOEXEC, 0));
  there.device = AddDevice(vm.context, *machine().other_device);
  there.ioas = vm.ioas;
  there.parent = NewHwpt(there, uapi::kHwptAllocNestParent);
  NewVdevice(there, NewViommu(there), 7);
  auto arg = VdeviceArg(there, viommu, 7);
  EXPECT_EQ(Call(vm.context, uapi::kIommuVdeviceAlloc, arg), -EINVAL)
      << "the device has a vDEVICE, and the vSID is taken";
}

}  // namespace berth::conformance
