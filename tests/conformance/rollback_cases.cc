// SPDX-License-Identifier: Apache-2.0
//
// Answers that cannot be written. Linux drivers/iommu/iommufd/main.c: iommufd_fops_ioctl() aborts
// what the call allocated when its iommufd_ucmd_respond() is EFAULT; calls that allocate nothing
// have happened by then.
#include <cerrno>

#include "tests/conformance/kernel_api_suite.h"

namespace berth::conformance {

// ioas.c, iommufd_ioas_alloc_ioctl(); hw_pagetable.c, iommufd_hwpt_alloc(); eventq.c,
// iommufd_fault_alloc(): iommufd_ucmd_respond() fails, and the object is aborted.
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

// main.c, iommufd_fops_ioctl(): iommufd_object_abort_and_destroy() of ucmd.new_obj;
// tegra241-cmdqv.c, tegra241_cmdqv_init_vintf_user(), tegra241_cmdqv_destroy_vintf_user().
TEST_P(KernelApiSuite, UnwritableAnswerTakesBackTheViommu) {
  BERTH_NEEDS(Need::kCmdqv);
  const int all = FreeVintfs();
  const Vm vm = NewVm();
  ViommuData data = {};
  EXPECT_EQ(CallReadOnly(vm.context, uapi::kIommuViommuAlloc, ViommuArg(vm, &data)), -EFAULT);
  // tegra241-cmdqv.c, tegra241_cmdqv_init_vintf_user(): the page0 window cannot be told.
  const ReadOnly<uapi::IommuViommuTegra241Cmdqv> unwritable(data.cmdqv);
  auto arg = ViommuArg(vm, &data);
  arg.data_uptr = reinterpret_cast<uint64_t>(unwritable.get());
  EXPECT_EQ(Call(vm.context, uapi::kIommuViommuAlloc, arg), -EFAULT);
  arg.data_uptr = 0;
  EXPECT_EQ(Call(vm.context, uapi::kIommuViommuAlloc, arg), -EFAULT);
  EXPECT_EQ(FreeVintfs(), all) << "every VINTF is free again";
  EXPECT_EQ(NewViommu(vm, &data), vm.parent + 1);
  EXPECT_EQ(WindowOf(data).offset, page()) << "and so is the window";
}

// viommu.c, iommufd_vdevice_alloc_ioctl(); main.c, iommufd_fops_ioctl(), for HW queues and HWPTs;
// eventq.c, iommufd_veventq_alloc().
TEST_P(KernelApiSuite, UnwritableAnswerTakesBackWhatHangsOnTheViommu) {
  BERTH_NEEDS(Need::kHwQueues);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  EXPECT_EQ(CallReadOnly(vm.context, uapi::kIommuVdeviceAlloc, VdeviceArg(vm, viommu, 7)), -EFAULT);
  EXPECT_EQ(CallReadOnly(vm.context, uapi::kIommuHwQueueAlloc, HwQueueArg(viommu, 0)), -EFAULT);
  EXPECT_EQ(CallReadOnly(vm.context, uapi::kIommuHwptAlloc, NestedArg(vm, viommu)), -EFAULT);
  const auto events = VeventqArg(viommu, types().veventq);
  EXPECT_EQ(CallReadOnly(vm.context, uapi::kIommuVeventqAlloc, events), -EFAULT);
  EXPECT_EQ(Unmap(vm.context, vm.ioas, kMemoryIova, kMemorySize), 0) << "no page is pinned";
  EXPECT_EQ(MapFile(vm.context, vm.ioas, vm.memory.get(), kMemorySize, kMemoryIova), 0);
  // Device, vSID, index and event type are free again, and so are the ids.
  const uint32_t vdevice = NewVdevice(vm, viommu, 7);
  EXPECT_EQ(vdevice, viommu + 1);
  EXPECT_EQ(NewHwQueue(vm, viommu, 0), vdevice + 1);
  NewVeventq(vm, viommu, types().veventq);
}

// ioas.c, iommufd_ioas_map_file(), iommufd_ioas_copy(), iommufd_ioas_unmap().
TEST_P(KernelApiSuite, UnwritableAnswerDoesNotUndoMappings) {
  const UniqueFd context = NewContext();
  const uint32_t ioas = NewIoas(context);
  const UniqueFd memory = NewMemory(kMemorySize);
  // ioas.c, iommufd_ioas_map_file(), iommufd_ioas_copy(), iommufd_ioas_unmap().
  EXPECT_EQ(CallReadOnly(context, uapi::kIommuIoasMapFile, MapFileArg(ioas, memory.get())),
            -EFAULT);
  EXPECT_EQ(MapFile(context, ioas, memory.get(), page(), kHoleIova), -EEXIST) << "it is mapped";
  auto copy = Sized<uapi::IommuIoasCopy>();
  copy.flags = uapi::kIoasMapFixedIova | uapi::kIoasMapReadable;
  copy.dst_ioas_id = copy.src_ioas_id = ioas;
  copy.length = page();
  copy.src_iova = kHoleIova;
  copy.dst_iova = kMemoryIova;
  EXPECT_EQ(CallReadOnly(context, uapi::kIommuIoasCopy, copy), -EFAULT);
  EXPECT_EQ(Unmap(context, ioas, kMemoryIova, page()), 0) << "it was copied";
  auto unmap = Sized<uapi::IommuIoasUnmap>();
  unmap.ioas_id = ioas;
  unmap.iova = kHoleIova;
  unmap.length = page();
  EXPECT_EQ(CallReadOnly(context, uapi::kIommuIoasUnmap, unmap), -EFAULT);
  EXPECT_EQ(Unmap(context, ioas, kHoleIova, page()), -ENOENT) << "it is unmapped";
}

// drivers/vfio/device_cdev.c, vfio_df_ioctl_bind_iommufd(), vfio_df_ioctl_attach_pt().
TEST_P(KernelApiSuite, UnwritableAnswerUndoesBindAndAttach) {
  BERTH_NEEDS(Need::kCdevs);
  const UniqueFd context = NewContext();
  Vm vm;
  vm.device.cdev = OpenCdev(device(0));
  auto bind = Sized<uapi::VfioDeviceBindIommufd>();
  bind.iommufd = context.get();
  // drivers/vfio/device_cdev.c, vfio_df_ioctl_bind_iommufd(), vfio_df_ioctl_attach_pt().
  EXPECT_EQ(CallReadOnly(vm.device.cdev, uapi::kVfioDeviceBindIommufd, bind), -EFAULT);
  EXPECT_EQ(Bind(vm.device.cdev, context), 1U) << "it is not bound, and its id is free";
  const uint32_t ioas = NewIoas(context);
  auto attach = Sized<uapi::VfioDeviceAttachIommufdPt>();
  attach.pt_id = ioas;
  EXPECT_EQ(CallReadOnly(vm.device.cdev, uapi::kVfioDeviceAttachIommufdPt, attach), -EFAULT);
  EXPECT_EQ(Destroy(context, ioas), 0) << "nothing is attached, the automatic HWPT is gone";
}

}  // namespace berth::conformance
