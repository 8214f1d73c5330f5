// SPDX-License-Identifier: Apache-2.0
//
// The orders of BIND, ATTACH and DETACH, and what they do to an address space. Linux
// drivers/iommu/iommufd/device.c, drivers/vfio/{device_cdev,iommufd}.c.
#include <unistd.h>

#include <cerrno>

#include "tests/conformance/kernel_api_suite.h"

namespace berth::conformance {
namespace {

constexpr uint64_t kTranslate[2] = {
    uapi::kSte0Valid.Put(1) | uapi::kSte0Config.Put(uapi::kSteConfigS1Translate), 0};

using AttachArg = uapi::VfioDeviceAttachIommufdPt;

AttachArg PasidArg(uint32_t pt_id, uint32_t pasid) {
  auto arg = Sized<AttachArg>();
  arg.flags = uapi::kVfioAttachFlagPasid;
  arg.pt_id = pt_id;
  arg.pasid = pasid;
  return arg;
}

}  // namespace

// device.c, iommufd_device_do_replace(), err_unresv: a replace that fails takes the device's
// reserved regions out of the target's IOAS, also where that is the one that it stays in.
TEST_P(KernelApiSuite, FailedReplaceOpensTheMsiWindow) {
  BERTH_NEEDS(Need::kSmmu);
  const Vm vm = NewVm();
  const uint32_t translate = NewNested(vm, NewViommu(vm), kTranslate);
  const uint32_t second = NewHwpt(vm, 0);
  ASSERT_EQ(Attach(vm, vm.parent), 0);
  EXPECT_FALSE(MsiWindowIsOpen(vm));
  EXPECT_EQ(Attach(vm, translate), -ENOENT) << "no vDEVICE";
  EXPECT_TRUE(MsiWindowIsOpen(vm));
  EXPECT_EQ(MapFile(vm.context, vm.ioas, vm.memory.get(), page(), uapi::kSwMsiBase), 0);
  EXPECT_EQ(Unmap(vm.context, vm.ioas, uapi::kSwMsiBase, page()), 0);
  EXPECT_EQ(Attach(vm, second), 0);
  EXPECT_TRUE(MsiWindowIsOpen(vm)) << "a replace within the IOAS does not bring it back";
  EXPECT_EQ(Detach(vm), 0);
  EXPECT_EQ(Attach(vm, vm.parent), 0);
  EXPECT_FALSE(MsiWindowIsOpen(vm)) << "an attachment does";
}

// device.c, iommufd_hw_pagetable_attach(), err_unresv; arm-smmu-v3-iommufd.c,
// arm_smmu_attach_prepare_vmaster(): no vSID, no translation.
TEST_P(KernelApiSuite, FailedFirstAttachLeavesTheMsiWindowOpen) {
  BERTH_NEEDS(Need::kSmmu);
  const Vm vm = NewVm();
  const uint32_t translate = NewNested(vm, NewViommu(vm), kTranslate);
  EXPECT_EQ(Attach(vm, translate), -ENOENT);
  EXPECT_TRUE(MsiWindowIsOpen(vm));
  EXPECT_EQ(Destroy(vm.context, translate), 0) << "nothing is attached";
}

// device_cdev.c, vfio_df_ioctl_attach_pt(); vfio/iommufd.c,
// vfio_iommufd_physical_pasid_attach_ioas(): PASID 0 is the RID, in another book.
TEST_P(KernelApiSuite, PasidZeroAttachesTheDeviceItself) {
  BERTH_NEEDS(Need::kCdevs);
  const Vm vm = NewVm();
  auto attach = PasidArg(vm.parent, 0);
  EXPECT_EQ(Call(vm.device.cdev, uapi::kVfioDeviceAttachIommufdPt, attach), 0);
  EXPECT_EQ(MapFile(vm.context, vm.ioas, vm.memory.get(), page(), ReservedIova(machine())),
            -EINVAL);
  EXPECT_EQ(Attach(vm, vm.parent), -EBUSY);
  EXPECT_EQ(Detach(vm), 0) << "of nothing";
  EXPECT_EQ(Destroy(vm.context, vm.parent), -EBUSY);
  auto detach = Sized<uapi::VfioDeviceDetachIommufdPt>();
  detach.flags = uapi::kVfioAttachFlagPasid;
  EXPECT_EQ(Call(vm.device.cdev, uapi::kVfioDeviceDetachIommufdPt, detach), 0);
  EXPECT_EQ(Attach(vm, vm.parent), 0);
}

// device_cdev.c, vfio_df_ioctl_attach_pt(): where the answer cannot be written, what is undone is
// the plain attachment (vfio/iommufd.c, vfio_iommufd_physical_detach_ioas()).
TEST_P(KernelApiSuite, UnwritableAnswerKeepsPasidZero) {
  BERTH_NEEDS(Need::kCdevs);
  const Vm vm = NewVm();
  EXPECT_EQ(CallReadOnly(vm.device.cdev, uapi::kVfioDeviceAttachIommufdPt, PasidArg(vm.parent, 0)),
            -EFAULT);
  EXPECT_EQ(Attach(vm, vm.parent), -EBUSY);
  auto detach = Sized<uapi::VfioDeviceDetachIommufdPt>();
  detach.flags = uapi::kVfioAttachFlagPasid;
  EXPECT_EQ(Call(vm.device.cdev, uapi::kVfioDeviceDetachIommufdPt, detach), 0);
  EXPECT_EQ(Attach(vm, vm.parent), 0);
}

// device_cdev.c, vfio_df_ioctl_attach_pt(); vfio/iommufd.c,
// vfio_iommufd_physical_pasid_attach_ioas(): the PASID is an id of lib/idr.c, ida_alloc_range();
// device.c, iommufd_device_change_pt(), iommufd_hwpt_pasid_compat().
TEST_P(KernelApiSuite, PasidsChecksInOrder) {
  BERTH_NEEDS(Need::kCdevs);
  const Vm vm = NewVm();
  ExpectPrecedence<AttachArg>(
      vm.device.cdev, uapi::kVfioDeviceAttachIommufdPt, PasidArg(vm.parent, 5),
      {{"without room for the PASID", [](AttachArg& a) { a.argsz = 12; }, EINVAL},
       {"unknown flag", [](AttachArg& a) { a.flags |= 2; }, EINVAL},
       {"beyond any PASID", [](AttachArg& a) { a.pasid = uint32_t{1} << 31; }, ENOSPC},
       {"no such page table", [](AttachArg& a) { a.pt_id = kStaleId; }, ENOENT},
       {"a page table without PASIDs", [](AttachArg&) {}, EINVAL}});
  for (const uint32_t target : {vm.ioas, vm.device.id, NewHwpt(vm, 0)}) {
    auto arg = PasidArg(target, 5);
    EXPECT_EQ(Call(vm.device.cdev, uapi::kVfioDeviceAttachIommufdPt, arg), -EINVAL) << target;
  }
  auto detach = Sized<uapi::VfioDeviceDetachIommufdPt>();
  detach.flags = uapi::kVfioAttachFlagPasid;
  detach.pasid = 5;
  EXPECT_EQ(Call(vm.device.cdev, uapi::kVfioDeviceDetachIommufdPt, detach), 0) << "of nothing";
  EXPECT_EQ(Destroy(vm.context, vm.parent), 0) << "no attempt has left anything";
}

// device_cdev.c, vfio_df_ioctl_attach_pt(), vfio_df_ioctl_detach_pt(): VFIO reads what it knows,
// and leaves the rest alone.
TEST_P(KernelApiSuite, AttachIgnoresATail) {
  BERTH_NEEDS(Need::kCdevs);
  const Vm vm = NewVm();
  Tailed<AttachArg> attach = {{}, 1};
  attach.arg.argsz = sizeof(attach);
  attach.arg.pt_id = vm.parent;
  EXPECT_EQ(Call(vm.device.cdev, uapi::kVfioDeviceAttachIommufdPt, attach), 0);
  EXPECT_EQ(attach.arg.pt_id, vm.parent) << "what is attached now";
  Tailed<uapi::VfioDeviceDetachIommufdPt> detach = {{}, 1};
  detach.arg.argsz = sizeof(detach);
  EXPECT_EQ(Call(vm.device.cdev, uapi::kVfioDeviceDetachIommufdPt, detach), 0);
  detach.arg.argsz = 7;
  EXPECT_EQ(Call(vm.device.cdev, uapi::kVfioDeviceDetachIommufdPt, detach), -EINVAL);
  detach.arg.argsz = sizeof(detach);
  detach.arg.flags = 2;
  EXPECT_EQ(Call(vm.device.cdev, uapi::kVfioDeviceDetachIommufdPt, detach), -EINVAL);
}

// device.c, iommufd_device_auto_get_domain(); iommufd_private.h, iommufd_hw_pagetable_put(): it
// goes with its last device.
TEST_P(KernelApiSuite, DevicesOfAnIoasShareItsAutomaticHwpt) {
  const Vm vm = NewVm();
  const Device other = AddDevice(vm.context, 1);
  uint32_t first = 0;
  uint32_t second = 0;
  ASSERT_EQ(Attach(vm, vm.ioas, &first), 0);
  ASSERT_EQ(Attach(vm.context, other, vm.ioas, &second), 0);
  EXPECT_EQ(first, second);
  EXPECT_EQ(Detach(vm), 0);
  EXPECT_EQ(Destroy(vm.context, first), -EBUSY) << "the second is there";
  EXPECT_EQ(Attach(vm.context, other, vm.parent), 0) << "a replace";
  EXPECT_EQ(Destroy(vm.context, first), -ENOENT) << "it went with the second";
}

// device.c, iommufd_device_auto_get_domain(): an automatic HWPT that cannot be used is destroyed;
// io_pagetable.c, iopt_table_add_domain(), iopt_table_enforce_dev_resv_regions().
TEST_P(KernelApiSuite, RefusedAttachLeavesNothing) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const UniqueFd pipe(ends[0]);
  const UniqueFd pipe_write(ends[1]);
  const Vm vm = NewVm();
  const uint32_t ioas = NewIoas(vm.context);
  ASSERT_EQ(MapFile(vm.context, ioas, pipe.get(), page(), kHoleIova), 0);
  EXPECT_EQ(Attach(vm, ioas), -EINVAL) << "its pages cannot be pinned";
  EXPECT_EQ(Unmap(vm.context, ioas, kHoleIova, page()), 0);
  ASSERT_EQ(MapFile(vm.context, ioas, vm.memory.get(), page(), ReservedIova(machine())), 0);
  EXPECT_EQ(Attach(vm, ioas), -EADDRINUSE);
  EXPECT_EQ(Destroy(vm.context, ioas), 0) << "no automatic HWPT is left";
  EXPECT_EQ(NewIoas(vm.context), ioas) << "nor an id taken";
  EXPECT_EQ(Attach(vm, vm.parent), 0);
}

// device.c, iommufd_device_do_replace(), iommufd_group_do_replace_reserved_iova(): what is refused
// before anything is done leaves the old attachment.
TEST_P(KernelApiSuite, RefusedReplaceKeepsTheAttachment) {
  Vm vm = NewVm();
  ASSERT_EQ(Attach(vm, vm.parent), 0);
  const uint32_t ioas = NewIoas(vm.context);
  ASSERT_EQ(MapFile(vm.context, ioas, vm.memory.get(), page(), ReservedIova(machine())), 0);
  EXPECT_EQ(Attach(vm, ioas), -EADDRINUSE);
  EXPECT_EQ(Attach(vm, kStaleId), -ENOENT);
  EXPECT_EQ(Attach(vm, vm.device.id), -EINVAL);
  EXPECT_EQ(Destroy(vm.context, vm.parent), -EBUSY);
  EXPECT_EQ(MapFile(vm.context, vm.ioas, vm.memory.get(), page(), ReservedIova(machine())),
            -EINVAL);
  EXPECT_EQ(Destroy(vm.context, ioas), 0);
}

// device.c, iommufd_group_do_replace_reserved_iova(), iommufd_group_remove_reserved_iova(): to
// another IOAS the window moves along.
TEST_P(KernelApiSuite, ReplaceMovesTheMsiWindow) {
  BERTH_NEEDS(Need::kSmmu);
  Vm vm = NewVm();
  ASSERT_EQ(Attach(vm, vm.parent), 0);
  const uint32_t old = vm.ioas;
  vm.ioas = NewIoas(vm.context);
  EXPECT_TRUE(MsiWindowIsOpen(vm));
  EXPECT_EQ(Attach(vm, vm.ioas), 0);
  EXPECT_FALSE(MsiWindowIsOpen(vm));
  vm.ioas = old;
  EXPECT_TRUE(MsiWindowIsOpen(vm));
  EXPECT_EQ(Destroy(vm.context, vm.parent), 0);
}

// device_cdev.c, vfio_df_check_token(), which vfio_df_ioctl_bind_iommufd() calls before it looks
// at the fd; vfio_pci_core.c, vfio_pci_core_match_token_uuid(): the suite's devices have no use for
// one, as they are neither VFs nor have any.
TEST_P(KernelApiSuite, BindReadsTheTokenFirst) {
  BERTH_NEEDS(Need::kCdevs);
  const UniqueFd cdev = OpenCdev(device(0));
  auto arg = Sized<uapi::VfioDeviceBindIommufd>();
  arg.flags = uapi::kVfioBindFlagToken;
  arg.iommufd = 1 << 20;
  EXPECT_EQ(Call(cdev, uapi::kVfioDeviceBindIommufd, arg), -EFAULT);
  const uint8_t token[16] = {};
  arg.token_uuid_ptr = reinterpret_cast<uint64_t>(token);
  EXPECT_EQ(Call(cdev, uapi::kVfioDeviceBindIommufd, arg), -EINVAL);
  arg.flags = 0;
  arg.token_uuid_ptr = 8;  // not read without the flag
  EXPECT_EQ(Call(cdev, uapi::kVfioDeviceBindIommufd, arg), -EBADF);
}

// device_cdev.c, vfio_device_fops_cdev_open(): a device has any number of opens; vfio_main.c,
// vfio_device_fops_unl_ioctl(): one that is not bound answers nothing but BIND.
TEST_P(KernelApiSuite, UnboundCdevsAreIndependent) {
  BERTH_NEEDS(Need::kCdevs);
  const UniqueFd context = NewContext();
  const UniqueFd first = OpenCdev(device(0));
  UniqueFd second = OpenCdev(device(0));
  second.Reset();
  second = OpenCdev(device(0));
  EXPECT_EQ(Bind(second, context), 1U);
  auto attach = Sized<AttachArg>();
  attach.pt_id = 1;
  EXPECT_EQ(Call(first, uapi::kVfioDeviceAttachIommufdPt, attach), -EINVAL) << "the other is bound";
}

}  // namespace berth::conformance
