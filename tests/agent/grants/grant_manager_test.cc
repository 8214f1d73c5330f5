// SPDX-License-Identifier: Apache-2.0
#include "agent/grants/grant_manager.h"

#include <gmock/gmock.h>

#include <cerrno>
#include <set>
#include <thread>

#include "lib/base/status.h"
#include "lib/iommufd/context.h"
#include "lib/iommufd/device.h"
#include "lib/iommufd/uapi/vfio.h"
#include "tests/agent/grants/grants_fixture.h"
#include "tests/agent/grants/held_device.h"

namespace berth::testing {
namespace {

using ::testing::ElementsAre;

class GrantManagerTest : public GrantsFixture {
 protected:
  static agent::v1::DesiredGrant Releasing(agent::v1::DesiredGrant grant) {
    grant.set_intent(State::RELEASING);
    return grant;
  }
};

TEST_F(GrantManagerTest, BuildsAGrantAndTearsItDown) {
  agent::v1::DesiredGrant wanted = Desired("a", {"gpu0", "gpu1"});
  AddUnit("smmu1", 0, {"nic0"}, &wanted);
  ASSERT_TRUE(manager().Upsert(wanted).ok());
  const agent::v1::GrantStatus prepared = Await("a", State::PREPARED);
  EXPECT_EQ(prepared.generation(), 1);
  EXPECT_EQ(prepared.units_size(), 2);

  const emulator::Snapshot snapshot = host_.Snapshot();
  EXPECT_EQ(snapshot.contexts, 1);
  EXPECT_EQ(snapshot.bound_devices, 3);
  EXPECT_EQ(snapshot.units[0].allocated.size(), 1U);
  EXPECT_EQ(snapshot.units[1].allocated.size(), 0U);  // it has no VINTFs

  ASSERT_TRUE(manager().Upsert(Releasing(wanted)).ok());
  Await("a", State::GONE);
  EXPECT_THAT(States("a"),
              ElementsAre(State::PREPARING, State::PREPARED, State::SCRUBBING, State::GONE));
  ExpectNothingLeft();
}

TEST_F(GrantManagerTest, ShowsTheObjectsOfAGrant) {
  ASSERT_TRUE(manager().Upsert(Desired("a", {"gpu0"})).ok());
  Await("a", State::PREPARED);
  const auto objects = manager().Objects(AssignmentUid("a"));
  ASSERT_TRUE(objects.ok());
  std::vector<std::string> types;
  std::set<uint32_t> ids;
  for (const agent::v1::KernelObject& object : *objects) {
    types.push_back(object.type() + " " + object.detail());
    ids.insert(object.id());
  }
  EXPECT_THAT(types, ElementsAre("device 0000:01:00.0", "ioas 0 bytes mapped",
                                 "hwpt nesting parent", "viommu 2 queues", "hwpt abort",
                                 "hwpt bypass", "veventq SMMUv3 events", "veventq CMDQV errors"));
  EXPECT_EQ(ids.size(), types.size());
  EXPECT_EQ(ReasonOf(manager().Objects(AssignmentUid("b")).status()), Reason::kNotFound);
}

TEST_F(GrantManagerTest, ForgetsWhatIsGoneAndNothingElse) {
  const agent::v1::DesiredGrant wanted = Desired("a", {"gpu0"});
  ASSERT_TRUE(manager().Upsert(wanted).ok());
  Await("a", State::PREPARED);
  manager().Forget(AssignmentUid("a"));
  EXPECT_EQ(manager().Statuses().size(), 1U);
  ASSERT_TRUE(manager().Upsert(Releasing(wanted)).ok());
  Await("a", State::GONE);
  manager().Forget(AssignmentUid("a"));
  while (!manager().Statuses().empty()) std::this_thread::yield();
}

TEST_F(GrantManagerTest, RefusesAnOlderGenerationAndAnIntentThatGoesBack) {
  agent::v1::DesiredGrant wanted = Desired("a", {"gpu0"});
  wanted.set_generation(5);
  ASSERT_TRUE(manager().Upsert(wanted).ok());
  agent::v1::DesiredGrant older = wanted;
  older.set_generation(4);
  EXPECT_EQ(ReasonOf(manager().Upsert(Releasing(older))), Reason::kFenced);
  ASSERT_TRUE(manager().Upsert(Releasing(wanted)).ok());
  EXPECT_EQ(ReasonOf(manager().Upsert(wanted)), Reason::kFenced);
  EXPECT_EQ(fenced(), 2);
  Await("a", State::GONE);
}

TEST_F(GrantManagerTest, RefusesMalformedGrants) {
  const auto refused = [&](const std::function<void(agent::v1::DesiredGrant&)>& spoil) {
    agent::v1::DesiredGrant grant = Desired("a", {"gpu0"});
    spoil(grant);
    return ReasonOf(manager().Upsert(grant));
  };
  EXPECT_EQ(refused([](auto& g) { g.clear_assignment_uid(); }), Reason::kMissingField);
  EXPECT_EQ(refused([](auto& g) { g.set_assignment_uid(std::string(64, 'a')); }),
            Reason::kTooLarge);
  EXPECT_EQ(refused([](auto& g) { g.set_generation(0); }), Reason::kInvalidField);
  EXPECT_EQ(refused([](auto& g) { g.set_intent(State::PENDING); }), Reason::kInvalidField);
  EXPECT_EQ(refused([](auto& g) { g.set_token_hash("short"); }), Reason::kInvalidField);
  EXPECT_EQ(refused([](auto& g) { g.set_memory_limit_bytes(-1); }), Reason::kInvalidField);
  EXPECT_EQ(refused([](auto& g) { g.clear_units(); }), Reason::kMissingField);
  EXPECT_EQ(refused([](auto& g) { AddUnit("smmu1", 0, {"gpu0"}, &g); }), Reason::kInvalidField);
  EXPECT_EQ(refused([](auto& g) { AddUnit("smmu0", 0, {"gpu1"}, &g); }), Reason::kInvalidField);
  EXPECT_TRUE(manager().Statuses().empty());
}

TEST_F(GrantManagerTest, BoundsTheNumberOfGrants) {
  limits().grants = 1;
  ASSERT_TRUE(manager().Upsert(Desired("a", {"gpu0"})).ok());
  EXPECT_EQ(ReasonOf(manager().Upsert(Desired("b", {"gpu1"}))), Reason::kOverloaded);
}

struct Unbuildable {
  std::string name;
  std::function<void(agent::v1::DesiredGrant&)> ask;
  std::string reason;
};

class UnbuildableGrant : public GrantsFixture, public ::testing::WithParamInterface<Unbuildable> {};

TEST_P(UnbuildableGrant, IsGoneWithItsReason) {
  agent::v1::DesiredGrant wanted = Desired("a", {"gpu0"});
  GetParam().ask(wanted);
  ASSERT_TRUE(manager().Upsert(wanted).ok());
  const agent::v1::GrantStatus gone = Await("a", State::GONE);
  EXPECT_EQ(gone.failure().reason(), GetParam().reason) << gone.failure().message();
  EXPECT_EQ(gone.units_size(), 0);
  ExpectNothingLeft();
}

INSTANTIATE_TEST_SUITE_P(
    Grants, UnbuildableGrant,
    ::testing::Values(
        Unbuildable{"Confined", [](auto& g) { g.set_isolation(v1::AssignmentSpec::CONFINED); },
                    "UNSUPPORTED"},
        Unbuildable{"ConfinedHandOff",
                    [](auto& g) {
                      g.set_isolation(v1::AssignmentSpec::CONFINED);
                      g.set_attach_mode(v1::AssignmentSpec::HAND_OFF);
                    },
                    "UNSUPPORTED"},
        Unbuildable{"NoSuchUnit", [](auto& g) { g.mutable_units(0)->set_unit("smmu9"); },
                    "UNIT_UNKNOWN"},
        Unbuildable{"NoSuchDevice",
                    [](auto& g) { g.mutable_units(0)->mutable_devices(0)->set_device("gpu9"); },
                    "DEVICE_GONE"},
        Unbuildable{"DeviceOfAnotherUnit",
                    [](auto& g) { g.mutable_units(0)->mutable_devices(0)->set_device("nic0"); },
                    "DEVICE_GONE"},
        Unbuildable{"IommuWithoutVirtualisation",
                    [](auto& g) { g.mutable_units(0)->set_unit("vtd0"); }, "UNSUPPORTED"},
        Unbuildable{"TooManyQueues", [](auto& g) { g.mutable_units(0)->set_vcmdqs(3); },
                    "KERNEL_FEATURE_MISSING"},
        Unbuildable{"QueuesOfAPlainUnit", [](auto& g) { AddUnit("smmu1", 1, {"nic0"}, &g); },
                    "KERNEL_FEATURE_MISSING"},
        Unbuildable{"MoreDevicesThanSidSlots",
                    [](auto& g) {
                      for (const char* device : {"gpu1", "gpu2", "gpu3", "gpu4"}) {
                        g.mutable_units(0)->add_devices()->set_device(device);
                      }
                    },
                    "SID_SLOTS_EXHAUSTED"}),
    [](const auto& param) { return param.param.name; });

TEST_F(GrantManagerTest, SaysThatAUnitHasNoVintfLeft) {
  for (int i = 0; i < EmulatedHost::kVintfs; ++i) {
    const std::string n = std::to_string(i);
    ASSERT_TRUE(manager().Upsert(Desired(n, {"gpu" + n})).ok());
    Await(n, State::PREPARED);
  }
  ASSERT_TRUE(manager().Upsert(Desired("late", {"gpu4"})).ok());
  const agent::v1::GrantStatus gone = Await("late", State::GONE);
  EXPECT_EQ(gone.failure().reason(), "VINTF_EXHAUSTED");
  EXPECT_EQ(gone.failure().metadata().at("step"), "alloc_viommu");
  EXPECT_EQ(gone.failure().metadata().at("unit"), "smmu0");
  EXPECT_EQ(gone.failure().metadata().at("errno"), "ENOSPC");
  EXPECT_EQ(host_.Snapshot().bound_devices, EmulatedHost::kVintfs);
  EXPECT_THAT(UnitFaults(), ElementsAre("late: smmu0 VINTF_EXHAUSTED"));
}

TEST_F(GrantManagerTest, TellsOfAUnitThatDoesNotAnswer) {
  failing_.FailRequest(uapi::kIommuViommuAlloc, ETIMEDOUT);
  ASSERT_TRUE(manager().Upsert(Desired("a", {"gpu0"})).ok());
  EXPECT_EQ(Await("a", State::GONE).failure().reason(), "HARDWARE_TIMEOUT");
  EXPECT_THAT(UnitFaults(), ElementsAre("a: smmu0 HARDWARE_TIMEOUT"));
  // What fails for another reason says nothing of the unit.
  failing_.FailRequest(uapi::kIommuViommuAlloc, ENOMEM);
  ASSERT_TRUE(manager().Upsert(Desired("b", {"gpu1"})).ok());
  Await("b", State::GONE);
  EXPECT_EQ(UnitFaults().size(), 1U);
  ExpectNothingLeft();
}

TEST_F(GrantManagerTest, UndoesEverythingWhicheverCallFails) {
  limits().busy_patience = absl::ZeroDuration();
  agent::v1::DesiredGrant wanted = Desired("a", {"gpu0", "gpu1"});
  AddUnit("smmu1", 0, {"nic0"}, &wanted);
  // The first life warms up: channels to the emulator stay open.
  ASSERT_TRUE(manager().Upsert(wanted).ok());
  Await("a", State::PREPARED);
  ASSERT_TRUE(manager().Upsert(Releasing(wanted)).ok());
  Await("a", State::GONE);
  ExpectNothingLeft();
  const size_t fds = OpenFds();

  int steps = 0;
  for (;; ++steps) {
    SCOPED_TRACE(steps);
    wanted.set_generation(wanted.generation() + 1);
    failing_.FailCall(steps, ENOMEM);
    ASSERT_TRUE(manager().Upsert(wanted).ok());
    const agent::v1::GrantStatus end = Await("a", [](const agent::v1::GrantStatus& status) {
      return status.observed() == State::PREPARED || status.observed() == State::GONE;
    });
    if (!failing_.failed()) break;
    ASSERT_EQ(end.observed(), State::GONE);
    EXPECT_EQ(end.failure().reason(), "OUT_OF_MEMORY");
    EXPECT_EQ(end.failure().metadata().at("errno"), "ENOMEM");
    EXPECT_FALSE(end.failure().metadata().at("step").empty());
    EXPECT_FALSE(end.failure().metadata().at("call").empty());
    ExpectNothingLeft();
    EXPECT_EQ(OpenFds(), fds);
  }
  // Three devices, two units: 7 calls to bind, an IOAS, 10 and 7 for the units, 1 for the ranges.
  EXPECT_EQ(steps, 26);
}

TEST_F(GrantManagerTest, TriesAFailedGrantAgainOnlyForANewGeneration) {
  agent::v1::DesiredGrant wanted = Desired("a", {"gpu0"});
  failing_.FailCall(0, EPERM);
  ASSERT_TRUE(manager().Upsert(wanted).ok());
  EXPECT_NE(Await("a", State::GONE).failure().reason(), "");
  ASSERT_TRUE(manager().Upsert(wanted).ok());
  wanted.set_generation(2);
  ASSERT_TRUE(manager().Upsert(wanted).ok());
  const agent::v1::GrantStatus prepared = Await("a", State::PREPARED);
  EXPECT_EQ(prepared.generation(), 2);
  EXPECT_FALSE(prepared.has_failure());
  EXPECT_THAT(States("a"),
              ElementsAre(State::PREPARING, State::GONE, State::PREPARING, State::PREPARED));
}

TEST_F(GrantManagerTest, WaitsAWhileForADeviceThatIsHeld) {
  absl::StatusOr<Context> context = Context::Open(&host_.kernel());
  ASSERT_TRUE(context.ok());
  std::optional<Device> holder;
  {
    absl::StatusOr<Device> device = Device::Open(*context, "vfio0");
    ASSERT_TRUE(device.ok());
    holder.emplace(*std::move(device));
  }
  limits().busy_patience = absl::InfiniteDuration();
  ASSERT_TRUE(manager().Upsert(Desired("a", {"gpu0"})).ok());
  EXPECT_EQ(AwaitCondition("a", "Pinned").conditions(0).reason(), "DEVICE_BUSY");
  holder.reset();
  Await("a", State::PREPARED);
}

TEST_F(GrantManagerTest, GivesUpOnADeviceThatStaysHeld) {
  absl::StatusOr<Context> context = Context::Open(&host_.kernel());
  ASSERT_TRUE(context.ok());
  const absl::StatusOr<Device> holder = Device::Open(*context, "vfio0");
  ASSERT_TRUE(holder.ok());
  limits().busy_patience = absl::ZeroDuration();
  ASSERT_TRUE(manager().Upsert(Desired("a", {"gpu0"})).ok());
  const agent::v1::GrantStatus gone = Await("a", State::GONE);
  EXPECT_EQ(gone.failure().reason(), "DEVICE_BUSY");
  EXPECT_EQ(gone.failure().metadata().at("device"), "gpu0");
}

TEST_F(GrantManagerTest, WaitsUntilTheHostCanBeLookedAt) {
  limits().busy_patience = absl::ZeroDuration();
  host_.HideDevices(Error(Reason::kKernelGone, "no emulator listens"));
  ASSERT_TRUE(manager().Apply({Desired("a", {"gpu0"})}).ok());
  EXPECT_EQ(AwaitCondition("a", "KernelHealthy").conditions(0).reason(), "KERNEL_GONE");
  host_.HideDevices(absl::OkStatus());
  EXPECT_EQ(Await("a", State::PREPARED).generation(), 1);
  EXPECT_THAT(States("a"), ElementsAre(State::PREPARING, State::PREPARED));
}

TEST_F(GrantManagerTest, WaitsForAUnitWhoseDevicesCouldNotBeAsked) {
  limits().busy_patience = absl::ZeroDuration();
  host_.HideDevices(Error(Reason::kDeviceBusy, "all are bound"));
  ASSERT_TRUE(manager().Apply({Desired("a", {"gpu0"})}).ok());
  EXPECT_EQ(AwaitCondition("a", "Pinned").conditions(0).reason(), "DEVICE_BUSY");
  host_.HideDevices(absl::OkStatus());
  Await("a", State::PREPARED);
  EXPECT_THAT(States("a"), ElementsAre(State::PREPARING, State::PREPARED));
}

TEST_F(GrantManagerTest, IsNotGoneWhileAVmmOfBeforeHasADevice) {
  limits().busy_patience = absl::ZeroDuration();
  std::optional<HeldDevice> vmm(std::in_place, &host_.kernel(), "vfio1");
  // "pulled" fails for another reason than that a device of it is held.
  agent::v1::DesiredGrant pulled = Desired("pulled", {"gpu1"});
  AddUnit("smmu9", 2, {"gpu9"}, &pulled);
  ASSERT_TRUE(manager().Apply({Desired("whole", {"gpu0", "gpu1"}), pulled}).ok());
  EXPECT_EQ(AwaitCondition("whole", "Pinned").conditions(0).reason(), "DEVICE_BUSY");
  EXPECT_EQ(AwaitCondition("pulled", "Pinned").conditions(0).reason(), "DEVICE_BUSY");
  ASSERT_TRUE(manager().Upsert(Releasing(pulled)).ok());
  EXPECT_EQ(Await("pulled", State::SCRUBBING).units_size(), 2);
  AwaitCondition("pulled", "Pinned");
  vmm.reset();
  Await("whole", State::PREPARED);
  EXPECT_THAT(States("whole"), ElementsAre(State::PREPARING, State::PREPARED));
}

TEST_F(GrantManagerTest, IsNotReleasedBeforeItsDevicesCanBeNamed) {
  host_.HideDevices(Error(Reason::kDeviceBusy, "all are bound"));
  ASSERT_TRUE(manager().Apply({Releasing(Desired("a", {"gpu0"}))}).ok());
  AwaitCondition("a", "Pinned");
  EXPECT_THAT(States("a"), ElementsAre(State::PREPARING, State::SCRUBBING));
  host_.HideDevices(absl::OkStatus());
  Await("a", State::GONE);
}

TEST_F(GrantManagerTest, IsPreparedAgainHoweverLongItsDeviceIsHeldAfterAKernel) {
  limits().busy_patience = absl::ZeroDuration();
  ASSERT_TRUE(manager().Upsert(Desired("a", {"gpu0"})).ok());
  Await("a", State::PREPARED);
  host_.HideDevices(Error(Reason::kKernelGone, "no emulator listens"));
  host_.EndKernel();
  manager().KernelGone();
  AwaitCondition("a", "KernelHealthy");
  host_.StartKernel();
  std::optional<HeldDevice> other(std::in_place, &host_.kernel(), "vfio0");
  host_.HideDevices(absl::OkStatus());
  AwaitCondition("a", "Pinned");
  other.reset();
  Await("a", State::PREPARED);
  EXPECT_THAT(States("a"),
              ElementsAre(State::PREPARING, State::PREPARED, State::PREPARING, State::PREPARED));
}

TEST_F(GrantManagerTest, ReleasesWhatTheWholeSetDoesNotName) {
  ASSERT_TRUE(manager().Apply({Desired("a", {"gpu0"}), Desired("b", {"gpu1"})}).ok());
  Await("a", State::PREPARED);
  Await("b", State::PREPARED);
  ASSERT_TRUE(manager().Apply({Desired("b", {"gpu1"})}).ok());
  Await("a", State::GONE);
  while (manager().Statuses().size() > 1) std::this_thread::yield();
  EXPECT_EQ(manager().Statuses()[0].assignment_uid(), "b");
  EXPECT_EQ(host_.Snapshot().contexts, 1);
}

TEST_F(GrantManagerTest, ProvesTheDevicesOfAnUnknownReleaseFree) {
  ASSERT_TRUE(manager().Upsert(Releasing(Desired("a", {"gpu0"}))).ok());
  Await("a", State::GONE);
  EXPECT_THAT(States("a"), ElementsAre(State::PREPARING, State::SCRUBBING, State::GONE));
  ExpectNothingLeft();
}

TEST_F(GrantManagerTest, RebuildsForANewGenerationWithOtherDevices) {
  ASSERT_TRUE(manager().Upsert(Desired("a", {"gpu0"})).ok());
  Await("a", State::PREPARED);
  agent::v1::DesiredGrant moved = Desired("a", {"gpu1"});
  moved.set_generation(2);
  ASSERT_TRUE(manager().Upsert(moved).ok());
  EXPECT_EQ(Await("a", State::GONE).generation(), 1);
  const agent::v1::GrantStatus prepared = Await("a", State::PREPARED);
  EXPECT_EQ(prepared.generation(), 2);
  EXPECT_EQ(prepared.units(0).devices(0).device(), "gpu1");
}

TEST_F(GrantManagerTest, KeepsTheContextForANewGenerationWithTheSameDevices) {
  agent::v1::DesiredGrant wanted = Desired("a", {"gpu0"});
  ASSERT_TRUE(manager().Upsert(wanted).ok());
  Await("a", State::PREPARED);
  wanted.set_generation(2);
  ASSERT_TRUE(manager().Upsert(wanted).ok());
  ASSERT_TRUE(manager().Upsert(Releasing(wanted)).ok());
  EXPECT_EQ(Await("a", State::GONE).generation(), 2);
  EXPECT_THAT(States("a"),
              ElementsAre(State::PREPARING, State::PREPARED, State::SCRUBBING, State::GONE));
}

TEST_F(GrantManagerTest, DoesNotGiveADeviceBackThatCannotBeReset) {
  const agent::v1::DesiredGrant wanted = Desired("a", {"gpu0"});
  ASSERT_TRUE(manager().Upsert(wanted).ok());
  Await("a", State::PREPARED);
  failing_.FailRequest(uapi::kVfioDeviceReset, EIO);
  ASSERT_TRUE(manager().Upsert(Releasing(wanted)).ok());
  EXPECT_NE(AwaitCondition("a", "Pinned").conditions(0).message(), "");
  EXPECT_EQ(host_.Snapshot().bound_devices, 1);
  failing_.FailRequest(uapi::kVfioDeviceReset, 0);
  Await("a", State::GONE);
  ExpectNothingLeft();
}

TEST_F(GrantManagerTest, AsksNoResetOfADeviceThatHasNone) {
  const agent::v1::DesiredGrant wanted = Desired("a", {"gpu5"});
  ASSERT_TRUE(manager().Upsert(wanted).ok());
  Await("a", State::PREPARED);
  ASSERT_TRUE(manager().Upsert(Releasing(wanted)).ok());
  Await("a", State::GONE);
  ExpectNothingLeft();
}

TEST_F(GrantManagerTest, IsOrphanedWhenItCannotLetGoForLong) {
  limits().orphan_after = absl::ZeroDuration();
  const agent::v1::DesiredGrant wanted = Desired("a", {"gpu0"});
  ASSERT_TRUE(manager().Upsert(wanted).ok());
  Await("a", State::PREPARED);
  failing_.FailRequest(uapi::kVfioDeviceReset, EIO);
  ASSERT_TRUE(manager().Upsert(Releasing(wanted)).ok());
  Await("a", State::ORPHANED);
  failing_.FailRequest(uapi::kVfioDeviceReset, 0);
  Await("a", State::GONE);
  EXPECT_THAT(States("a"), ElementsAre(State::PREPARING, State::PREPARED, State::SCRUBBING,
                                       State::ORPHANED, State::SCRUBBING, State::GONE));
}

TEST_F(GrantManagerTest, PreparesAnewWhenTheKernelIsBack) {
  ASSERT_TRUE(manager().Upsert(Desired("a", {"gpu0"})).ok());
  Await("a", State::PREPARED);
  host_.EndKernel();
  // The event queues tell; nobody has to call KernelGone().
  const agent::v1::GrantStatus waiting = AwaitCondition("a", "KernelHealthy");
  EXPECT_EQ(waiting.observed(), State::PREPARING);
  EXPECT_FALSE(waiting.conditions(0).status());
  EXPECT_EQ(waiting.conditions(0).reason(), "KERNEL_GONE");
  manager().KernelGone();
  host_.StartKernel();
  EXPECT_EQ(Await("a", State::PREPARED).conditions_size(), 0);
  manager().KernelGone();  // late news change nothing
  EXPECT_EQ(host_.Snapshot().contexts, 1);
}

TEST_F(GrantManagerTest, IsGoneAtOnceWhenTheKernelEndsDuringARelease) {
  const agent::v1::DesiredGrant wanted = Desired("a", {"gpu0"});
  ASSERT_TRUE(manager().Upsert(wanted).ok());
  Await("a", State::PREPARED);
  host_.EndKernel();
  ASSERT_TRUE(manager().Upsert(Releasing(wanted)).ok());
  Await("a", State::GONE);
  host_.StartKernel();
}

TEST_F(GrantManagerTest, StopDestroysWhatNoVmmHas) {
  ASSERT_TRUE(manager().Apply({Desired("a", {"gpu0"}), Desired("b", {"gpu1"})}).ok());
  Await("a", State::PREPARED);
  Await("b", State::PREPARED);
  manager().Stop();
  ExpectNothingLeft();
  EXPECT_EQ(ReasonOf(manager().Upsert(Desired("c", {"gpu2"}))), Reason::kShuttingDown);
}

}  // namespace
}  // namespace berth::testing
