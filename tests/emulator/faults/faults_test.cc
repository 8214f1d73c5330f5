// SPDX-License-Identifier: Apache-2.0
//
// What a client of the emulator sees of a fault.
#include <atomic>
#include <thread>

#include "lib/emulator/faults/fault_plan.h"
#include "tests/emulator/emulator_fixture.h"
#include "tests/testing/poll_until.h"

namespace berth::emulator {
namespace {

constexpr char kUnit[] = "smmu3.0";

class FaultsTest : public EmulatorTest {
 protected:
  FaultPlan& faults() { return server().kernel().faults(); }

  uint64_t Arm(FaultKind kind, const std::string& subject = "") {
    FaultSpec spec = {.kind = kind, .delay = {}, .subject = subject};
    if (kind == FaultKind::kDeviceGone) spec.count = 0;
    return Arm(spec);
  }
  uint64_t ArmIoctl(uapi::Request request, int error, absl::Duration delay, uint64_t skip = 0) {
    return Arm({.request = request, .error = error, .delay = delay, .subject = "", .skip = skip});
  }
  uint64_t Arm(const FaultSpec& spec) {
    const auto id = faults().Add(spec);
    EXPECT_TRUE(id.ok()) << id.status();
    return id.ok() ? *id : 0;
  }
  uint64_t Met() { return faults().List().at(0).met; }

  int AllocIoasRc(const UniqueFd& context, uint32_t* id = nullptr) {
    uapi::IommuIoasAlloc cmd = {};
    const int rc = Call(context, uapi::kIommuIoasAlloc, &cmd);
    if (id != nullptr) *id = cmd.out_ioas_id;
    return rc;
  }

  void MapQueueMemory(const Guest& guest) {
    uapi::IommuIoasMapFile cmd = {};
    cmd.flags = uapi::kIoasMapFixedIova | uapi::kIoasMapReadable | uapi::kIoasMapWriteable;
    cmd.ioas_id = guest.ioas;
    cmd.fd = ring_.get();
    cmd.length = kRing;
    cmd.iova = kQueueIova;
    ASSERT_EQ(Call(guest.context, uapi::kIommuIoasMapFile, &cmd), 0);
  }
  int AllocQueue(const Guest& guest, uint32_t* id) {
    uapi::IommuHwQueueAlloc cmd = {};
    cmd.viommu_id = guest.viommu;
    cmd.type = uapi::kHwQueueTypeTegra241Cmdqv;
    cmd.nesting_parent_iova = kQueueIova;
    cmd.length = kRing;
    const int rc = Call(guest.context, uapi::kIommuHwQueueAlloc, &cmd);
    *id = cmd.out_hw_queue_id;
    return rc;
  }

  static constexpr uint64_t kRing = 4096;
  const UniqueFd ring_ = GuestMemory(kRing);
};

TEST_F(FaultsTest, TheThirdCallFailsAndLeavesNothingBehind) {
  ArmIoctl(uapi::kIommuIoasAlloc, ENOMEM, {}, 2);
  const UniqueFd context = OpenContext();
  uint32_t id = 0;
  EXPECT_EQ(AllocIoasRc(context, &id), 0);
  EXPECT_EQ(AllocIoasRc(context, &id), 0);
  EXPECT_EQ(AllocIoasRc(context), -ENOMEM);
  EXPECT_EQ(AllocIoasRc(context, &id), 0);
  EXPECT_EQ(id, 3U) << "the call that failed took no id";
}

TEST_F(FaultsTest, ACallOfACdevFailsToo) {
  ArmIoctl(uapi::kVfioDeviceBindIommufd, EBUSY, {});
  const UniqueFd context = OpenContext();
  const UniqueFd cdev = OpenDevice("vfio0");
  EXPECT_EQ(Bind(cdev, context.get()), -EBUSY);
  EXPECT_EQ(Bind(cdev, context.get()), 0);
}

TEST_F(FaultsTest, ASlowCallIsDoneInTheEnd) {
  constexpr absl::Duration kDelay = absl::Milliseconds(30);
  ArmIoctl(uapi::kIommuIoasAlloc, 0, kDelay);
  const UniqueFd context = OpenContext();
  const absl::Time start = absl::Now();
  uint32_t id = 0;
  EXPECT_EQ(AllocIoasRc(context, &id), 0);
  EXPECT_GE(absl::Now() - start, kDelay);
  EXPECT_EQ(id, 1U);
}

TEST_F(FaultsTest, ASlowCallCanFailInTheEnd) {
  ArmIoctl(uapi::kIommuIoasAlloc, EINTR, absl::Milliseconds(5));
  const UniqueFd context = OpenContext();
  EXPECT_EQ(AllocIoasRc(context), -EINTR);
  uint32_t id = 0;
  EXPECT_EQ(AllocIoasRc(context, &id), 0);
  EXPECT_EQ(id, 1U);
}

TEST_F(FaultsTest, OtherCallsGoOnBesideASlowOne) {
  ArmIoctl(uapi::kIommuIoasAlloc, 0, kMaxFaultDelay);
  const UniqueFd context = OpenContext();
  int slow = 0;
  std::thread caller([&] { slow = AllocIoasRc(context); });
  testing::PollUntil([&] { return Met() == 1; });
  uint32_t id = 0;
  EXPECT_EQ(AllocIoasRc(context, &id), 0) << "on the same context, over another channel";
  EXPECT_EQ(id, 1U);
  StopServer();
  caller.join();
  EXPECT_NE(slow, 0) << "it was not waited for";
}

TEST_F(FaultsTest, ASlowCallGoesOnWhenItsFaultIsRemoved) {
  const uint64_t slow = ArmIoctl(uapi::kIommuIoasAlloc, 0, kMaxFaultDelay);
  const uint64_t other = ArmIoctl(uapi::kIommuHwptAlloc, 0, kMaxFaultDelay);
  const UniqueFd context = OpenContext();
  std::atomic<int> rc = -1;
  uint32_t id = 0;
  std::thread caller([&] { rc = AllocIoasRc(context, &id); });
  testing::PollUntil([&] { return Met() == 1; });
  EXPECT_TRUE(faults().Remove(other).ok());
  EXPECT_EQ(AllocIoasRc(context), 0);
  EXPECT_EQ(rc, -1) << "another fault's end is nothing to it";
  const absl::Time removed = absl::Now();
  EXPECT_TRUE(faults().Remove(slow).ok());
  caller.join();
  EXPECT_LT(absl::Now() - removed, kMaxFaultDelay);
  EXPECT_EQ(rc, 0);
  EXPECT_EQ(id, 2U) << "executed after the delay, not before";
}

TEST_F(FaultsTest, ALostEventIsToldOf) {
  Guest guest = MakeGuest("vfio0");
  UniqueFd events;
  AllocVeventq(guest, uapi::kVeventqTypeArmSmmuv3, 8, &events);
  AttachToAbort(guest, 0x42);
  Arm(FaultKind::kLostEvent, kUnit);
  const uapi::IommuVeventArmSmmuv3 event = {{uapi::kEvtFTranslation, 0, 0x1000, 0}};
  ASSERT_TRUE(server().kernel().ReportSmmuEvent("vfio0", event));
  ASSERT_TRUE(IsReadable(events));
  uapi::IommufdVeventHeader header = {};
  ASSERT_EQ(client().ReadEvents(events.get(), &header, sizeof(header)), sizeof(header));
  EXPECT_EQ(header.flags, uapi::kVeventLostEvents);
  EXPECT_EQ(header.sequence, 0U);
  EXPECT_FALSE(IsReadable(events));
}

TEST_F(FaultsTest, QueueMemoryIsNotContiguous) {
  Guest guest = MakeGuest("vfio0");
  Arm(FaultKind::kNonContiguous, "smmu3.1");
  const uint64_t here = Arm(FaultKind::kNonContiguous, kUnit);
  MapQueueMemory(guest);
  uint32_t queue = 0;
  EXPECT_EQ(AllocQueue(guest, &queue), -EFAULT);
  EXPECT_EQ(AllocQueue(guest, &queue), 0) << "it struck once";
  EXPECT_EQ(Destroy(guest.context, queue), 0);
  EXPECT_TRUE(faults().Remove(here).ok());
}

TEST_F(FaultsTest, AStatusThatIsStuckEndsTheCallAfterASecondAndUndoesIt) {
  Guest guest = MakeGuest("vfio0");
  ASSERT_EQ(Destroy(guest.context, guest.viommu), 0);
  Arm(FaultKind::kStuckStatus, kUnit);
  const absl::Time start = absl::Now();
  EXPECT_EQ(AllocViommu(&guest), -ETIMEDOUT);
  EXPECT_GE(absl::Now() - start, absl::Seconds(1));
  EXPECT_EQ(UsedVintfs(), 0U);
  EXPECT_EQ(AllocViommu(&guest), 0) << "it struck once";
}

// tegra241_vcmdq_hw_deinit() and tegra241_vintf_hw_deinit() return nothing.
TEST_F(FaultsTest, AStatusThatIsStuckCostsQueuesTheirTimeAndNoMore) {
  Guest guest = MakeGuest("vfio0");
  MapQueueMemory(guest);
  Arm({.kind = FaultKind::kStuckStatus, .delay = {}, .subject = kUnit, .count = 0});
  uint32_t queue = 0;
  EXPECT_EQ(AllocQueue(guest, &queue), 0);
  {
    const Mapping page0 = MapPage0(guest);
    ASSERT_TRUE(page0.valid());
    const auto reg = [&](size_t offset) {
      return reinterpret_cast<volatile uint32_t*>(page0.data() + offset);
    };
    *reg(uapi::kVcmdqConfig) = uapi::kVcmdqConfigEnable;
    testing::PollUntil(
        [&] { return (*reg(uapi::kVcmdqStatus) & uapi::kVcmdqStatusEnableOk) != 0; });
  }
  const absl::Time start = absl::Now();
  EXPECT_EQ(Destroy(guest.context, queue), 0);
  EXPECT_GE(absl::Now() - start, absl::Seconds(1)) << "its STATUS is to change";
  EXPECT_EQ(AllocQueue(guest, &queue), 0);
  EXPECT_EQ(Destroy(guest.context, queue), 0);
  EXPECT_EQ(Destroy(guest.context, guest.viommu), 0);
  EXPECT_EQ(UsedVintfs(), 0U);
  EXPECT_EQ(AllocViommu(&guest), -ETIMEDOUT);
  EXPECT_EQ(UsedVintfs(), 0U);
}

TEST_F(FaultsTest, OthersDoNotWaitForAStuckStatus) {
  Guest guest = MakeGuest("vfio0");
  ASSERT_EQ(Destroy(guest.context, guest.viommu), 0);
  Arm(FaultKind::kStuckStatus, kUnit);
  const UniqueFd context = OpenContext();
  int stuck = 0;
  std::thread caller([&] { stuck = AllocViommu(&guest); });
  testing::PollUntil([&] { return Met() == 1; });
  // The server answers one call after the other, so this one was made while the other waited.
  EXPECT_EQ(AllocIoasRc(context), 0);
  caller.join();
  EXPECT_EQ(stuck, -ETIMEDOUT);
}

TEST_F(FaultsTest, AnAtcThatDoesNotAnswerStopsTheNextCmdSyncAndNoOther) {
  Guest guest = MakeGuest("vfio0");
  AttachToAbort(guest, 0x42);
  MapQueueMemory(guest);
  uint32_t queue = 0;
  ASSERT_EQ(AllocQueue(guest, &queue), 0);
  const Mapping page0 = MapPage0(guest);
  ASSERT_TRUE(page0.valid());
  Arm(FaultKind::kAtcTimeout, kUnit);
  auto ring = Mapping::Map(ring_.get(), 0, kRing, Mapping::Access::kReadWrite);
  ASSERT_TRUE(ring.ok());
  const uint64_t invalidate = uapi::kCmdAtcInv | uint64_t{0x42} << 32;
  const uint64_t commands[][2] = {
      {invalidate, 52}, {uapi::kCmdSync, 0}, {invalidate, 52}, {uapi::kCmdSync, 0}};
  std::memcpy(ring->data(), commands, sizeof(commands));
  const auto reg = [&](size_t offset) {
    return reinterpret_cast<volatile uint32_t*>(page0.data() + offset);
  };
  *reg(uapi::kVcmdqConfig) = uapi::kVcmdqConfigEnable;
  testing::PollUntil([&] { return (*reg(uapi::kVcmdqStatus) & uapi::kVcmdqStatusEnableOk) != 0; });
  *reg(uapi::kVcmdqProd) = 4;
  testing::PollUntil([&] { return (*reg(uapi::kVcmdqGerror) & uapi::kVcmdqGerrorCommand) != 0; });
  EXPECT_EQ(uapi::kVcmdqConsIndex.Get(*reg(uapi::kVcmdqCons)), 1U) << "at the CMD_SYNC";
  EXPECT_EQ(uapi::kVcmdqConsError.Get(*reg(uapi::kVcmdqCons)), 3U);
  // As Linux does: the CMD_SYNC is tried again.
  *reg(uapi::kVcmdqGerrorn) = *reg(uapi::kVcmdqGerror);
  testing::PollUntil([&] { return uapi::kVcmdqConsIndex.Get(*reg(uapi::kVcmdqCons)) == 4U; });
  EXPECT_EQ(uapi::kVcmdqConsError.Get(*reg(uapi::kVcmdqCons)), 0U);
}

TEST_F(FaultsTest, ADeviceThatIsPulledOutAnswersOnes) {
  Guest guest = MakeGuest("vfio0");
  const uint64_t gone = Arm(FaultKind::kDeviceGone, SmallHost().devices[0].address.ToString());
  uapi::VfioRegionInfo region = {};
  region.index = uapi::kVfioPciConfigRegion;
  ASSERT_EQ(Call(guest.cdev, uapi::kVfioDeviceGetRegionInfo, &region), 0);
  uint16_t vendor = 0;
  const auto read_vendor = [&] {
    EXPECT_EQ(client().ReadRegion(guest.cdev.get(), &vendor, sizeof(vendor), region.offset), 2);
    return vendor;
  };
  EXPECT_EQ(read_vendor(), 0xffff);
  EXPECT_EQ(client().Ioctl(guest.cdev.get(), uapi::kVfioDeviceReset, nullptr), -ENOTTY);
  EXPECT_FALSE(client().OpenDevice("vfio0").ok());
  EXPECT_TRUE(client().OpenDevice("vfio1").ok()) << "the others are there";
  EXPECT_TRUE(faults().Remove(gone).ok());
  EXPECT_EQ(read_vendor(), 0x10de);
  EXPECT_EQ(client().Ioctl(guest.cdev.get(), uapi::kVfioDeviceReset, nullptr), 0);
  EXPECT_TRUE(client().OpenDevice("vfio0").ok());
}

}  // namespace
}  // namespace berth::emulator
