// SPDX-License-Identifier: Apache-2.0
//
// The rules on one host: units, groups, queues, nodes.
#include "lib/placement/host_fit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "lib/base/status.h"
#include "lib/placement/engine.h"
#include "tests/placement/fleet_builder.h"

namespace berth::placement {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;
using Kind = Constraint::Kind;

class HostFitTest : public ::testing::Test {
 protected:
  Placement Place(const HostSnapshot& host, const Request& request) {
    const absl::StatusOr<Placement> placement = Ask(host, request);
    EXPECT_EQ(placement.status().message(), "");
    return placement.value_or(Placement());
  }
  // What the host lacks.
  std::string Lacks(const HostSnapshot& host, const Request& request) {
    const absl::Status status = Ask(host, request).status();
    return status.ok() ? "nothing" : MetadataOf(status)["nearest_lacks"];
  }

 private:
  static absl::StatusOr<Placement> Ask(const HostSnapshot& host, const Request& request) {
    Engine engine;
    EXPECT_EQ(engine.UpsertHost(host).message(), "");
    absl::StatusOr<Placement> placement = engine.Place(request);
    if (placement.ok()) {
      EXPECT_EQ(engine.Reserve(AssignmentUid("a"), *placement).message(), "");
      EXPECT_EQ(engine.Check().message(), "");
    }
    return placement;
  }
};

TEST_F(HostFitTest, OneVintfForEachUnitTouchedWithASidSlotForEachDevice) {
  const Placement placement =
      Place(HostBuilder("h").Unit("u0").Devices("gpu", 2).Unit("u1").Devices("nic", 1),
            And(placement::Ask("gpu", 2), "nic"));
  EXPECT_THAT(placement.units,
              ElementsAre(PlacedUnit{UnitId("u0"), {2, 2}}, PlacedUnit{UnitId("u1"), {2, 1}}));
}

TEST_F(HostFitTest, OneUnitIsPreferredEvenWhenNobodyAsksForIt) {
  EXPECT_THAT(UnitsOf(Place(HostBuilder("h")
                                .Unit("u0")
                                .Devices("gpu", 1)
                                .Unit("u1")
                                .Devices("gpu", 1)
                                .Unit("u2")
                                .Devices("gpu", 2),
                            placement::Ask("gpu", 2))),
              ElementsAre("u2"));
}

TEST_F(HostFitTest, SameUnitIsRefusedWhereOnlyTwoUnitsTogetherWouldDo) {
  const HostBuilder host =
      HostBuilder("h").Unit("u0").Devices("gpu", 2).Unit("u1").Devices("gpu", 2);
  EXPECT_THAT(UnitsOf(Place(host, placement::Ask("gpu", 3))), SizeIs(2));
  EXPECT_EQ(Lacks(host, With(placement::Ask("gpu", 3), Kind::kSameUnit)), "same_unit");
}

TEST_F(HostFitTest, SameUnitChoosesTheUnitThatHasBothClasses) {
  EXPECT_THAT(UnitsOf(Place(HostBuilder("h")
                                .Unit("u0")
                                .Devices("gpu", 1)
                                .Unit("u1")
                                .Devices("gpu", 2)
                                .Devices("nic", 1)
                                .Unit("u2")
                                .Devices("nic", 2),
                            With(And(placement::Ask("gpu"), "nic"), Kind::kSameUnit))),
              ElementsAre("u1"));
}

TEST_F(HostFitTest, SameUnitMayBindOnlySomeOfTheRequests) {
  Request request = And(And(placement::Ask("gpu", 2), "nic"), "nvme");
  request.constraints.push_back({Kind::kSameUnit, {"gpu", "nic"}, ""});
  EXPECT_THAT(
      UnitsOf(
          Place(HostBuilder("h").Unit("u0").Devices("gpu", 2).Devices("nic", 1).Unit("u1").Devices(
                    "nvme", 1),
                request)),
      ElementsAre("u0", "u1"));
}

TEST_F(HostFitTest, MoreDevicesThanSidSlotsBehindOneUnitAreRefused) {
  const HostBuilder host = HostBuilder("h").Unit("u0", 63, /*sids=*/4).Devices("gpu", 8);
  EXPECT_EQ(Lacks(host, placement::Ask("gpu", 4)), "nothing");
  EXPECT_EQ(Lacks(host, placement::Ask("gpu", 5)), "sid_slots");
}

TEST_F(HostFitTest, SidSlotsOfTwoUnitsAddUp) {
  const Placement placement = Place(
      HostBuilder("h").Unit("u0", 63, 2).Devices("gpu", 4).Unit("u1", 63, 2).Devices("gpu", 4),
      placement::Ask("gpu", 4));
  EXPECT_THAT(placement.units,
              ElementsAre(PlacedUnit{UnitId("u0"), {2, 2}}, PlacedUnit{UnitId("u1"), {2, 2}}));
}

TEST_F(HostFitTest, AGroupTravelsWholeAndItsSidSlotsAreCharged) {
  const Placement placement =
      Place(HostBuilder("h").Unit("u0").Group("gpu", 2), placement::Ask("gpu"));
  EXPECT_THAT(DevicesOf(placement), ElementsAre("gpu0", "gpu1+"));
  EXPECT_EQ(placement.units[0].claim.sid_slots, 2U);
}

TEST_F(HostFitTest, AGroupThatBringsNoCoTravellerGoesFirst) {
  EXPECT_THAT(DevicesOf(Place(HostBuilder("h").Unit("u0").Group("gpu", 2).Devices("gpu", 1),
                              placement::Ask("gpu"))),
              ElementsAre("gpu2"));
  EXPECT_THAT(DevicesOf(Place(HostBuilder("h").Unit("u0").Devices("gpu", 1).Group("gpu", 2),
                              placement::Ask("gpu", 2))),
              ElementsAre("gpu1", "gpu2"));
}

TEST_F(HostFitTest, AGroupWithAMemberThatIsHeldOrUnfitIsUnavailable) {
  HostBuilder host("h");
  host.Unit("u0").Group("gpu", 2);
  host.snapshot().devices[1].assignability = Assignability::kHeld;
  EXPECT_EQ(Lacks(host, placement::Ask("gpu")), "iommu_group");
  host.snapshot().devices[1].assignability = Assignability::kNotAssignable;
  EXPECT_EQ(Lacks(host, placement::Ask("gpu")), "iommu_group");
}

TEST_F(HostFitTest, AGroupLargerThanAVintfIsUnavailable) {
  EXPECT_EQ(
      Lacks(HostBuilder("h").Unit("u0", 63, /*sids=*/2).Group("gpu", 3), placement::Ask("gpu")),
      "iommu_group");
}

TEST_F(HostFitTest, OneGroupMayServeTwoRequests) {
  HostBuilder host("h");
  host.Unit("u0").Group("gpu", 2);
  host.snapshot().devices[1].device_class = "nic";
  const Placement placement = Place(host, And(placement::Ask("gpu"), "nic"));
  EXPECT_THAT(DevicesOf(placement), ElementsAre("gpu0", "gpu1"));
  EXPECT_EQ(placement.devices[1].request, "nic");
}

TEST_F(HostFitTest, ADeviceThatCannotBeResetIsNotAssignable) {
  HostBuilder host("h");
  host.Unit("u0").Devices("gpu", 1);
  host.snapshot().devices[0].assignability = Assignability::kNotAssignable;
  EXPECT_EQ(Lacks(host, placement::Ask("gpu")), "assignable");
}

TEST_F(HostFitTest, RequiredQueuesAreNeverTakenOfAUnitWithoutThem) {
  Request request = placement::Ask("gpu");
  QueueRequest& queues = request.devices[0].alternatives[0].queues;
  const HostBuilder plain = HostBuilder("h").PlainUnit("u0").Devices("gpu", 1);
  EXPECT_EQ(Place(plain, request).units[0].claim.vcmdqs, 0U) << "preferred is not required";
  queues.need = QueueNeed::kRequired;
  EXPECT_EQ(Lacks(plain, request), "vcmdqs");
  const HostBuilder both =
      HostBuilder("h").PlainUnit("u0").Devices("gpu", 1).Unit("u1").Devices("gpu", 1);
  EXPECT_THAT(UnitsOf(Place(both, request)), ElementsAre("u1"));
  queues.count = 3;
  EXPECT_EQ(Lacks(both, request), "vcmdqs") << "a VINTF has 2";
}

TEST_F(HostFitTest, QueuesAreGivenAsWanted) {
  const HostBuilder host = HostBuilder("h").Unit("u0").Devices("gpu", 1);
  Request request = placement::Ask("gpu");
  QueueRequest& queues = request.devices[0].alternatives[0].queues;
  EXPECT_EQ(Place(host, request).units[0].claim.vcmdqs, 2U);
  queues.count = 1;
  EXPECT_EQ(Place(host, request).units[0].claim.vcmdqs, 1U);
  queues.count = 9;
  EXPECT_EQ(Place(host, request).units[0].claim.vcmdqs, 2U);
  queues.need = QueueNeed::kNone;
  EXPECT_EQ(Place(host, request).units[0].claim.vcmdqs, 0U);
}

TEST_F(HostFitTest, SameNumaNodeNeedsAKnownNode) {
  const Request pair = With(placement::Ask("gpu", 2), Kind::kSameNumaNode);
  EXPECT_EQ(Lacks(HostBuilder("h").OnNode(-1).Unit("u0").Devices("gpu", 2), pair),
            "same_numa_node");
  EXPECT_EQ(Lacks(HostBuilder("h").Unit("u0").Devices("gpu", 1).OnNode(1).Devices("gpu", 1), pair),
            "same_numa_node");
  EXPECT_THAT(DevicesOf(Place(HostBuilder("h")
                                  .Unit("u0")
                                  .Devices("gpu", 1)
                                  .OnNode(1)
                                  .Devices("gpu", 1)
                                  .Unit("u1")
                                  .Devices("gpu", 1),
                              pair)),
              ElementsAre("gpu1", "gpu2"));
}

TEST_F(HostFitTest, SameAttributeJoinsDevicesByItsValue) {
  const HostBuilder host = HostBuilder("h")
                               .Unit("u0")
                               .Devices("gpu", 1, {{"link", "a"}})
                               .Devices("nic", 1, {{"link", "b"}})
                               .Unit("u1")
                               .Devices("gpu", 1, {{"link", "b"}});
  const Request pair = And(placement::Ask("gpu"), "nic");
  EXPECT_THAT(DevicesOf(Place(host, With(pair, Kind::kSameAttribute, "link"))),
              ElementsAre("gpu2", "nic1"));
  EXPECT_EQ(Lacks(host, With(pair, Kind::kSameAttribute, "switch")), "same_attribute");
}

TEST_F(HostFitTest, DistinctUnitsGivesEachDeviceItsOwn) {
  const HostBuilder host =
      HostBuilder("h").Unit("u0").Devices("nic", 4).Unit("u1").Devices("nic", 1);
  EXPECT_THAT(UnitsOf(Place(host, With(placement::Ask("nic", 2), Kind::kDistinctUnits))),
              ElementsAre("u0", "u1"));
  EXPECT_EQ(Lacks(host, With(placement::Ask("nic", 3), Kind::kDistinctUnits)), "distinct_units");
}

TEST_F(HostFitTest, AGreedyDeadEndDoesNotHideASolution) {
  // The fullest unit comes first, but taking its only gpu for "any" leaves none for "large".
  Request request;
  request.devices.push_back({"any", {Spec("gpu")}});
  request.devices.push_back({"large", {Spec("gpu", 1, {{"mem", Operator::kGt, {"90"}}})}});
  const Placement placement = Place(HostBuilder("h")
                                        .Unit("u0")
                                        .Devices("gpu", 1, {{"mem", int64_t{96}}})
                                        .Unit("u1")
                                        .Devices("gpu", 3, {{"mem", int64_t{40}}}),
                                    request);
  EXPECT_THAT(DevicesOf(placement), ElementsAre("gpu1", "gpu0"));
}

TEST_F(HostFitTest, RequestsThatCompeteForTheSameDevicesAreToldSo) {
  Request request;
  for (const char* name : {"a", "b"}) {
    request.devices.push_back({name, {Spec("gpu", 1, {{"mem", Operator::kGt, {"90"}}})}});
  }
  EXPECT_EQ(Lacks(HostBuilder("h")
                      .Unit("u0")
                      .Devices("gpu", 1, {{"mem", int64_t{96}}})
                      .Devices("gpu", 3, {{"mem", int64_t{40}}}),
                  request),
            "competition");
}

TEST_F(HostFitTest, SymmetricUnitsAreNotTriedOneByOne) {
  HostBuilder host("h");
  for (int u = 0; u < 64; ++u) host.Unit(absl::StrCat("u", u)).Devices("gpu", 2);
  const Request fits = With(placement::Ask("gpu", 64), Kind::kDistinctUnits);
  EXPECT_THAT(UnitsOf(Place(host, fits)), SizeIs(64));
  Request too_many = And(placement::Ask("gpu", 32), "gpu", 33);
  too_many.devices[1].name = "more";
  EXPECT_EQ(Lacks(host, With(too_many, Kind::kDistinctUnits)), "distinct_units");
}

TEST_F(HostFitTest, ASearchThatItsBudgetEndsSaysSo) {
  Engine engine({.steps_per_host = 3, .steps_per_decision = 3});
  ASSERT_TRUE(engine
                  .UpsertHost(HostBuilder("h")
                                  .Unit("u0")
                                  .Devices("gpu", 2)
                                  .Unit("u1")
                                  .Devices("gpu", 3)
                                  .Unit("u2")
                                  .Devices("gpu", 1))
                  .ok());
  const absl::Status status =
      engine.Place(With(placement::Ask("gpu", 6), Kind::kSameNumaNode)).status();
  EXPECT_EQ(ReasonOf(status), Reason::kNoCapacity) << "never UNSATISFIABLE";
  EXPECT_EQ(MetadataOf(status).at("search"), "incomplete");
  EXPECT_EQ(MetadataOf(status).at("hosts_search_budget"), "1");
}

}  // namespace
}  // namespace berth::placement
