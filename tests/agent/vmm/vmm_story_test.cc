// SPDX-License-Identifier: Apache-2.0
//
// Good days and bad days of VMMs.
#include <gmock/gmock.h>

#include <atomic>
#include <thread>

#include "lib/base/mapping.h"
#include "lib/iommufd/mapped_region.h"
#include "lib/iommufd/uapi/smmuv3.h"
#include "tests/agent/vmm/vmm_fixture.h"

namespace berth::testing {
namespace {

using ::testing::ElementsAre;

// The registers of LVCMDQ 0, as a guest driver uses them.
class Queue {
 public:
  explicit Queue(const Mapping& page0) : page0_(page0.data()) {}
  void Enable() {
    Register(uapi::kVcmdqConfig) = uapi::kVcmdqConfigEnable;
    while ((Register(uapi::kVcmdqStatus) & uapi::kVcmdqStatusEnableOk) == 0) {
      std::this_thread::yield();
    }
  }
  void Submit(uint32_t prod) { Register(uapi::kVcmdqProd) = prod; }
  void AwaitCons(uint32_t cons) {
    while (uapi::kVcmdqConsIndex.Get(Register(uapi::kVcmdqCons)) != cons) {
      std::this_thread::yield();
    }
  }

 private:
  std::atomic_ref<uint32_t> Register(size_t offset) {
    return std::atomic_ref<uint32_t>(*reinterpret_cast<uint32_t*>(page0_ + offset));
  }
  std::byte* page0_;
};

class VmmStoryTest : public VmmFixture {
 protected:
  // Memory, queue 0 and page0.
  void SetUpQueue(RawVmm& vmm) {
    ram_ = Memfd(kRamSize);
    ASSERT_EQ(vmm.Map(ram_.get(), kRam, kRamSize).reason(), BERTH_VMM_REASON_NONE);
    ASSERT_EQ(vmm.AllocQueue(0, kRam, kQueueBytes).reason(), BERTH_VMM_REASON_NONE);
    auto ring = Mapping::Map(ram_.get(), 0, kQueueBytes, Mapping::Access::kReadWrite);
    ASSERT_TRUE(ring.ok());
    ring_ = *std::move(ring);
    MapPage0(vmm);
  }
  void MapPage0(RawVmm& vmm) {
    const auto region = vmm.Page0(0);
    ASSERT_EQ(region.fds.size(), 1U);
    auto page0 = Mapping::Map(region.fds[0].get(), region.body.offset, region.body.length,
                              Mapping::Access::kReadWrite);
    ASSERT_TRUE(page0.ok());
    page0_ = *std::move(page0);
  }
  void PutCommand(size_t slot, uint64_t first) {
    reinterpret_cast<uint64_t*>(ring_.data())[2 * slot] = first;
    reinterpret_cast<uint64_t*>(ring_.data())[2 * slot + 1] = 0;
  }

  UniqueFd ram_;
  Mapping ring_;
  Mapping page0_;
};

TEST_F(VmmStoryTest, AttachesDrivesItsQueueAndLeaves) {
  PrepareGrant();
  RawVmm vmm(path());
  const auto hello = vmm.Hello("a", kToken);
  ASSERT_EQ(hello.reason(), BERTH_VMM_REASON_NONE) << hello.reply().message;
  EXPECT_EQ(hello.body.unit_count, 1U);
  EXPECT_EQ(hello.body.device_count, 2U);
  EXPECT_EQ(hello.body.iova_alignment, 4096U);
  EXPECT_EQ(hello.body.last_call_id, 0U);
  EXPECT_EQ(hello.body.isolation, static_cast<uint32_t>(v1::AssignmentSpec::TRUSTED));
  Await("a", State::ATTACHED);
  EXPECT_EQ(manager().LocalGrants()[0].vmm_pid(), ::getpid());

  const auto unit = vmm.Ask<berth_vmm_unit_reply>(BERTH_VMM_GET_UNIT, berth_vmm_get_unit{});
  EXPECT_STREQ(unit.body.id, "smmu0");
  EXPECT_EQ(unit.body.vcmdqs, 2U);
  EXPECT_EQ(unit.body.sid_slots, 4U);
  EXPECT_EQ(unit.body.max_queue_log2, 17U);
  EXPECT_EQ(unit.body.hw_info_length, 40U);
  EXPECT_EQ(unit.body.cmdqv_info_length, 8U);
  const auto device = vmm.Ask<berth_vmm_device_reply>(BERTH_VMM_GET_DEVICE, berth_vmm_get_device{});
  EXPECT_STREQ(device.body.id, "gpu0");
  EXPECT_EQ(device.fds.size(), 1U);
  const auto ranges =
      vmm.Ask<berth_vmm_iova_ranges_reply>(BERTH_VMM_GET_IOVA_RANGES, berth_vmm_get_iova_ranges{});
  EXPECT_GE(ranges.body.range_count, 2U);  // around the MSI window

  SetUpQueue(vmm);
  EXPECT_EQ(vmm.SetStream(0, 5, BERTH_VMM_STREAM_BYPASS).reason(), BERTH_VMM_REASON_NONE);
  Queue queue(page0_);
  queue.Enable();
  PutCommand(0, uapi::kCmd0Opcode.Put(uapi::kCmdTlbiNhAsid));
  PutCommand(1, uapi::kCmd0Opcode.Put(uapi::kCmdSync));
  queue.Submit(2);
  queue.AwaitCons(2);
  const emulator::Snapshot snapshot = host_.Snapshot();
  EXPECT_EQ(snapshot.units[0].by_vcmdqs.at(uapi::kCmdSync), 1U);

  page0_.Reset();
  EXPECT_EQ(vmm.Detach().reason(), BERTH_VMM_REASON_NONE);
  Await("a", State::RECYCLING);
  // The device fd above is closed with this scope's answers; until then it pins the device.
}

TEST_F(VmmStoryTest, GetsAFreshContextAfterDetach) {
  PrepareGrant();
  {
    RawVmm vmm(path());
    ASSERT_EQ(vmm.Hello("a", kToken).reason(), BERTH_VMM_REASON_NONE);
    SetUpQueue(vmm);
    page0_.Reset();
    ASSERT_EQ(vmm.SetStream(1, 9, BERTH_VMM_STREAM_BYPASS).reason(), BERTH_VMM_REASON_NONE);
    ASSERT_EQ(vmm.Detach().reason(), BERTH_VMM_REASON_NONE);
    Await("a", State::PREPARED);
    EXPECT_EQ(vmm.Map(ram_.get(), kRam, kRamSize).reason(), BERTH_VMM_REASON_NO_SESSION);
    // The same connection may attach again, and finds nothing of before.
    vmm.session = 0;
    ASSERT_EQ(vmm.Hello("a", kToken).reason(), BERTH_VMM_REASON_NONE);
    EXPECT_EQ(vmm.Map(ram_.get(), kRam, kRamSize).reason(), BERTH_VMM_REASON_NONE);
  }
  EXPECT_THAT(States("a"),
              ElementsAre(State::PREPARING, State::PREPARED, State::ATTACHED, State::RECYCLING,
                          State::PREPARING, State::PREPARED, State::ATTACHED));
  EXPECT_EQ(host_.Snapshot().contexts, 1);
}

TEST_F(VmmStoryTest, IsCleanedUpWhenItIsKilled) {
  PrepareGrant();
  VmmProcess process(path());
  RawVmm vmm(process.TakeConnection());
  ASSERT_EQ(vmm.Hello("a", kToken).reason(), BERTH_VMM_REASON_NONE);
  SetUpQueue(vmm);
  page0_.Reset();
  EXPECT_EQ(manager().LocalGrants()[0].vmm_pid(), process.pid());
  process.Kill();
  Await("a", State::RECYCLING);
  Await("a", State::PREPARED);
  const emulator::Snapshot snapshot = host_.Snapshot();
  EXPECT_EQ(snapshot.contexts, 1);
  EXPECT_EQ(snapshot.objects.count("HW_QUEUE"), 0U);
  RawVmm next(path());
  EXPECT_EQ(next.Hello("a", kToken).reason(), BERTH_VMM_REASON_NONE);
}

TEST_F(VmmStoryTest, StaysChargedWhilePage0IsMapped) {
  PrepareGrant();
  RawVmm vmm(path());
  ASSERT_EQ(vmm.Hello("a", kToken).reason(), BERTH_VMM_REASON_NONE);
  MapPage0(vmm);
  ASSERT_EQ(vmm.Detach().reason(), BERTH_VMM_REASON_NONE);
  const agent::v1::GrantStatus pinned = AwaitCondition("a", "Pinned");
  EXPECT_EQ(pinned.observed(), State::RECYCLING);
  EXPECT_EQ(pinned.conditions(0).reason(), "STILL_MAPPED");
  RawVmm other(path());
  EXPECT_EQ(other.Hello("a", kToken).reason(), BERTH_VMM_REASON_NOT_READY);
  page0_.Reset();
  EXPECT_EQ(Await("a", State::PREPARED).conditions_size(), 0);
}

TEST_F(VmmStoryTest, StaysChargedWhileACdevIsHeld) {
  PrepareGrant();
  RawVmm vmm(path());
  ASSERT_EQ(vmm.Hello("a", kToken).reason(), BERTH_VMM_REASON_NONE);
  auto device = vmm.Ask<berth_vmm_device_reply>(BERTH_VMM_GET_DEVICE, berth_vmm_get_device{});
  ASSERT_EQ(device.fds.size(), 1U);
  ASSERT_EQ(vmm.Detach().reason(), BERTH_VMM_REASON_NONE);
  EXPECT_EQ(AwaitCondition("a", "Pinned").conditions(0).reason(), "DEVICE_BUSY");
  device.fds.clear();
  Await("a", State::PREPARED);
}

TEST_F(VmmStoryTest, IsOrphanedWhilePinnedForLongAndThenPreparedAnew) {
  limits().orphan_after = absl::ZeroDuration();
  PrepareGrant();
  RawVmm vmm(path());
  ASSERT_EQ(vmm.Hello("a", kToken).reason(), BERTH_VMM_REASON_NONE);
  MapPage0(vmm);
  ASSERT_EQ(vmm.Detach().reason(), BERTH_VMM_REASON_NONE);
  const agent::v1::GrantStatus orphaned = Await("a", State::ORPHANED);
  EXPECT_EQ(orphaned.conditions(0).reason(), "STILL_MAPPED");
  EXPECT_EQ(orphaned.units_size(), 1);  // charged
  page0_.Reset();
  Await("a", State::PREPARED);
  EXPECT_THAT(States("a"), ElementsAre(State::PREPARING, State::PREPARED, State::ATTACHED,
                                       State::RECYCLING, State::ORPHANED, State::SCRUBBING,
                                       State::GONE, State::PREPARING, State::PREPARED));
}

TEST_F(VmmStoryTest, IsReleasedOnlyWhenItsVmmLeaves) {
  PrepareGrant();
  RawVmm vmm(path());
  ASSERT_EQ(vmm.Hello("a", kToken).reason(), BERTH_VMM_REASON_NONE);
  agent::v1::DesiredGrant releasing = Desired("a", {"gpu0", "gpu1"});
  releasing.set_intent(State::RELEASING);
  ASSERT_TRUE(manager().Upsert(releasing).ok());
  // The VM goes on.
  ram_ = Memfd(kRamSize);
  EXPECT_EQ(vmm.Map(ram_.get(), kRam, kRamSize).reason(), BERTH_VMM_REASON_NONE);
  EXPECT_EQ(vmm.Detach().reason(), BERTH_VMM_REASON_NONE);
  Await("a", State::GONE);
  EXPECT_THAT(States("a"), ElementsAre(State::PREPARING, State::PREPARED, State::ATTACHED,
                                       State::SCRUBBING, State::GONE));
  ExpectNothingLeft();
  RawVmm late(path());
  EXPECT_EQ(late.Hello("a", kToken).reason(), BERTH_VMM_REASON_UNKNOWN_ASSIGNMENT);
}

TEST_F(VmmStoryTest, IsOrphanedWhenTheControllerDoesNotKnowIt) {
  PrepareGrant();
  RawVmm vmm(path());
  ASSERT_EQ(vmm.Hello("a", kToken).reason(), BERTH_VMM_REASON_NONE);
  ASSERT_TRUE(manager().Apply({}).ok());
  EXPECT_EQ(Await("a", State::ORPHANED).conditions(0).type(), "Claimed");
  ram_ = Memfd(kRamSize);
  EXPECT_EQ(vmm.Map(ram_.get(), kRam, kRamSize).reason(), BERTH_VMM_REASON_NONE);
  EXPECT_EQ(vmm.Detach().reason(), BERTH_VMM_REASON_NONE);
  Await("a", State::GONE);
  ExpectNothingLeft();
}

TEST_F(VmmStoryTest, MayComeBackWithinTheGrace) {
  FakeClock& clock = UseFakeClock();
  limits().resume_grace = absl::Seconds(5);
  PrepareGrant();
  RawVmm vmm(path());
  ASSERT_EQ(vmm.Hello("a", kToken).reason(), BERTH_VMM_REASON_NONE);
  ram_ = Memfd(kRamSize);
  ASSERT_EQ(vmm.Map(ram_.get(), kRam, kRamSize).reason(), BERTH_VMM_REASON_NONE);
  vmm.Disconnect();

  RawVmm again(path());
  again.session = vmm.session;
  const auto hello = again.Hello("a", kToken);
  ASSERT_EQ(hello.reason(), BERTH_VMM_REASON_NONE) << hello.reply().message;
  EXPECT_EQ(again.session, vmm.session);
  EXPECT_EQ(hello.body.last_call_id, 1U);
  // The old grace has no say any more.
  clock.Advance(absl::Seconds(60));
  again.call_id = 1;
  EXPECT_EQ(again.AllocQueue(0, kRam, kQueueBytes).reason(), BERTH_VMM_REASON_NONE);
  EXPECT_THAT(States("a"), ElementsAre(State::PREPARING, State::PREPARED, State::ATTACHED));

  again.Disconnect();
  while (manager().LocalGrants()[0].vmm_pid() != 0) clock.Advance(absl::Seconds(6));
  Await("a", State::RECYCLING);
}

TEST_F(VmmStoryTest, GetsTheSameAnswerToARepeatedCall) {
  PrepareGrant();
  RawVmm vmm(path());
  ASSERT_EQ(vmm.Hello("a", kToken).reason(), BERTH_VMM_REASON_NONE);
  ram_ = Memfd(kRamSize);
  for (int i = 0; i < 2; ++i) {
    vmm.call_id = 0;
    EXPECT_EQ(vmm.Map(ram_.get(), kRam, kRamSize).reason(), BERTH_VMM_REASON_NONE) << i;
  }
  EXPECT_EQ(manager().LocalGrants()[0].memory_bytes(), static_cast<int64_t>(kRamSize));
  for (int i = 0; i < 2; ++i) {
    vmm.call_id = 1;
    EXPECT_EQ(vmm.Page0(0).fds.size(), 1U) << i;  // fds too
  }
  vmm.call_id = 1;
  EXPECT_EQ(vmm.AllocQueue(0, kRam, kQueueBytes).reason(), BERTH_VMM_REASON_CALL_REPLAYED);
  vmm.call_id = 0;
  EXPECT_EQ(vmm.AllocQueue(0, kRam, kQueueBytes).reason(), BERTH_VMM_REASON_CALL_REPLAYED);
  vmm.call_id = 2;
  EXPECT_EQ(vmm.AllocQueue(0, kRam, kQueueBytes).reason(), BERTH_VMM_REASON_NONE);
}

TEST_F(VmmStoryTest, HearsOfItsDevicesFaultsAndItsQueuesErrors) {
  PrepareGrant();
  RawVmm vmm(path());
  ASSERT_EQ(vmm.Hello("a", kToken).reason(), BERTH_VMM_REASON_NONE);
  SetUpQueue(vmm);
  ASSERT_EQ(vmm.SetStream(0, 5, BERTH_VMM_STREAM_BYPASS).reason(), BERTH_VMM_REASON_NONE);
  uapi::IommuVeventArmSmmuv3 fault = {};
  fault.evt[0] = uapi::kEvt0Id.Put(uapi::kEvtFTranslation);
  ASSERT_TRUE(host_.hardware().ReportSmmuEvent("vfio0", fault));
  berth_vmm_event event = vmm.NextEvent();
  EXPECT_EQ(event.header.type, BERTH_VMM_EVENT);
  EXPECT_EQ(event.header.call_id, 1U);
  EXPECT_EQ(event.header.session_id, vmm.session);
  EXPECT_EQ(event.source, static_cast<uint32_t>(BERTH_VMM_EVENT_SMMUV3));
  EXPECT_EQ(uapi::kEvt0Sid.Get(event.data[0]), 5U);

  Queue queue(page0_);
  queue.Enable();
  PutCommand(0, uapi::kCmd0Opcode.Put(0x7f));  // illegal
  queue.Submit(1);
  event = vmm.NextEvent();
  EXPECT_EQ(event.header.call_id, 2U);
  EXPECT_EQ(event.source, static_cast<uint32_t>(BERTH_VMM_EVENT_CMDQV));
  EXPECT_EQ(event.data[0], 1U);  // LVCMDQ 0
}

TEST_F(VmmStoryTest, ItsFaultsAreNewsOfItsDeviceUntilItsGuestBeginsAnew) {
  PrepareGrant();
  RawVmm vmm(path());
  ASSERT_EQ(vmm.Hello("a", kToken).reason(), BERTH_VMM_REASON_NONE);
  ASSERT_EQ(vmm.SetStream(1, 6, BERTH_VMM_STREAM_BYPASS).reason(), BERTH_VMM_REASON_NONE);
  uapi::IommuVeventArmSmmuv3 fault = {};
  fault.evt[0] = uapi::kEvt0Id.Put(uapi::kEvtFTranslation);
  ASSERT_TRUE(host_.hardware().ReportSmmuEvent("vfio1", fault));
  const std::vector<EventNews> news =
      AwaitEventNews("a", [](const auto& told) { return !told.empty(); });
  ASSERT_EQ(news.size(), 1U);
  EXPECT_EQ(news[0].kind, EventNews::Kind::kFault);
  EXPECT_THAT(news[0].devices, ElementsAre(DeviceId("gpu1")));
  EXPECT_THAT(news[0].last, ::testing::HasSubstr("F_TRANSLATION of vSID 0x6"));
  berth_vmm_reset_guest reset = {};
  ASSERT_EQ(vmm.Ask<berth_vmm_empty_reply>(BERTH_VMM_RESET_GUEST, reset).reason(),
            BERTH_VMM_REASON_NONE);
  EXPECT_THAT(AwaitEventNews("a", [](const auto& told) { return told.empty(); }),
              ::testing::IsEmpty());
}

TEST_F(VmmStoryTest, EventsThatCannotBeReadAreNewsOfTheUnitUntilItLeaves) {
  PrepareGrant();
  RawVmm vmm(path());
  ASSERT_EQ(vmm.Hello("a", kToken).reason(), BERTH_VMM_REASON_NONE);
  ASSERT_EQ(vmm.SetStream(0, 5, BERTH_VMM_STREAM_BYPASS).reason(), BERTH_VMM_REASON_NONE);
  failing_.FailReads(EINVAL);
  uapi::IommuVeventArmSmmuv3 fault = {};
  fault.evt[0] = uapi::kEvt0Id.Put(uapi::kEvtFTranslation);
  ASSERT_TRUE(host_.hardware().ReportSmmuEvent("vfio0", fault));
  const std::vector<EventNews> news =
      AwaitEventNews("a", [](const auto& told) { return !told.empty(); });
  EXPECT_EQ(news[0].kind, EventNews::Kind::kUnreadable);
  EXPECT_EQ(news[0].unit.str(), "smmu0");
  failing_.FailReads(0);
  ASSERT_EQ(vmm.Detach().reason(), BERTH_VMM_REASON_NONE);
  EXPECT_THAT(AwaitEventNews("a", [](const auto& told) { return told.empty(); }),
              ::testing::IsEmpty());
}

TEST_F(VmmStoryTest, LosesNoEventThatItReadsLate) {
  limits().event_depth = 4096;
  PrepareGrant();
  RawVmm vmm(path());
  ASSERT_EQ(vmm.Hello("a", kToken).reason(), BERTH_VMM_REASON_NONE);
  ASSERT_EQ(vmm.SetStream(0, 5, BERTH_VMM_STREAM_BYPASS).reason(), BERTH_VMM_REASON_NONE);
  // More than the socket takes.
  constexpr uint32_t kEvents = 3000;
  for (uint32_t i = 0; i < kEvents; ++i) {
    uapi::IommuVeventArmSmmuv3 fault = {};
    fault.evt[0] = uapi::kEvt0Id.Put(uapi::kEvtFTranslation);
    fault.evt[2] = i;
    ASSERT_TRUE(host_.hardware().ReportSmmuEvent("vfio0", fault));
  }
  for (uint32_t i = 0; i < kEvents; ++i) {
    const berth_vmm_event event = vmm.NextEvent();
    ASSERT_EQ(event.data[2], i);
    ASSERT_EQ(event.sequence, i);
  }
}

TEST_F(VmmStoryTest, IsToldWhenTheKernelEnds) {
  PrepareGrant();
  RawVmm vmm(path());
  ASSERT_EQ(vmm.Hello("a", kToken).reason(), BERTH_VMM_REASON_NONE);
  host_.EndKernel();
  EXPECT_TRUE(vmm.ClosedByAgent());
  AwaitCondition("a", "KernelHealthy");
  host_.StartKernel();
  Await("a", State::PREPARED);
  EXPECT_THAT(States("a"), ElementsAre(State::PREPARING, State::PREPARED, State::ATTACHED,
                                       State::PREPARING, State::PREPARED));
  RawVmm next(path());
  EXPECT_EQ(next.Hello("a", kToken).reason(), BERTH_VMM_REASON_NONE);
}

TEST_F(VmmStoryTest, KeepsItsQueueWhenTheAgentStops) {
  PrepareGrant();
  RawVmm vmm(path());
  ASSERT_EQ(vmm.Hello("a", kToken).reason(), BERTH_VMM_REASON_NONE);
  SetUpQueue(vmm);
  Queue queue(page0_);
  queue.Enable();
  manager().Stop();
  EXPECT_TRUE(vmm.ClosedByAgent());
  PutCommand(0, uapi::kCmd0Opcode.Put(uapi::kCmdSync));
  queue.Submit(1);
  queue.AwaitCons(1);
  EXPECT_EQ(host_.Snapshot().pinned_contexts, 1);
}

}  // namespace
}  // namespace berth::testing
