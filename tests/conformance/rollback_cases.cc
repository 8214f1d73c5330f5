// SPDX-License-Identifier: Apache-2.0
//
// Answers that cannot be written. Linux drivers/iommu/iommufd/main.c: iommufd_fops_ioctl() aborts
// what the call allocated when its iommufd_ucmd_respond() is EFAULT; calls that allocate nothing
// have happened by then.
#include <cerrno>

#include "tests/conformance/kernel_api_suite.h"

namespace berth::conformance {

TEST_P(KernelApiSuite, UnwritableAnswerTakesBackIoasHwptAndFaultQueue) {
  const Vm vm = NewVm();
  auto ioas = Sized<uapi::IommuIoasAlloc>();
  EXPECT_EQ(CallReadOnly(vm.context, uapi::kIommuIoasAlloc, ioas), -EFAULT);
  EXPECT_EQ(CallReadOnly(vm.context, uapi::kIommuHwptAlloc, PagingArg(vm, 0)), -EFAULT);
  auto fault = Sized<uapi::IommuFaultAlloc>();
  EXPECT_EQ(CallReadOnly(vm.context, uapi::kIommuFaultQueueAlloc, fault), -EFAULT);
  EXPECT_EQ(NewIoas(vm.context), vm.parent + 1) << "no id is taken";
  EXPECT_EQ(Destroy(vm.context, vm.parent), 0);
  EXPECT_EQ(Destroy(vm.context, vm.ioas), 0) << "no HWPT is left on it";
}

TEST_P(KernelApiSuite, UnwritableAnswerTakesBackTheViommu) {
  const int all = FreeVintfs();
  const Vm vm = NewVm();
  uapi::IommuViommuTegra241Cmdqv page0 = {};
  EXPECT_EQ(CallReadOnly(vm.context, uapi::kIommuViommuAlloc, ViommuArg(vm, &page0)), -EFAULT);
  // tegra241-cmdqv.c, tegra241_cmdqv_init_vintf_user(): the page0 window cannot be told.
  const ReadOnly<uapi::IommuViommuTegra241Cmdqv> unwritable(page0);
  auto arg = ViommuArg(vm, &page0);
  arg.data_uptr = reinterpret_cast<uint64_t>(unwritable.get());
  EXPECT_EQ(Call(vm.context, uapi::kIommuViommuAlloc, arg), -EFAULT);
  arg.data_uptr = 0;
  EXPECT_EQ(Call(vm.context, uapi::kIommuViommuAlloc, arg), -EFAULT);
  EXPECT_EQ(FreeVintfs(), all) << "every VINTF is free again";
  EXPECT_EQ(NewViommu(vm, &page0), vm.parent + 1);
  EXPECT_EQ(page0.out_vintf_mmap_offset, 0x1000U) << "and so is the window";
}

TEST_P(KernelApiSuite, UnwritableAnswerTakesBackWhatHangsOnTheViommu) {
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  EXPECT_EQ(CallReadOnly(vm.context, uapi::kIommuVdeviceAlloc, VdeviceArg(vm, viommu, 7)), -EFAULT);
  EXPECT_EQ(CallReadOnly(vm.context, uapi::kIommuHwQueueAlloc, HwQueueArg(viommu, 0)), -EFAULT);
  EXPECT_EQ(CallReadOnly(vm.context, uapi::kIommuHwptAlloc, NestedArg(vm, viommu, uapi::kSteAbort)),
            -EFAULT);
  const auto events = VeventqArg(viommu, uapi::kVeventqTypeTegra241Cmdqv);
  EXPECT_EQ(CallReadOnly(vm.context, uapi::kIommuVeventqAlloc, events), -EFAULT);
  EXPECT_EQ(Unmap(vm.context, vm.ioas, kMemoryIova, kMemorySize), 0) << "no page is pinned";
  EXPECT_EQ(MapFile(vm.context, vm.ioas, vm.memory.get(), kMemorySize, kMemoryIova), 0);
  // Device, vSID, index and event type are free again, and so are the ids.
  const uint32_t vdevice = NewVdevice(vm, viommu, 7);
  EXPECT_EQ(vdevice, viommu + 1);
  EXPECT_EQ(NewHwQueue(vm, viommu, 0), vdevice + 1);
  NewVeventq(vm, viommu, uapi::kVeventqTypeTegra241Cmdqv);
}

TEST_P(KernelApiSuite, UnwritableAnswerDoesNotUndoMappings) {
  const UniqueFd context = NewContext();
  const uint32_t ioas = NewIoas(context);
  const UniqueFd memory = NewMemory(kMemorySize);
  // ioas.c, iommufd_ioas_map_file(), iommufd_ioas_copy(), iommufd_ioas_unmap().
  EXPECT_EQ(CallReadOnly(context, uapi::kIommuIoasMapFile, MapFileArg(ioas, memory.get())),
            -EFAULT);
  EXPECT_EQ(MapFile(context, ioas, memory.get(), kPage, kHoleIova), -EEXIST) << "it is mapped";
  auto copy = Sized<uapi::IommuIoasCopy>();
  copy.flags = uapi::kIoasMapFixedIova | uapi::kIoasMapReadable;
  copy.dst_ioas_id = copy.src_ioas_id = ioas;
  copy.length = kPage;
  copy.src_iova = kHoleIova;
  copy.dst_iova = kMemoryIova;
  EXPECT_EQ(CallReadOnly(context, uapi::kIommuIoasCopy, copy), -EFAULT);
  EXPECT_EQ(Unmap(context, ioas, kMemoryIova, kPage), 0) << "it was copied";
  auto unmap = Sized<uapi::IommuIoasUnmap>();
  unmap.ioas_id = ioas;
  unmap.iova = kHoleIova;
  unmap.length = kPage;
  EXPECT_EQ(CallReadOnly(context, uapi::kIommuIoasUnmap, unmap), -EFAULT);
  EXPECT_EQ(Unmap(context, ioas, kHoleIova, kPage), -ENOENT) << "it is unmapped";
}

TEST_P(KernelApiSuite, UnwritableAnswerUndoesBindAndAttach) {
  const UniqueFd context = NewContext();
  Vm vm;
  vm.cdev = OpenCdev(device(0));
  auto bind = Sized<uapi::VfioDeviceBindIommufd>();
  bind.iommufd = context.get();
  // drivers/vfio/device_cdev.c, vfio_df_ioctl_bind_iommufd(), vfio_df_ioctl_attach_pt().
  EXPECT_EQ(CallReadOnly(vm.cdev, uapi::kVfioDeviceBindIommufd, bind), -EFAULT);
  EXPECT_EQ(Bind(vm.cdev, context), 1U) << "it is not bound, and its id is free";
  const uint32_t ioas = NewIoas(context);
  auto attach = Sized<uapi::VfioDeviceAttachIommufdPt>();
  attach.pt_id = ioas;
  EXPECT_EQ(CallReadOnly(vm.cdev, uapi::kVfioDeviceAttachIommufdPt, attach), -EFAULT);
  EXPECT_EQ(Destroy(context, ioas), 0) << "nothing is attached, the automatic HWPT is gone";
}

}  // namespace berth::conformance
