// SPDX-License-Identifier: Apache-2.0
//
// DMA from end to end: a VM made by ioctls, a device driven through its BAR.
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <optional>

#include "lib/base/status.h"
#include "tests/emulator/dma_fixture.h"
#include "tests/testing/poll_until.h"

namespace berth::emulator {
namespace {

constexpr RawCommand TlbiAsid(uint16_t asid) { return {uint64_t{asid} << 48 | 0x11, 0}; }
constexpr RawCommand AtcInv(uint32_t vsid, uint64_t low) {
  return {uint64_t{vsid} << 32 | 0x40, low};
}

TEST_F(DmaTest, ADeviceCopiesThroughAnIoas) {
  DmaVm vm = MakeVm("vfio0");
  EXPECT_EQ(vm.dma->id(), kDmaIdValue);
  ASSERT_EQ(Attach(vm, vm.guest.ioas), 0);
  const uint64_t from = vm.memory->Allocate(uint64_t{1} << 18);
  const uint64_t to = vm.memory->Allocate(uint64_t{1} << 18);
  constexpr uint64_t kLength = 200000;  // several looks, ends inside a page
  for (uint64_t i = 0; i < kLength; i += 8) vm.memory->Store(from + i, i * 3);
  EXPECT_EQ(vm.dma->Copy(from, to + 8, kLength), DmaStatus::kOk);
  EXPECT_EQ(vm.dma->copied(), kLength);
  for (uint64_t i = 0; i < kLength; i += 8) ASSERT_EQ(vm.memory->Load(to + 8 + i), i * 3);
  EXPECT_EQ(vm.memory->Load(to + 8 + kLength), 0U);
}

TEST_F(DmaTest, ADetachedDeviceReachesNothing) {
  DmaVm vm = MakeVm("vfio0");
  const uint64_t page = vm.memory->AllocatePage(1);
  EXPECT_EQ(DeviceReads(vm, page), std::nullopt);
  ASSERT_EQ(Attach(vm, vm.guest.ioas), 0);
  EXPECT_EQ(DeviceReads(vm, page), 1U);
  uapi::VfioDeviceDetachIommufdPt detach = {};
  ASSERT_EQ(Call(vm.guest.cdev, uapi::kVfioDeviceDetachIommufdPt, &detach), 0);
  EXPECT_EQ(DeviceReads(vm, page), std::nullopt);
  EXPECT_EQ(vm.dma->status(), DmaStatus::kReadFault);
  EXPECT_EQ(vm.dma->fault(), page);
}

TEST_F(DmaTest, UnmappedMemoryIsOutOfReachWhenTheCallReturns) {
  for (const uint32_t control : {0U, kDmaControlAts}) {
    DmaVm vm = MakeVm("vfio0");
    ASSERT_EQ(Attach(vm, vm.guest.ioas), 0);
    const uint64_t page = vm.memory->AllocatePage(1);
    ASSERT_EQ(DeviceReads(vm, page, control), 1U);
    uapi::IommuIoasUnmap unmap = {};
    unmap.ioas_id = vm.guest.ioas;
    unmap.iova = vm.memory->base();
    unmap.length = vm.memory->size();
    ASSERT_EQ(Call(vm.guest.context, uapi::kIommuIoasUnmap, &unmap), 0);
    EXPECT_EQ(DeviceReads(vm, page, control), std::nullopt);
  }
}

TEST_F(DmaTest, AMappingForReadingIsNotWritten) {
  DmaVm vm = MakeVm("vfio0");
  ASSERT_EQ(Attach(vm, vm.guest.ioas), 0);
  uapi::IommuIoasMapFile cmd = {};
  cmd.flags = uapi::kIoasMapFixedIova | uapi::kIoasMapReadable;
  cmd.ioas_id = vm.guest.ioas;
  cmd.fd = vm.memory->memory()->file.get();
  cmd.length = 4096;
  cmd.iova = 0x200000000;
  ASSERT_EQ(Call(vm.guest.context, uapi::kIommuIoasMapFile, &cmd), 0);
  vm.memory->AllocatePage(77);
  EXPECT_EQ(DeviceReads(vm, cmd.iova), 77U);
  EXPECT_EQ(vm.dma->Copy(cmd.iova, cmd.iova + 8, 8), DmaStatus::kWriteFault);
  EXPECT_EQ(vm.dma->fault(), cmd.iova + 8);
}

TEST_F(DmaTest, OnlyABusMasterCopies) {
  DmaVm vm = MakeVm("vfio0");
  ASSERT_EQ(Attach(vm, vm.guest.ioas), 0);
  const uint64_t page = vm.memory->AllocatePage(1);
  ASSERT_EQ(SetCommand(vm, kMemory), 2);
  EXPECT_EQ(vm.dma->Copy(page, page + 8, 8), DmaStatus::kNotBusMaster);
  ASSERT_EQ(SetCommand(vm, kMemoryAndBusMaster), 2);
  EXPECT_EQ(vm.dma->Copy(page, page + 8, 8), DmaStatus::kOk);
  EXPECT_EQ(vm.dma->Copy(page, page + 8, 0), DmaStatus::kBadLength);
  EXPECT_EQ(vm.dma->Copy(page, page + 8, kDmaMaxLength + 1), DmaStatus::kBadLength);
}

TEST_F(DmaTest, AResetStopsAndClears) {
  DmaVm vm = MakeVm("vfio0");
  ASSERT_EQ(Attach(vm, vm.guest.ioas), 0);
  const uint64_t from = vm.memory->Allocate(4 << 20);
  const uint64_t to = vm.memory->Allocate(4 << 20);
  vm.dma->Start(from, to, 4 << 20);
  ASSERT_EQ(client().Ioctl(vm.guest.cdev.get(), uapi::kVfioDeviceReset, nullptr), 0);
  // Done before the reset, or stopped by it: the registers are clear either way.
  EXPECT_EQ(vm.dma->status(), DmaStatus::kIdle);
  EXPECT_EQ(vm.dma->done(), 0U);
  EXPECT_EQ(vm.dma->Reg64(kDmaSource).load(), 0U);
  vm.dma->ForgetNumber();
  EXPECT_EQ(vm.dma->Copy(from, to, 8), DmaStatus::kOk) << "COMMAND is as it was";
}

TEST_F(DmaTest, ABarThatIsNotDecodedTakesNoOrders) {
  DmaVm vm = MakeVm("vfio0");
  ASSERT_EQ(Attach(vm, vm.guest.ioas), 0);
  const uint64_t page = vm.memory->AllocatePage(1);
  ASSERT_EQ(vm.dma->Copy(page, page + 8, 8), DmaStatus::kOk);
  ASSERT_EQ(SetCommand(vm, 4), 2);
  EXPECT_EQ(vm.dma->id(), ~0U) << "nobody answers";
  const auto another = MapBar(vm);
  EXPECT_EQ(another->id(), ~0U);
  vm.dma->Start(page, page + 16, 8);
  ASSERT_EQ(SetCommand(vm, kMemoryAndBusMaster), 2);
  EXPECT_EQ(vm.dma->id(), kDmaIdValue);
  EXPECT_EQ(vm.dma->Reg64(kDmaDestination).load(), page + 8) << "what was written there is lost";
  EXPECT_EQ(vm.dma->done(), 1U);
  EXPECT_EQ(vm.dma->Copy(page, page + 24, 8), DmaStatus::kOk);
  EXPECT_EQ(vm.memory->Load(page + 16), 0U);
  EXPECT_EQ(vm.memory->Load(page + 24), 1U);
}

TEST_F(DmaTest, ADeviceThatIsPulledOutDoesNothing) {
  DmaVm vm = MakeVm("vfio0");
  ASSERT_EQ(Attach(vm, vm.guest.ioas), 0);
  const uint64_t page = vm.memory->AllocatePage(1);
  ASSERT_EQ(vm.dma->Copy(page, page + 8, 8), DmaStatus::kOk);
  const uint64_t gone = PullOut(SmallHost().devices[0]);
  berth::testing::PollUntil([&] { return vm.dma->id() == ~0U; });
  vm.dma->Start(page, page + 16, 8);
  ASSERT_TRUE(faults().Remove(gone).ok());
  berth::testing::PollUntil([&] { return vm.dma->id() == kDmaIdValue; });
  EXPECT_EQ(vm.dma->done(), 0U) << "as after a reset";
  EXPECT_EQ(vm.memory->Load(page + 16), 0U);
  vm.dma->ForgetNumber();
  EXPECT_EQ(vm.dma->Copy(page, page + 16, 8), DmaStatus::kOk);
}

// A VMA has the cdev's file open: vfio_device_fops_release() comes with its last.
TEST_F(DmaTest, AMappedBarKeepsItsDevice) {
  DmaVm vm = MakeVm("vfio0");
  ASSERT_EQ(Attach(vm, vm.guest.ioas), 0);
  const uint64_t page = vm.memory->AllocatePage(1);
  const UniqueFd other = OpenContext();
  vm.guest.context.Reset();
  vm.guest.cdev = OpenDevice("vfio0");
  for (uint64_t at = page + 8; at <= page + 24; at += 8) {
    EXPECT_EQ(Bind(vm.guest.cdev, other.get()), -EINVAL) << "bound, without an fd";
    EXPECT_EQ(vm.dma->Copy(page, at, 8), DmaStatus::kOk) << "still attached";
    EXPECT_EQ(vm.memory->Load(at), 1U);
  }
  Snapshot snapshot = server().kernel().TakeSnapshot();
  EXPECT_EQ(snapshot.open_cdevs, 2);
  EXPECT_EQ(snapshot.bound_devices, 1);
  EXPECT_EQ(snapshot.contexts, 2) << "its device keeps the context";
  EXPECT_EQ(UsedVintfs(), 1U);
  vm.dma.reset();
  EXPECT_EQ(Bind(vm.guest.cdev, other.get()), 0);
  snapshot = server().kernel().TakeSnapshot();
  EXPECT_EQ(snapshot.open_cdevs, 1);
  EXPECT_EQ(snapshot.contexts, 1);
  EXPECT_EQ(UsedVintfs(), 0U);
}

TEST_F(DmaTest, ADeviceOpenedAnewIsAsAfterAReset) {
  DmaVm vm = MakeVm("vfio0");
  ASSERT_EQ(Attach(vm, vm.guest.ioas), 0);
  const uint64_t page = vm.memory->AllocatePage(1);
  EXPECT_EQ(vm.dma->Copy(page, page + 8, 8), DmaStatus::kOk);
  vm.dma.reset();
  vm.guest.cdev = OpenDevice("vfio0");
  ASSERT_EQ(Bind(vm.guest.cdev, vm.guest.context.get(), &vm.guest.device), 0);
  ASSERT_EQ(Attach(vm, vm.guest.ioas), 0);
  vm.dma = MapBar(vm);
  EXPECT_EQ(vm.dma->done(), 0U);
  EXPECT_EQ(vm.dma->Copy(page, page + 8, 8), DmaStatus::kNotBusMaster);
  ASSERT_EQ(SetCommand(vm, kMemoryAndBusMaster), 2);
  EXPECT_EQ(vm.dma->Copy(page, page + 8, 8), DmaStatus::kOk);
}

// A VMM that has the fd and has not mapped it has nothing: as with page0.
TEST_F(DmaTest, ABarOfAClosedDeviceIsNotMapped) {
  DmaVm vm = MakeVm("vfio0");
  vm.dma.reset();
  auto region = client().RegionForVmm(vm.guest.cdev.get(), 0, kDmaBarSize);
  ASSERT_TRUE(region.ok());
  vm.guest.cdev = OpenDevice("vfio0");
  EXPECT_EQ(Bind(vm.guest.cdev, vm.guest.context.get()), 0);
  EXPECT_FALSE(Mapping::Map(region->fd.get(), 0, kDmaBarSize, Mapping::Access::kReadWrite).ok());
}

TEST_F(DmaTest, TheBarIsReadAndWrittenWithoutAMapping) {
  DmaVm vm = MakeVm("vfio0");
  uint32_t id = 0;
  EXPECT_EQ(client().ReadRegion(vm.guest.cdev.get(), &id, sizeof(id), kDmaId), 4);
  EXPECT_EQ(id, kDmaIdValue);
  const uint64_t source = 0x1234;
  EXPECT_EQ(client().WriteRegion(vm.guest.cdev.get(), &source, sizeof(source), kDmaSource), 8);
  EXPECT_EQ(vm.dma->Reg64(kDmaSource).load(), source);
  EXPECT_EQ(client().ReadRegion(vm.guest.cdev.get(), &id, sizeof(id), kDmaBarSize), -EINVAL);
  EXPECT_EQ(client().WriteRegion(vm.guest.cdev.get(), &id, sizeof(id), kDmaBarSize), -EINVAL);
}

TEST_F(DmaTest, OnlyTheBarOfABoundDeviceIsMapped) {
  DmaVm vm = MakeVm("vfio0");
  const int cdev = vm.guest.cdev.get();
  EXPECT_TRUE(client().RegionForVmm(cdev, 0, kDmaBarSize).ok());
  EXPECT_EQ(ErrnoOf(client().RegionForVmm(cdev, 0, kDmaBarSize + 1).status()), EINVAL);
  EXPECT_EQ(ErrnoOf(client().RegionForVmm(cdev, 0, 0).status()), EINVAL);
  EXPECT_EQ(ErrnoOf(client().RegionForVmm(cdev, uint64_t{1} << 40, 4096).status()), EINVAL);
  EXPECT_EQ(ErrnoOf(client().RegionForVmm(cdev, kConfigRegion, 4096).status()), EINVAL);
  const UniqueFd unbound = OpenDevice("vfio1");
  EXPECT_EQ(ErrnoOf(client().RegionForVmm(unbound.get(), 0, kDmaBarSize).status()), EINVAL);
}

TEST_F(DmaTest, ACopyEndsWithAnInterruptWhereAskedFor) {
  DmaVm vm = MakeVm("vfio0");
  ASSERT_EQ(Attach(vm, vm.guest.ioas), 0);
  const uint64_t page = vm.memory->AllocatePage(1);
  const UniqueFd interrupt(::eventfd(0, EFD_CLOEXEC));
  struct {
    uapi::VfioIrqSet set;
    int32_t fd;
  } irqs = {{sizeof(irqs), uapi::kVfioIrqSetDataEventfd | uapi::kVfioIrqSetActionTrigger,
             uapi::kVfioPciMsiIrq, 0, 1},
            interrupt.get()};
  ASSERT_EQ(client().Ioctl(vm.guest.cdev.get(), uapi::kVfioDeviceSetIrqs, &irqs), 0);
  // Asked for by the third copy alone.
  EXPECT_EQ(vm.dma->Copy(page, page + 8, 8), DmaStatus::kOk);
  EXPECT_EQ(vm.dma->Copy(0, page + 8, 8), DmaStatus::kReadFault);
  EXPECT_EQ(vm.dma->Copy(page, page + 8, 8, kDmaControlInterrupt), DmaStatus::kOk);
  berth::testing::PollUntil([&] { return IsReadable(interrupt); });
  uint64_t count = 0;
  ASSERT_EQ(::read(interrupt.get(), &count, sizeof(count)), sizeof(count));
  EXPECT_EQ(count, 1U);
  // A fault ends a copy, too.
  EXPECT_EQ(vm.dma->Copy(0, page + 8, 8, kDmaControlInterrupt), DmaStatus::kReadFault);
  berth::testing::PollUntil([&] { return IsReadable(interrupt); });
}

// Private memory of the caller reaches the device as it is.
TEST_F(DmaTest, ADeviceReachesTheCallersOwnMemory) {
  DmaVm vm = MakeVm("vfio0");
  ASSERT_EQ(Attach(vm, vm.guest.ioas), 0);
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(page, MAP_FAILED);
  auto* dwords = static_cast<volatile uint64_t*>(page);
  dwords[0] = 42;
  uapi::IommuIoasMap cmd = {};
  cmd.flags = uapi::kIoasMapFixedIova | uapi::kIoasMapReadable | uapi::kIoasMapWriteable;
  cmd.ioas_id = vm.guest.ioas;
  cmd.user_va = reinterpret_cast<uint64_t>(page);
  cmd.length = 4096;
  cmd.iova = 0x200000000;
  ASSERT_EQ(Call(vm.guest.context, uapi::kIommuIoasMap, &cmd), 0);
  EXPECT_EQ(vm.dma->Copy(cmd.iova, cmd.iova + 8, 8), DmaStatus::kOk);
  EXPECT_EQ(dwords[1], 42U);
  ::munmap(page, 4096);
}

// ---- Stage 1.

// The guest's VMID is the VINTF's, whatever it writes, and another guest's is out of its reach.
TEST_F(DmaTest, AGuestInvalidatesItsOwnTranslationsOnly) {
  DmaVm one = MakeNestedVm("vfio0");
  DmaVm other = MakeNestedVm("vfio1");
  for (DmaVm* vm : {&one, &other}) {
    vm->tables->Map(kVa, vm->memory->AllocatePage(1));
    ASSERT_EQ(DeviceReads(*vm, kVa, kDmaControlAts), 1U);
    ASSERT_EQ(DeviceReads(*vm, kVa), 1U);
    vm->tables->Map(kVa, vm->memory->AllocatePage(2));
  }
  for (uint64_t vmid = 0; vmid < 8; ++vmid) {
    RawCommand command = TlbiAsid(DmaVm::kAsid);
    command.dword0 |= vmid << 32;
    Execute(other, {command});
  }
  Execute(other, {AtcInv(DmaVm::kVsid, 52)});
  EXPECT_EQ(DeviceReads(one, kVa), 1U);
  EXPECT_EQ(DeviceReads(one, kVa, kDmaControlAts), 1U);
  EXPECT_EQ(DeviceReads(other, kVa), 2U);
  EXPECT_EQ(DeviceReads(other, kVa, kDmaControlAts), 2U);
}

// Linux arm-smmu-v3.c, arm_smmu_cmdq_skip_err(): the driver goes on, and the device has what it
// had.
TEST_F(DmaTest, ADeviceThatDoesNotAnswerAnAtcInvForgetsNothing) {
  DmaVm vm = MakeNestedVm("vfio0");
  const RawCommand invalidate = AtcInv(DmaVm::kVsid, 52);
  const auto change_to = [&](uint64_t value) {
    vm.tables->Map(kVa, vm.memory->AllocatePage(value));
    Execute(vm, {TlbiAsid(DmaVm::kAsid)});
  };
  change_to(1);
  ASSERT_EQ(DeviceReads(vm, kVa, kDmaControlAts), 1U);
  change_to(2);
  const FaultSpec unanswered = {.kind = FaultKind::kAtcTimeout, .delay = {}, .subject = ""};
  ASSERT_TRUE(faults().Add(unanswered).ok());
  vm.queue->Submit({invalidate, testing::kSync});
  ASSERT_TRUE(vm.queue->AwaitError());
  EXPECT_EQ(vm.queue->cons_error(), 3U);
  EXPECT_EQ(DeviceReads(vm, kVa, kDmaControlAts), 1U);
  vm.queue->Acknowledge();
  Execute(vm, {invalidate});
  EXPECT_EQ(DeviceReads(vm, kVa, kDmaControlAts), 2U);

  change_to(3);
  ASSERT_TRUE(faults().Add(unanswered).ok());
  EXPECT_EQ(ExecuteTrapped(vm, invalidate), 0) << "Linux logs it";
  EXPECT_EQ(DeviceReads(vm, kVa, kDmaControlAts), 2U);
  EXPECT_EQ(ExecuteTrapped(vm, invalidate), 0);
  EXPECT_EQ(DeviceReads(vm, kVa, kDmaControlAts), 3U);

  const uint64_t gone = PullOut(SmallHost().devices[0]);
  vm.queue->Submit({invalidate, testing::kSync});
  ASSERT_TRUE(vm.queue->AwaitError()) << "nobody is there to answer";
  EXPECT_EQ(vm.queue->cons_error(), 3U);
  ASSERT_TRUE(faults().Remove(gone).ok());
  vm.queue->Acknowledge();
  Execute(vm, {invalidate});
}

// What the kernel invalidates by itself: the guest's translations, when stage 2 changes.
TEST_F(DmaTest, StageTwoChangesBehindStageOne) {
  DmaVm vm = MakeNestedVm("vfio0");
  testing::GuestMemory more(1 << 20, 0x80000000);
  uapi::IommuIoasMapFile map = {};
  map.flags = uapi::kIoasMapFixedIova | uapi::kIoasMapReadable | uapi::kIoasMapWriteable;
  map.ioas_id = vm.guest.ioas;
  map.fd = more.memory()->file.get();
  map.length = 4096;
  map.iova = more.base();
  ASSERT_EQ(Call(vm.guest.context, uapi::kIommuIoasMapFile, &map), 0);
  more.AllocatePage(1);
  const uint64_t second = more.AllocatePage(2);
  vm.tables->Map(kVa, more.base());
  for (const uint32_t control : {0U, kDmaControlAts}) {
    ASSERT_EQ(DeviceReads(vm, kVa, control), 1U);
  }
  uapi::IommuIoasUnmap unmap = {};
  unmap.ioas_id = vm.guest.ioas;
  unmap.iova = more.base();
  unmap.length = 4096;
  ASSERT_EQ(Call(vm.guest.context, uapi::kIommuIoasUnmap, &unmap), 0);
  EXPECT_EQ(DeviceReads(vm, kVa), std::nullopt);
  map.start = second - more.base();
  map.iova = more.base();
  ASSERT_EQ(Call(vm.guest.context, uapi::kIommuIoasMapFile, &map), 0);
  for (const uint32_t control : {0U, kDmaControlAts}) {
    EXPECT_EQ(DeviceReads(vm, kVa, control), 2U);
  }
}

TEST_F(DmaTest, AStreamTableEntryDecides) {
  DmaVm vm = MakeNestedVm("vfio0");
  const uint64_t page = vm.memory->AllocatePage(1);
  vm.tables->Map(kVa, page);
  ASSERT_EQ(DeviceReads(vm, kVa), 1U);
  const uint32_t bypass = AllocNested(vm, uapi::kSteBypass[0], uapi::kSteBypass[1]);
  const uint32_t abort = AllocNested(vm, uapi::kSteAbort[0], uapi::kSteAbort[1]);
  const uint32_t invalid = AllocNested(vm, 0, 0);
  ASSERT_EQ(Attach(vm, bypass), 0);
  EXPECT_EQ(vm.dma->Copy(page, page + 8, 8), DmaStatus::kOk);
  EXPECT_EQ(vm.dma->Copy(page, page + 8, 8, kDmaControlAts), DmaStatus::kOk);
  for (const uint32_t blocked : {abort, invalid}) {
    ASSERT_EQ(Attach(vm, blocked), 0);
    EXPECT_EQ(vm.dma->Copy(page, page + 8, 8), DmaStatus::kReadFault);
  }
  ASSERT_EQ(Attach(vm, vm.nested), 0);
  EXPECT_EQ(DeviceReads(vm, kVa), 1U);
}

}  // namespace
}  // namespace berth::emulator
