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
  const Vm vm = NewVm();
  const uint32_t translate = NewNested(vm, NewViommu(vm), kTranslate);
  const uint32_t second = NewHwpt(vm, 0);
  ASSERT_EQ(Attach(vm.cdev, vm.parent), 0);
  EXPECT_FALSE(MsiWindowIsOpen(vm));
  EXPECT_EQ(Attach(vm.cdev, translate), -ENOENT) << "no vDEVICE";
  EXPECT_TRUE(MsiWindowIsOpen(vm));
  EXPECT_EQ(MapFile(vm.context, vm.ioas, vm.memory.get(), kPage, uapi::kSwMsiBase), 0);
  EXPECT_EQ(Unmap(vm.context, vm.ioas, uapi::kSwMsiBase, kPage), 0);
  EXPECT_EQ(Attach(vm.cdev, second), 0);
  EXPECT_TRUE(MsiWindowIsOpen(vm)) << "a replace within the IOAS does not bring it back";
  EXPECT_EQ(Detach(vm.cdev), 0);
  EXPECT_EQ(Attach(vm.cdev, vm.parent), 0);
  EXPECT_FALSE(MsiWindowIsOpen(vm)) << "an attachment does";
}

TEST_P(KernelApiSuite, FailedFirstAttachLeavesTheMsiWindowOpen) {
  const Vm vm = NewVm();
  const uint32_t translate = NewNested(vm, NewViommu(vm), kTranslate);
  EXPECT_EQ(Attach(vm.cdev, translate), -ENOENT);
  EXPECT_TRUE(MsiWindowIsOpen(vm));
  EXPECT_EQ(Destroy(vm.context, translate), 0) << "nothing is attached";
}

// device_cdev.c, vfio_df_ioctl_attach_pt(): PASID 0 is the RID, in another book.
TEST_P(KernelApiSuite, PasidZeroAttachesTheDeviceItself) {
  const Vm vm = NewVm();
  auto attach = PasidArg(vm.parent, 0);
  EXPECT_EQ(Call(vm.cdev, uapi::kVfioDeviceAttachIommufdPt, attach), 0);
  EXPECT_FALSE(MsiWindowIsOpen(vm));
  EXPECT_EQ(Attach(vm.cdev, vm.parent), -EBUSY);
  EXPECT_EQ(Detach(vm.cdev), 0) << "of nothing";
  EXPECT_EQ(Destroy(vm.context, vm.parent), -EBUSY);
  auto detach = Sized<uapi::VfioDeviceDetachIommufdPt>();
  detach.flags = uapi::kVfioAttachFlagPasid;
  EXPECT_EQ(Call(vm.cdev, uapi::kVfioDeviceDetachIommufdPt, detach), 0);
  EXPECT_EQ(Attach(vm.cdev, vm.parent), 0);
}

TEST_P(KernelApiSuite, PasidsChecksInOrder) {
  const Vm vm = NewVm();
  ExpectPrecedence<AttachArg>(
      vm.cdev, uapi::kVfioDeviceAttachIommufdPt, PasidArg(vm.parent, 5),
      {{"without room for the PASID", [](AttachArg& a) { a.argsz = 12; }, EINVAL},
       {"unknown flag", [](AttachArg& a) { a.flags |= 2; }, EINVAL},
       {"no such page table", [](AttachArg& a) { a.pt_id = kStaleId; }, ENOENT},
       {"a device without PASIDs", [](AttachArg&) {}, EINVAL}});
}

// device_cdev.c: VFIO reads what it knows, and leaves the rest alone.
TEST_P(KernelApiSuite, AttachIgnoresATail) {
  const Vm vm = NewVm();
  Tailed<AttachArg> attach = {{}, 1};
  attach.arg.argsz = sizeof(attach);
  attach.arg.pt_id = vm.parent;
  EXPECT_EQ(Call(vm.cdev, uapi::kVfioDeviceAttachIommufdPt, attach), 0);
  EXPECT_EQ(attach.arg.pt_id, vm.parent) << "what is attached now";
  Tailed<uapi::VfioDeviceDetachIommufdPt> detach = {{}, 1};
  detach.arg.argsz = sizeof(detach);
  EXPECT_EQ(Call(vm.cdev, uapi::kVfioDeviceDetachIommufdPt, detach), 0);
  detach.arg.argsz = 7;
  EXPECT_EQ(Call(vm.cdev, uapi::kVfioDeviceDetachIommufdPt, detach), -EINVAL);
  detach.arg.argsz = sizeof(detach);
  detach.arg.flags = 2;
  EXPECT_EQ(Call(vm.cdev, uapi::kVfioDeviceDetachIommufdPt, detach), -EINVAL);
}

// device.c, iommufd_device_auto_get_domain().
TEST_P(KernelApiSuite, DevicesOfAnIoasShareItsAutomaticHwpt) {
  const Vm vm = NewVm();
  const UniqueFd cdev = OpenCdev(device(1));
  Bind(cdev, vm.context);
  auto first = Sized<AttachArg>();
  first.pt_id = vm.ioas;
  auto second = first;
  ASSERT_EQ(Call(vm.cdev, uapi::kVfioDeviceAttachIommufdPt, first), 0);
  ASSERT_EQ(Call(cdev, uapi::kVfioDeviceAttachIommufdPt, second), 0);
  EXPECT_EQ(first.pt_id, second.pt_id);
  EXPECT_EQ(Detach(vm.cdev), 0);
  EXPECT_EQ(Destroy(vm.context, first.pt_id), -EBUSY) << "the second is there";
  EXPECT_EQ(Attach(cdev, vm.parent), 0) << "a replace";
  EXPECT_EQ(Destroy(vm.context, first.pt_id), -ENOENT) << "it went with the second";
}

// device.c, iommufd_hw_pagetable_attach(): all or nothing.
TEST_P(KernelApiSuite, RefusedAttachLeavesNothing) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const UniqueFd pipe(ends[0]);
  const UniqueFd pipe_write(ends[1]);
  const Vm vm = NewVm();
  const uint32_t ioas = NewIoas(vm.context);
  ASSERT_EQ(MapFile(vm.context, ioas, pipe.get(), kPage, kHoleIova), 0);
  EXPECT_EQ(Attach(vm.cdev, ioas), -EINVAL) << "its pages cannot be pinned";
  EXPECT_EQ(Unmap(vm.context, ioas, kHoleIova, kPage), 0);
  ASSERT_EQ(MapFile(vm.context, ioas, vm.memory.get(), kPage, uapi::kSwMsiBase), 0);
  EXPECT_EQ(Attach(vm.cdev, ioas), -EADDRINUSE);
  EXPECT_EQ(Destroy(vm.context, ioas), 0) << "no automatic HWPT is left";
  EXPECT_EQ(NewIoas(vm.context), ioas) << "nor an id taken";
  EXPECT_EQ(Attach(vm.cdev, vm.parent), 0);
}

// A replace that is refused before anything is done leaves the old attachment.
TEST_P(KernelApiSuite, RefusedReplaceKeepsTheAttachment) {
  Vm vm = NewVm();
  ASSERT_EQ(Attach(vm.cdev, vm.parent), 0);
  const uint32_t ioas = NewIoas(vm.context);
  ASSERT_EQ(MapFile(vm.context, ioas, vm.memory.get(), kPage, uapi::kSwMsiBase), 0);
  EXPECT_EQ(Attach(vm.cdev, ioas), -EADDRINUSE);
  EXPECT_EQ(Attach(vm.cdev, kStaleId), -ENOENT);
  EXPECT_EQ(Attach(vm.cdev, vm.device), -EINVAL);
  EXPECT_EQ(Destroy(vm.context, vm.parent), -EBUSY);
  EXPECT_FALSE(MsiWindowIsOpen(vm));
  EXPECT_EQ(Destroy(vm.context, ioas), 0);
}

// Another IOAS: the window moves along.
TEST_P(KernelApiSuite, ReplaceMovesTheMsiWindow) {
  Vm vm = NewVm();
  ASSERT_EQ(Attach(vm.cdev, vm.parent), 0);
  const uint32_t old = vm.ioas;
  vm.ioas = NewIoas(vm.context);
  EXPECT_TRUE(MsiWindowIsOpen(vm));
  EXPECT_EQ(Attach(vm.cdev, vm.ioas), 0);
  EXPECT_FALSE(MsiWindowIsOpen(vm));
  vm.ioas = old;
  EXPECT_TRUE(MsiWindowIsOpen(vm));
  EXPECT_EQ(Destroy(vm.context, vm.parent), 0);
}

// device_cdev.c, vfio_df_ioctl_bind_iommufd(): the token is read before the fd is looked at.
TEST_P(KernelApiSuite, BindReadsTheTokenFirst) {
  const UniqueFd cdev = OpenCdev(device(0));
  auto arg = Sized<uapi::VfioDeviceBindIommufd>();
  arg.flags = uapi::kVfioBindFlagToken;
  arg.iommufd = 1 << 20;
  EXPECT_EQ(Call(cdev, uapi::kVfioDeviceBindIommufd, arg), -EFAULT);
  const uint8_t token[16] = {};
  arg.token_uuid_ptr = reinterpret_cast<uint64_t>(token);
  EXPECT_EQ(Call(cdev, uapi::kVfioDeviceBindIommufd, arg), -EBADF);
  arg.flags = 0;
  arg.token_uuid_ptr = 8;  // not read without the flag
  EXPECT_EQ(Call(cdev, uapi::kVfioDeviceBindIommufd, arg), -EBADF);
}

// device_cdev.c, vfio_device_fops_cdev_open(): a device has any number of opens.
TEST_P(KernelApiSuite, UnboundCdevsAreIndependent) {
  const UniqueFd context = NewContext();
  const UniqueFd first = OpenCdev(device(0));
  UniqueFd second = OpenCdev(device(0));
  second.Reset();
  second = OpenCdev(device(0));
  EXPECT_EQ(Bind(second, context), 1U);
  EXPECT_EQ(Attach(first, 1), -EINVAL) << "another open is bound";
  EXPECT_EQ(Detach(first), -EINVAL);
}

}  // namespace berth::conformance
