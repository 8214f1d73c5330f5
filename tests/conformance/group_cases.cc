// SPDX-License-Identifier: Apache-2.0
//
// Devices that share an IOMMU group: one owner, one attachment. Linux drivers/iommu/iommu.c,
// drivers/iommu/iommufd/device.c, drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3-iommufd.c.
#include <cerrno>

#include "tests/conformance/kernel_api_suite.h"

namespace berth::conformance {
namespace {

constexpr uint64_t kTranslate[2] = {
    uapi::kSte0Valid.Put(1) | uapi::kSte0Config.Put(uapi::kSteConfigS1Translate), 0};

}  // namespace

// iommu.c, iommu_device_claim_dma_owner(): a group has one owner, and iommufd owns as a context.
TEST_P(KernelApiSuite, GroupBelongsToOneContext) {
  BERTH_NEEDS(Need::kSharedGroup);
  const UniqueFd context = NewContext();
  const UniqueFd stranger = NewContext();
  UniqueFd first = OpenCdev(machine().group[0]);
  UniqueFd second = OpenCdev(machine().group[1]);
  EXPECT_EQ(Bind(first, context), 1U);
  auto bind = Sized<uapi::VfioDeviceBindIommufd>();
  bind.iommufd = stranger.get();
  EXPECT_EQ(Call(second, uapi::kVfioDeviceBindIommufd, bind), -EPERM);
  EXPECT_EQ(NewIoas(stranger), 1U) << "no id was taken";
  EXPECT_EQ(Bind(second, context), 2U);
  first = OpenCdev(machine().group[0]);
  EXPECT_EQ(Call(first, uapi::kVfioDeviceBindIommufd, bind), -EPERM) << "the other is bound";
  second = OpenCdev(machine().group[1]);
  EXPECT_EQ(Call(first, uapi::kVfioDeviceBindIommufd, bind), 0) << "nobody owned the group";
  bind.iommufd = context.get();
  EXPECT_EQ(Call(second, uapi::kVfioDeviceBindIommufd, bind), -EPERM);
}

// iommu.c, iommu_device_release_dma_owner(), which iommufd_device_destroy() calls: the cdev owns,
// not the context's fd.
TEST_P(KernelApiSuite, GroupIsOwnedUntilItsLastCdevIsClosed) {
  BERTH_NEEDS(Need::kSharedGroup);
  const UniqueFd stranger = NewContext();
  UniqueFd context = NewContext();
  UniqueFd first = OpenCdev(machine().group[0]);
  EXPECT_EQ(Bind(first, context), 1U);
  context.Reset();
  const UniqueFd second = OpenCdev(machine().group[1]);
  auto bind = Sized<uapi::VfioDeviceBindIommufd>();
  bind.iommufd = stranger.get();
  EXPECT_EQ(Call(second, uapi::kVfioDeviceBindIommufd, bind), -EPERM);
  first.Reset();
  EXPECT_EQ(Call(second, uapi::kVfioDeviceBindIommufd, bind), 0);
}

// device.c, iommufd_hw_pagetable_attach(): who comes second gets what the group has, and nothing
// else.
TEST_P(KernelApiSuite, GroupHasOneAttachment) {
  BERTH_NEEDS(Need::kSharedGroup);
  const GroupVm group = NewGroupVm();
  const Vm& vm = group.vm;
  const Device& mate = group.mates[0];
  const uint32_t other = NewHwpt(vm, 0);
  ASSERT_EQ(Attach(vm, vm.parent), 0);
  EXPECT_EQ(Attach(vm.context, mate, other), -EINVAL);
  EXPECT_EQ(Attach(vm.context, mate, vm.ioas), -EINVAL) << "an automatic one is another";
  EXPECT_EQ(Attach(vm.context, mate, kStaleId), -ENOENT);
  const uint32_t fresh = NewIoas(vm.context);
  EXPECT_EQ(fresh, other + 1) << "nothing is left of what was refused";
  EXPECT_EQ(Attach(vm.context, mate, vm.parent), 0);
  EXPECT_EQ(Detach(vm), 0);
  EXPECT_EQ(Destroy(vm.context, vm.parent), -EBUSY) << "the second is there";
  EXPECT_EQ(Attach(vm, other), -EINVAL) << "so the first is the second now";
  EXPECT_EQ(Detach(vm.context, mate), 0);
  EXPECT_EQ(Destroy(vm.context, vm.parent), 0);
  EXPECT_EQ(Attach(vm, other), 0);
}

// device.c, iommufd_device_do_replace(): attach->hwpt is the group's, and the references move.
TEST_P(KernelApiSuite, ReplaceMovesTheWholeGroup) {
  BERTH_NEEDS(Need::kSharedGroup);
  const GroupVm group = NewGroupVm();
  const Vm& vm = group.vm;
  const Device& mate = group.mates[0];
  const uint32_t other = NewHwpt(vm, 0);
  ASSERT_EQ(Attach(vm, vm.parent), 0);
  ASSERT_EQ(Attach(vm.context, mate, vm.parent), 0);
  EXPECT_EQ(Attach(vm.context, mate, other), 0);
  EXPECT_EQ(Destroy(vm.context, vm.parent), 0) << "nobody is left there";
  EXPECT_EQ(Attach(vm, other), 0) << "it is there already";
  EXPECT_EQ(Detach(vm.context, mate), 0);
  EXPECT_EQ(Destroy(vm.context, other), -EBUSY);
  EXPECT_EQ(Detach(vm), 0);
  EXPECT_EQ(Destroy(vm.context, other), 0);
}

// device.c, iommufd_device_auto_get_domain(); iommufd_private.h, iommufd_hw_pagetable_put().
TEST_P(KernelApiSuite, AutomaticHwptGoesWithTheLastOfAGroup) {
  BERTH_NEEDS(Need::kSharedGroup);
  const GroupVm group = NewGroupVm();
  const Vm& vm = group.vm;
  const Device& mate = group.mates[0];
  uint32_t first = 0;
  uint32_t second = 0;
  ASSERT_EQ(Attach(vm, vm.ioas, &first), 0);
  ASSERT_EQ(Attach(vm.context, mate, vm.ioas, &second), 0);
  EXPECT_EQ(first, second);
  EXPECT_EQ(Attach(vm, vm.parent), 0) << "the group leaves it";
  EXPECT_EQ(Destroy(vm.context, first), -ENOENT);
  ASSERT_EQ(Attach(vm.context, mate, vm.ioas, &second), 0) << "and comes back";
  EXPECT_EQ(Detach(vm), 0);
  EXPECT_EQ(Destroy(vm.context, second), -EBUSY);
  EXPECT_EQ(Detach(vm.context, mate), 0);
  EXPECT_EQ(Destroy(vm.context, second), -ENOENT);
}

// device.c, iommufd_device_attach_reserved_iova(): each device reserves at its own attachment, and
// gives back at its own detachment.
TEST_P(KernelApiSuite, EachDeviceOfAGroupReservesForItself) {
  BERTH_NEEDS(Need::kSharedGroup, Need::kSmmu);
  const GroupVm group = NewGroupVm();
  const Vm& vm = group.vm;
  const Device& mate = group.mates[0];
  ASSERT_EQ(Attach(vm, vm.parent), 0);
  ASSERT_EQ(Attach(vm.context, mate, vm.parent), 0);
  EXPECT_EQ(Detach(vm), 0);
  EXPECT_FALSE(MsiWindowIsOpen(vm)) << "the second has it";
  EXPECT_EQ(Detach(vm.context, mate), 0);
  EXPECT_TRUE(MsiWindowIsOpen(vm));
  ASSERT_EQ(Attach(vm.context, mate, vm.parent), 0);
  EXPECT_FALSE(MsiWindowIsOpen(vm)) << "also alone";
}

// device.c, iommufd_device_attach_reserved_iova(): nothing may be mapped where the second device
// reserves, although its group is attached.
TEST_P(KernelApiSuite, SecondOfAGroupChecksItsReservedRegions) {
  BERTH_NEEDS(Need::kSharedGroup, Need::kSmmu);
  const GroupVm group = NewGroupVm();
  const Vm& vm = group.vm;
  const Device& mate = group.mates[0];
  const uint32_t translate = NewNested(vm, NewViommu(vm), kTranslate);
  ASSERT_EQ(Attach(vm, vm.parent), 0);
  ASSERT_EQ(Attach(vm, translate), -ENOENT) << "which opens the window: err_unresv";
  ASSERT_EQ(MapFile(vm.context, vm.ioas, vm.memory.get(), page(), uapi::kSwMsiBase), 0);
  EXPECT_EQ(Attach(vm.context, mate, vm.parent), -EADDRINUSE);
  EXPECT_EQ(Unmap(vm.context, vm.ioas, uapi::kSwMsiBase, page()), 0);
  EXPECT_EQ(Attach(vm.context, mate, vm.parent), 0);
  EXPECT_FALSE(MsiWindowIsOpen(vm));
}

// device.c, iommufd_group_do_replace_reserved_iova(), iommufd_group_remove_reserved_iova(): of all
// attached devices of the group.
TEST_P(KernelApiSuite, ReplaceMovesTheWindowsOfTheGroup) {
  BERTH_NEEDS(Need::kSharedGroup, Need::kSmmu);
  GroupVm group = NewGroupVm();
  Vm& vm = group.vm;
  const Device& mate = group.mates[0];
  ASSERT_EQ(Attach(vm, vm.parent), 0);
  ASSERT_EQ(Attach(vm.context, mate, vm.parent), 0);
  const uint32_t old = vm.ioas;
  vm.ioas = NewIoas(vm.context);
  ASSERT_EQ(Attach(vm, vm.ioas), 0);
  EXPECT_EQ(Detach(vm), 0);
  EXPECT_FALSE(MsiWindowIsOpen(vm)) << "the second's came along";
  vm.ioas = old;
  EXPECT_TRUE(MsiWindowIsOpen(vm));
}

// iommu.c, __iommu_group_set_domain_internal() attaches each device of the group;
// arm-smmu-v3-iommufd.c, arm_smmu_attach_prepare_vmaster(): each needs its own vSID.
TEST_P(KernelApiSuite, TranslationNeedsAVdeviceOfEachOfTheGroup) {
  BERTH_NEEDS(Need::kSharedGroup, Need::kSmmu);
  const GroupVm group = NewGroupVm();
  const Vm& vm = group.vm;
  const uint32_t viommu = NewViommu(vm);
  const uint32_t translate = NewNested(vm, viommu, kTranslate);
  NewVdevice(vm, viommu, 1);
  EXPECT_EQ(Attach(vm, translate), -ENOENT) << "the others have none";
  EXPECT_EQ(Attach(vm, NewNested(vm, viommu)), 0) << "to abort nobody needs one";
  EXPECT_EQ(Attach(vm, translate), -ENOENT);
  for (size_t i = 0; i < group.mates.size(); ++i) {
    auto arg = VdeviceArg(vm, viommu, 1);
    arg.dev_id = group.mates[i].id;
    EXPECT_EQ(Call(vm.context, uapi::kIommuVdeviceAlloc, arg), -EEXIST) << "the first's vSID";
    arg.virt_id = 2 + i;
    EXPECT_EQ(Call(vm.context, uapi::kIommuVdeviceAlloc, arg), 0);
  }
  EXPECT_EQ(Attach(vm, translate), 0);
  for (const Device& mate : group.mates) EXPECT_EQ(Attach(vm.context, mate, translate), 0);
}

// iommu.c, __iommu_group_set_domain_internal(); arm-smmu-v3-iommufd.c,
// arm_smmu_attach_prepare_vmaster(): also those that nobody has bound, which cannot have a vDEVICE.
TEST_P(KernelApiSuite, TranslationNeedsTheWholeGroupBound) {
  BERTH_NEEDS(Need::kSharedGroup, Need::kSmmu);
  GroupVm group = NewGroupVm();
  const Vm& vm = group.vm;
  group.mates.clear();
  const uint32_t viommu = NewViommu(vm);
  NewVdevice(vm, viommu, 1);
  EXPECT_EQ(Attach(vm, NewNested(vm, viommu, kTranslate)), -ENOENT);
  EXPECT_EQ(Attach(vm, vm.parent), 0) << "a stage 2 alone has no need of them";
}

// iommufd/viommu.c, iommufd_viommu_get_vdev_id(): a vDEVICE of another vIOMMU is none.
TEST_P(KernelApiSuite, VdevicesOfAGroupAreOfOneViommu) {
  BERTH_NEEDS(Need::kSharedGroup, Need::kSmmu);
  const GroupVm group = NewGroupVm();
  const Vm& vm = group.vm;
  const uint32_t viommu = NewViommu(vm);
  NewVdevice(vm, viommu, 1);
  auto arg = VdeviceArg(vm, NewPlainViommu(vm), 1);
  arg.dev_id = group.mates[0].id;
  ASSERT_EQ(Call(vm.context, uapi::kIommuVdeviceAlloc, arg), 0);
  EXPECT_EQ(Attach(vm, NewNested(vm, viommu, kTranslate)), -ENOENT);
}

// device.c, iommufd_device_do_replace(), err_unresv; iommu.c, __iommu_group_set_domain_internal(),
// err_revert: all go back.
TEST_P(KernelApiSuite, RefusedReplaceKeepsTheWholeGroup) {
  BERTH_NEEDS(Need::kSharedGroup, Need::kSmmu);
  const GroupVm group = NewGroupVm();
  const Vm& vm = group.vm;
  const Device& mate = group.mates[0];
  const uint32_t viommu = NewViommu(vm);
  const uint32_t translate = NewNested(vm, viommu, kTranslate);
  const uint32_t plain = NewHwpt(vm, 0);
  ASSERT_EQ(Attach(vm, plain), 0);
  ASSERT_EQ(Attach(vm.context, mate, plain), 0);
  NewVdevice(vm, viommu, 1);
  EXPECT_EQ(Attach(vm, translate), -ENOENT);
  EXPECT_EQ(Destroy(vm.context, translate), 0) << "nobody is there";
  EXPECT_EQ(Detach(vm), 0);
  EXPECT_EQ(Destroy(vm.context, plain), -EBUSY);
  EXPECT_EQ(Detach(vm.context, mate), 0);
  EXPECT_EQ(Destroy(vm.context, plain), 0);
}

// vfio/iommufd.c, vfio_iommufd_physical_unbind(); device.c, iommufd_device_pre_destroy(): one
// device of a group goes without the others.
TEST_P(KernelApiSuite, ClosedDeviceLeavesItsGroupAttached) {
  BERTH_NEEDS(Need::kSharedGroup, Need::kSmmu);
  GroupVm group = NewGroupVm();
  Vm& vm = group.vm;
  const uint32_t viommu = NewViommu(vm);
  const uint32_t vdevice = NewVdevice(vm, viommu, 1);
  const uint32_t nested = NewNested(vm, viommu);
  ASSERT_EQ(Attach(vm, nested), 0);
  ASSERT_EQ(Attach(vm.context, group.mates[0], nested), 0);
  EXPECT_EQ(Close(vm), 0);
  EXPECT_EQ(Destroy(vm.context, vdevice), -ENOENT) << "a tombstone";
  EXPECT_EQ(Destroy(vm.context, nested), -EBUSY);
  vm.device = AddDevice(vm.context, machine().group[0]);
  EXPECT_EQ(Attach(vm, vm.parent), -EINVAL) << "the group is attached";
  EXPECT_EQ(Attach(vm, nested), 0);
  EXPECT_EQ(Close(vm), 0);
  group.mates.clear();
  EXPECT_EQ(Destroy(vm.context, nested), 0);
}

}  // namespace berth::conformance
