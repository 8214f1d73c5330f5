// SPDX-License-Identifier: Apache-2.0
//
// Two devices of one IOMMU group: what reaches memory, and whose events are told.
#include <fcntl.h>

#include <optional>

#include "tests/emulator/dma_fixture.h"
#include "tests/testing/poll_until.h"

namespace berth::emulator {
namespace {

constexpr uint64_t kTranslate =
    uapi::kSte0Valid.Put(1) | uapi::kSte0Config.Put(uapi::kSteConfigS1Translate);

class GroupTest : public DmaTest {
 protected:
  static constexpr uint32_t kMateVsid = 0x56;

  // vfio4 in the context of `vm`, which has vfio3: bound, bus master, not attached.
  DmaVm AddMate(const DmaVm& vm) {
    DmaVm mate;
    mate.guest.context.Reset(::fcntl(vm.guest.context.get(), F_DUPFD_CLOEXEC, 0));
    mate.guest.viommu = vm.guest.viommu;
    mate.guest.cdev = OpenDevice("vfio4");
    EXPECT_EQ(Bind(mate.guest.cdev, vm.guest.context.get(), &mate.guest.device), 0);
    EXPECT_EQ(SetCommand(mate, kMemoryAndBusMaster), 2);
    mate.dma = MapBar(mate);
    return mate;
  }
  int Detach(const DmaVm& vm) {
    uapi::VfioDeviceDetachIommufdPt detach = {};
    return Call(vm.guest.cdev, uapi::kVfioDeviceDetachIommufdPt, &detach);
  }
  // What a device of the group reads from the memory of `vm`.
  std::optional<uint64_t> Reads(DmaVm& vm, DmaVm& device, uint64_t address, uint32_t control = 0) {
    std::swap(vm.dma, device.dma);
    const auto value = DeviceReads(vm, address, control);
    std::swap(vm.dma, device.dma);
    return value;
  }
  // Both with a vDEVICE, and vfio3 attached to stage 1.
  DmaVm MakeNestedPair(DmaVm* mate) {
    DmaVm vm = MakeVm("vfio3");
    *mate = AddMate(vm);
    vm.tables = std::make_unique<testing::Tables>(vm.memory.get());
    vm.cd = vm.memory->Allocate();
    testing::WriteContext(vm.memory.get(), vm.cd, {.asid = DmaVm::kAsid, .low = vm.tables.get()});
    vm.vdevice = AllocVdevice(vm, DmaVm::kVsid);
    mate->vdevice = AllocVdevice(*mate, kMateVsid);
    vm.nested = AllocNested(vm, kTranslate | vm.cd, uapi::kSte1Eats.Put(uapi::kSteEatsTranslate));
    EXPECT_EQ(Attach(vm, vm.nested), 0);
    AddQueue(&vm);
    return vm;
  }
  static uapi::IommuVeventArmSmmuv3 Fault(uint64_t address) {
    return {{uapi::kEvt0Id.Put(uapi::kEvtFTranslation) | uapi::kEvt0Sid.Put(0x777), 0, address, 0}};
  }
};

// Linux drivers/iommu/iommufd/device.c, iommufd_hw_pagetable_attach(): "attach to the group once".
TEST_F(GroupTest, TheFirstAttachmentTakesTheGroupAlong) {
  DmaVm vm = MakeVm("vfio3");
  DmaVm mate = AddMate(vm);
  const uint64_t page = vm.memory->AllocatePage(1);
  EXPECT_EQ(Reads(vm, mate, page), std::nullopt) << "blocked";
  ASSERT_EQ(Attach(vm, vm.guest.ioas), 0);
  EXPECT_EQ(Reads(vm, mate, page), 1U) << "before its own attachment";
  ASSERT_EQ(Attach(mate, vm.guest.ioas), 0);
  ASSERT_EQ(Detach(vm), 0);
  EXPECT_EQ(Reads(vm, mate, page), 1U);
  EXPECT_EQ(DeviceReads(vm, page), 1U) << "the group is attached as long as one of it is";
  ASSERT_EQ(Detach(mate), 0);
  EXPECT_EQ(Reads(vm, mate, page), std::nullopt);
  EXPECT_EQ(DeviceReads(vm, page), std::nullopt);
}

TEST_F(GroupTest, ADeviceThatNeverAttachedIsCutOffWithTheLast) {
  DmaVm vm = MakeVm("vfio3");
  DmaVm mate = AddMate(vm);
  const uint64_t page = vm.memory->AllocatePage(1);
  ASSERT_EQ(Attach(vm, vm.guest.ioas), 0);
  ASSERT_EQ(Reads(vm, mate, page, kDmaControlAts), 1U);
  ASSERT_EQ(Detach(vm), 0);
  EXPECT_EQ(Reads(vm, mate, page), std::nullopt);
  EXPECT_EQ(Reads(vm, mate, page, kDmaControlAts), std::nullopt) << "its ATC, too";
}

TEST_F(GroupTest, AReplaceByOneMovesAll) {
  DmaVm vm = MakeVm("vfio3");
  DmaVm mate = AddMate(vm);
  const uint64_t page = vm.memory->AllocatePage(1);
  ASSERT_EQ(Attach(vm, vm.guest.ioas), 0);
  ASSERT_EQ(Attach(mate, vm.guest.ioas), 0);
  ASSERT_EQ(Reads(vm, mate, page, kDmaControlAts), 1U);
  const uint32_t empty = AllocIoas(vm.guest.context);
  ASSERT_EQ(Attach(vm, empty), 0);
  EXPECT_EQ(Reads(vm, mate, page), std::nullopt);
  EXPECT_EQ(Reads(vm, mate, page, kDmaControlAts), std::nullopt);
  ASSERT_EQ(Attach(mate, vm.guest.ioas), 0);
  EXPECT_EQ(DeviceReads(vm, page), 1U);
}

// Its stream table entry is the group's, also after it was closed.
TEST_F(GroupTest, AReopenedDeviceIsWhereItsGroupIs) {
  DmaVm vm = MakeVm("vfio3");
  DmaVm mate = AddMate(vm);
  const uint64_t page = vm.memory->AllocatePage(1);
  ASSERT_EQ(Attach(vm, vm.guest.ioas), 0);
  ASSERT_EQ(Attach(mate, vm.guest.ioas), 0);
  mate.dma.reset();
  mate.guest.cdev.Reset();
  mate = AddMate(vm);
  EXPECT_EQ(Reads(vm, mate, page), 1U);
}

// iommu.c, __iommu_group_set_domain_internal(), err_revert.
TEST_F(GroupTest, ARefusedReplaceLeavesAllWhereTheyWere) {
  DmaVm vm = MakeVm("vfio3");
  DmaVm mate = AddMate(vm);
  const uint64_t page = vm.memory->AllocatePage(1);
  ASSERT_EQ(Attach(vm, vm.guest.ioas), 0);
  AllocVdevice(vm, DmaVm::kVsid);
  EXPECT_EQ(Attach(vm, AllocNested(vm, kTranslate, 0)), -ENOENT);
  EXPECT_EQ(DeviceReads(vm, page), 1U);
  EXPECT_EQ(Reads(vm, mate, page), 1U);
}

TEST_F(GroupTest, ARefusedFirstAttachmentBlocksAll) {
  DmaVm vm = MakeVm("vfio3");
  DmaVm mate = AddMate(vm);
  const uint64_t page = vm.memory->AllocatePage(1);
  AllocVdevice(vm, DmaVm::kVsid);
  EXPECT_EQ(Attach(vm, AllocNested(vm, kTranslate, 0)), -ENOENT);
  EXPECT_EQ(DeviceReads(vm, page), std::nullopt);
  EXPECT_EQ(Reads(vm, mate, page), std::nullopt);
}

TEST_F(GroupTest, StageOneIsTheGroupsAndStreamIdsAreNot) {
  DmaVm mate;
  DmaVm vm = MakeNestedPair(&mate);
  vm.tables->Map(kVa, vm.memory->AllocatePage(1));
  for (const uint32_t control : {0U, kDmaControlAts}) {
    ASSERT_EQ(DeviceReads(vm, kVa, control), 1U);
    ASSERT_EQ(Reads(vm, mate, kVa, control), 1U);
  }
  vm.tables->Map(kVa, vm.memory->AllocatePage(2));
  Execute(vm, {{uint64_t{DmaVm::kAsid} << 48 | 0x11, 0}});
  EXPECT_EQ(DeviceReads(vm, kVa), 2U);
  EXPECT_EQ(Reads(vm, mate, kVa), 2U) << "the IOTLB does not know devices";
  Execute(vm, {{uint64_t{kMateVsid} << 32 | 0x40, kVa}});
  EXPECT_EQ(Reads(vm, mate, kVa, kDmaControlAts), 2U);
  EXPECT_EQ(DeviceReads(vm, kVa, kDmaControlAts), 1U) << "an ATC is a device's own";
  EXPECT_EQ(ExecuteTrapped(vm, {uint64_t{DmaVm::kVsid} << 32 | 0x40, kVa}), 0);
  EXPECT_EQ(DeviceReads(vm, kVa, kDmaControlAts), 2U);
}

TEST_F(GroupTest, EachFaultsAsItself) {
  DmaVm mate;
  DmaVm vm = MakeNestedPair(&mate);
  UniqueFd events;
  AllocVeventq(vm.guest, uapi::kVeventqTypeArmSmmuv3, 16, &events);
  const std::pair<DmaVm*, uint32_t> devices[] = {{&vm, DmaVm::kVsid}, {&mate, kMateVsid}};
  for (const auto& [device, vsid] : devices) {
    EXPECT_EQ(device->dma->Copy(kVa, kVa, 8), DmaStatus::kReadFault);
    berth::testing::PollUntil([&] { return IsReadable(events); });
    struct {
      uapi::IommufdVeventHeader header;
      uapi::IommuVeventArmSmmuv3 event;
    } record = {};
    ASSERT_EQ(client().ReadEvents(events.get(), &record, sizeof(record)),
              static_cast<ssize_t>(sizeof(record)));
    EXPECT_EQ(record.event.evt[0], uint64_t{vsid} << 32 | 0x10);
  }
}

// arm-smmu-v3-iommufd.c, arm_smmu_attach_prepare_vmaster(): looked up when the group is attached,
// and not when one of it joins.
TEST_F(GroupTest, EventsOfALateVdeviceWaitForTheNextPageTable) {
  const DmaVm vm = MakeVm("vfio3");
  const DmaVm mate = AddMate(vm);
  UniqueFd events;
  AllocVeventq(vm.guest, uapi::kVeventqTypeArmSmmuv3, 16, &events);
  AllocVdevice(vm, DmaVm::kVsid);
  ASSERT_EQ(Attach(vm, AllocNested(vm, uapi::kSteAbort[0], 0)), 0);
  Kernel& kernel = server().kernel();
  EXPECT_TRUE(kernel.ReportSmmuEvent("vfio3", Fault(1)));
  EXPECT_FALSE(kernel.ReportSmmuEvent("vfio4", Fault(2))) << "no vDEVICE";
  AllocVdevice(mate, kMateVsid);
  const uint32_t bypass = AllocNested(vm, uapi::kSteBypass[0], 0);
  EXPECT_EQ(Attach(mate, bypass), -EINVAL) << "it is not the group's";
  EXPECT_FALSE(kernel.ReportSmmuEvent("vfio4", Fault(3)));
  ASSERT_EQ(Attach(vm, bypass), 0);
  EXPECT_TRUE(kernel.ReportSmmuEvent("vfio4", Fault(4)));
  ASSERT_EQ(Detach(vm), 0);
  EXPECT_FALSE(kernel.ReportSmmuEvent("vfio4", Fault(5))) << "the whole group is blocked";
}

// The revert of a replace that fails looks the vDEVICEs up again, too.
TEST_F(GroupTest, ARefusedReplaceFindsALateVdevice) {
  const DmaVm vm = MakeVm("vfio3");
  const DmaVm mate = AddMate(vm);
  UniqueFd events;
  AllocVeventq(vm.guest, uapi::kVeventqTypeArmSmmuv3, 16, &events);
  ASSERT_EQ(Attach(vm, AllocNested(vm, uapi::kSteAbort[0], 0)), 0);
  Kernel& kernel = server().kernel();
  AllocVdevice(vm, DmaVm::kVsid);
  EXPECT_FALSE(kernel.ReportSmmuEvent("vfio3", Fault(1)));
  EXPECT_EQ(Attach(vm, AllocNested(vm, kTranslate, 0)), -ENOENT) << "the mate has no vDEVICE";
  EXPECT_TRUE(kernel.ReportSmmuEvent("vfio3", Fault(2)));
}

// iommu.c, pci_dev_reset_iommu_done(): what is reset is attached anew, and what else is in its
// group is not.
TEST_F(GroupTest, AResetFindsALateVdeviceOfItsOwn) {
  const DmaVm vm = MakeVm("vfio3");
  const DmaVm mate = AddMate(vm);
  UniqueFd events;
  AllocVeventq(vm.guest, uapi::kVeventqTypeArmSmmuv3, 16, &events);
  ASSERT_EQ(Attach(vm, AllocNested(vm, uapi::kSteAbort[0], 0)), 0);
  AllocVdevice(vm, DmaVm::kVsid);
  AllocVdevice(mate, kMateVsid);
  Kernel& kernel = server().kernel();
  EXPECT_FALSE(kernel.ReportSmmuEvent("vfio4", Fault(1)));
  ASSERT_EQ(client().Ioctl(mate.guest.cdev.get(), uapi::kVfioDeviceReset, nullptr), 0);
  EXPECT_TRUE(kernel.ReportSmmuEvent("vfio4", Fault(2)));
  EXPECT_FALSE(kernel.ReportSmmuEvent("vfio3", Fault(3)));
}

TEST_F(GroupTest, AResetDeviceIsBlockedWhereItHasNoVdeviceAnyMore) {
  DmaVm mate;
  DmaVm vm = MakeNestedPair(&mate);
  vm.tables->Map(kVa, vm.memory->AllocatePage(1));
  ASSERT_EQ(Destroy(vm.guest.context, mate.vdevice), 0);
  EXPECT_EQ(Reads(vm, mate, kVa), 1U) << "its stream table entry stands";
  ASSERT_EQ(client().Ioctl(mate.guest.cdev.get(), uapi::kVfioDeviceReset, nullptr), 0);
  mate.dma->ForgetNumber();
  ASSERT_EQ(SetCommand(mate, kMemoryAndBusMaster), 2);
  EXPECT_EQ(Reads(vm, mate, kVa), std::nullopt);
  EXPECT_EQ(DeviceReads(vm, kVa), 1U);
}

}  // namespace
}  // namespace berth::emulator
