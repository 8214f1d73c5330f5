// SPDX-License-Identifier: Apache-2.0
//
// The fleet: hosts, reservations, and which host a request goes to.
#include "lib/placement/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "lib/base/status.h"
#include "tests/placement/fleet_builder.h"

namespace berth::placement {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class EngineTest : public ::testing::Test {
 protected:
  void TearDown() override { EXPECT_EQ(engine_.Check().message(), ""); }

  void Add(const HostSnapshot& host) { ASSERT_TRUE(engine_.UpsertHost(host).ok()); }

  // Places and reserves; returns the host, or the reason of the refusal.
  std::string Take(const std::string& uid, const Request& request,
                   const ExcludedHosts& excluded = {}) {
    const absl::StatusOr<Placement> placement = engine_.Place(request, excluded);
    if (!placement.ok()) return std::string(ReasonName(ReasonOf(placement.status())));
    EXPECT_EQ(engine_.Reserve(AssignmentUid(uid), *placement).message(), "");
    return placement->host.str();
  }

  std::string Why(const Request& request) {
    return std::string(engine_.Place(request).status().message());
  }

  Engine engine_;
};

TEST_F(EngineTest, ADeviceIsGivenOnceAndAgainAfterItsRelease) {
  Add(HostBuilder("h1").Unit("smmu0").Devices("gpu", 1));
  EXPECT_EQ(Take("a", Ask("gpu")), "h1");
  EXPECT_EQ(Take("b", Ask("gpu")), "NO_CAPACITY");
  ASSERT_TRUE(engine_.Release(AssignmentUid("a")).ok());
  EXPECT_EQ(Take("b", Ask("gpu")), "h1");
}

TEST_F(EngineTest, VintfsRunOutBeforeTheFunctionsBehindTheUnitDo) {
  Add(HostBuilder("sriov").Unit("smmu0", /*vintfs=*/3).Devices("nic", 128));
  for (const char* uid : {"a", "b", "c"}) EXPECT_EQ(Take(uid, Ask("nic")), "sriov");
  const absl::Status full = engine_.Place(Ask("nic")).status();
  EXPECT_EQ(ReasonOf(full), Reason::kNoCapacity);
  EXPECT_EQ(MetadataOf(full).at("hosts_vintfs"), "1");
}

TEST_F(EngineTest, ARefusalCountsHostsByWhatTheyLackAndNamesTheNearest) {
  Add(HostBuilder("h1").Unit("smmu0", 1).Devices("gpu", 2));
  Add(HostBuilder("h2").Unit("smmu0", 1).Devices("gpu", 2));
  Add(HostBuilder("h3").Unit("smmu0").Devices("nic", 2));
  Take("a", Ask("gpu"));
  Take("b", Ask("gpu"));
  EXPECT_THAT(Why(Ask("gpu")),
              ::testing::MatchesRegex(
                  "no host fits: 2 of 3 hosts have no free VINTF on the unit of a free gpu; 1 of 3 "
                  "has no device of class gpu; nearest is h[12], which lacks a free VINTF on the "
                  "unit of a free gpu"));
}

TEST_F(EngineTest, WhatNoEmptyHostCouldHoldIsUnsatisfiable) {
  Add(HostBuilder("h1").Unit("smmu0").Devices("gpu", 2));
  EXPECT_EQ(Take("a", Ask("gpu", 2)), "h1");
  EXPECT_EQ(Take("b", Ask("gpu", 2)), "NO_CAPACITY");
  EXPECT_EQ(Take("b", Ask("gpu", 3)), "UNSATISFIABLE");
  EXPECT_EQ(Take("b", Ask("fpga")), "UNSATISFIABLE");
}

// What is in use, cordoned or not ready cannot be why it would not fit an empty fleet.
TEST_F(EngineTest, TheReasonForUnsatisfiableIsThatOfAnEmptyFleet) {
  Add(HostBuilder("apart").Unit("u0").Devices("gpu", 2).Unit("u1").Devices("gpu", 2));
  Add(HostBuilder("small").Unit("u0").Devices("gpu", 1));
  Add(HostBuilder("other").Unit("u0").Devices("nic", 4));
  Add(HostBuilder("broken").Unit("u0").Devices("gpu", 2));
  const Request together = With(Ask("gpu", 3), Constraint::Kind::kSameUnit);
  const std::string why = Why(together);
  EXPECT_EQ(why,
            "no host could fit it, even if all were empty: 2 of 4 hosts have too few devices of "
            "class gpu; 1 of 4 has no device of class gpu; 1 of 4 has no unit with all the "
            "devices; nearest is apart, which lacks a unit with all the devices");
  Take("a", Ask("gpu", 4));
  Take("b", Ask("gpu", 2));
  Take("c", Ask("gpu"));
  ASSERT_TRUE(engine_.SetHostSchedulable(HostId("broken"), Schedulability::kNotReady).ok());
  ASSERT_TRUE(engine_.SetHostSchedulable(HostId("apart"), Schedulability::kCordoned).ok());
  EXPECT_EQ(Why(together), why);
  EXPECT_EQ(Why(Ask("fpga")),
            "no host could fit it, even if all were empty: 4 of 4 hosts have no device of class "
            "fpga; no host is near");

  // Large enough a unit, but not of what is wanted: the search itself says why.
  Request large = together;
  large.devices[0].alternatives[0].count = 2;
  large.devices[0].alternatives[0].requirements = {{"mem", Operator::kGt, {"100"}}};
  EXPECT_THAT(Why(large), HasSubstr("2 of 4 hosts have too few free gpu devices that meet"));
}

TEST_F(EngineTest, UnassignableDevicesAreNamedAsSuchWhenNothingCouldFit) {
  HostBuilder host("h1");
  host.Unit("u0").Devices("gpu", 2);
  host.snapshot().devices[0].assignability = Assignability::kNotAssignable;
  Add(host);
  EXPECT_EQ(Why(Ask("gpu", 2)),
            "no host could fit it, even if all were empty: 1 of 1 host has too few assignable "
            "devices of class gpu; nearest is h1, which lacks enough assignable devices of class "
            "gpu");
}

TEST_F(EngineTest, AFleetWithoutHostsHasNoCapacityYet) {
  EXPECT_EQ(Take("a", Ask("gpu")), "NO_CAPACITY");
  EXPECT_THAT(Why(Ask("gpu")), HasSubstr("there are no hosts"));
}

TEST_F(EngineTest, PackFillsTheFullestUnitAndKeepsLargeOnesWhole) {
  Add(HostBuilder("big").Unit("u0").Devices("gpu", 4));
  Add(HostBuilder("small").Unit("u0").Devices("gpu", 2));
  EXPECT_EQ(Take("a", Ask("gpu")), "small");
  EXPECT_EQ(Take("b", Ask("gpu")), "small");
  EXPECT_EQ(Take("c", With(Ask("gpu", 4), Constraint::Kind::kSameUnit)), "big");
}

TEST_F(EngineTest, SpreadTakesTheEmptiestHost) {
  Add(HostBuilder("h1").Unit("u0").Devices("gpu", 4));
  Add(HostBuilder("h2").Unit("u0").Devices("gpu", 4));
  Request request = Ask("gpu");
  request.policy = Policy::kSpread;
  const std::string first = Take("a", request);
  EXPECT_NE(Take("b", request), first);
}

TEST_F(EngineTest, TheSeedDecidesBetweenEqualHostsAndNothingElse) {
  for (int i = 0; i < 32; ++i) {
    Add(HostBuilder(absl::StrCat("h", i)).Unit("u0").Devices("gpu", 1));
  }
  Add(HostBuilder("large").Unit("u0").Devices("gpu", 2));
  Request request = Ask("gpu");
  absl::flat_hash_set<std::string> hosts;
  for (request.seed = 0; request.seed < 64; ++request.seed) {
    const absl::StatusOr<Placement> once = engine_.Place(request);
    ASSERT_TRUE(once.ok());
    EXPECT_EQ(*once, *engine_.Place(request));
    hosts.insert(once->host.str());
  }
  EXPECT_GT(hosts.size(), 10U);
  EXPECT_FALSE(hosts.contains("large"));
}

TEST_F(EngineTest, TheOrderInWhichHostsCameDoesNotMatter) {
  Engine other;
  std::vector<HostSnapshot> hosts;
  for (int i = 0; i < 20; ++i) {
    hosts.push_back(HostBuilder(absl::StrCat("h", i)).Unit("u0").Devices("gpu", 1 + i % 3));
  }
  for (const HostSnapshot& host : hosts) Add(host);
  for (auto it = hosts.rbegin(); it != hosts.rend(); ++it) ASSERT_TRUE(other.UpsertHost(*it).ok());
  for (int i = 0; i < 30; ++i) {
    Request request = Ask("gpu", 1 + i % 2);
    request.seed = static_cast<uint64_t>(i);
    const absl::StatusOr<Placement> here = engine_.Place(request);
    const absl::StatusOr<Placement> there = other.Place(request);
    ASSERT_EQ(here.ok(), there.ok());
    if (!here.ok()) continue;
    ASSERT_EQ(*here, *there);
    const AssignmentUid uid(absl::StrCat(i));
    ASSERT_TRUE(engine_.Reserve(uid, *here).ok());
    ASSERT_TRUE(other.Reserve(uid, *there).ok());
  }
}

TEST_F(EngineTest, CordonedAndUnreadyHostsTakeNothingNewAndKeepWhatTheyHave) {
  Add(HostBuilder("h1").Unit("u0").Devices("gpu", 2));
  EXPECT_EQ(Take("a", Ask("gpu")), "h1");
  ASSERT_TRUE(engine_.SetHostSchedulable(HostId("h1"), Schedulability::kCordoned).ok());
  EXPECT_THAT(Why(Ask("gpu")), HasSubstr("1 of 1 host is cordoned; nearest is h1"));
  ASSERT_TRUE(engine_.SetHostSchedulable(HostId("h1"), Schedulability::kNotReady).ok());
  EXPECT_EQ(Take("b", Ask("gpu")), "NO_CAPACITY");
  EXPECT_EQ(engine_.Describe(HostId("h1"))->units[0].usage.vintfs, 1U);
  ASSERT_TRUE(engine_.SetHostSchedulable(HostId("h1"), Schedulability::kReady).ok());
  EXPECT_EQ(Take("b", Ask("gpu")), "h1");
}

TEST_F(EngineTest, SelectorsTaintsAndExclusionsKeepHostsOut) {
  Add(HostBuilder("h1").Unit("u0").Devices("gpu", 1).Label("rack", "r1"));
  Add(HostBuilder("h2").Unit("u0").Devices("gpu", 1).Label("rack", "r2").TaintedBy("repair"));
  Request request = Ask("gpu");
  request.host_selector = {{"rack", Operator::kIn, {"r2"}}};
  EXPECT_THAT(Why(request), HasSubstr("nearest is h2, which lacks a toleration of its taint"));
  request.tolerations = {{"repair", "", Toleration::Effect::kAny}};
  EXPECT_EQ(engine_.Place(request)->host.str(), "h2");
  EXPECT_EQ(Take("a", request, {HostId("h2")}), "NO_CAPACITY");
}

TEST_F(EngineTest, UnitsWithATaintAreLeftOut) {
  HostBuilder host("h1");
  host.Unit("u0").Devices("gpu", 1).Unit("u1").Devices("gpu", 1);
  host.snapshot().units[0].taints = {{"berth/errors", "", TaintEffect::kNoNew}};
  Add(host);
  EXPECT_THAT(UnitsOf(*engine_.Place(Ask("gpu"))), ElementsAre("u1"));
  Take("a", Ask("gpu"));
  EXPECT_EQ(MetadataOf(engine_.Place(Ask("gpu")).status()).at("hosts_taints"), "1");
}

TEST_F(EngineTest, HugePagesArePromisedOnce) {
  Add(HostBuilder("h1").Unit("u0").Devices("gpu", 2).Pages(100));
  Request request = Ask("gpu");
  request.huge_pages = {{int64_t{2} << 20, 60}};
  EXPECT_EQ(Take("a", request), "h1");
  EXPECT_EQ(MetadataOf(engine_.Place(request).status()).at("hosts_huge_pages"), "1");
  ASSERT_TRUE(engine_.Release(AssignmentUid("a")).ok());
  EXPECT_EQ(Take("b", request), "h1");
}

TEST_F(EngineTest, AnEarlierAlternativeAnywhereGoesBeforeALaterOne) {
  Add(HostBuilder("h1").Unit("u0").Devices("gpu", 1));
  Add(HostBuilder("h2").Unit("u0").Devices("gpu-large", 1));
  Request request;
  request.devices.push_back({"compute", {Spec("gpu-large"), Spec("gpu", 1)}});
  EXPECT_EQ(Take("a", request), "h2");
  EXPECT_EQ(Take("b", request), "h1");
  EXPECT_EQ(Take("c", request), "NO_CAPACITY");
}

TEST_F(EngineTest, AnAlternativeThatFitsAnEmptyFleetIsNotUnsatisfiable) {
  Add(HostBuilder("h1").Unit("u0").Devices("gpu", 1));
  Take("a", Ask("gpu"));
  Request request;
  request.devices.push_back({"compute", {Spec("fpga"), Spec("gpu")}});
  EXPECT_EQ(Take("b", request), "NO_CAPACITY");
}

TEST_F(EngineTest, ABadInventoryExcludesItsHostAndNoOther) {
  Add(HostBuilder("good").Unit("u0").Devices("gpu", 1));
  Add(HostBuilder("bad").Unit("u0").Devices("gpu", 4));
  EXPECT_EQ(Take("a", Ask("gpu", 2)), "bad");
  HostBuilder broken("bad");
  broken.Unit("u0").Devices("gpu", 4);
  broken.snapshot().devices[1].unit = UnitId("u9");
  EXPECT_EQ(ReasonOf(engine_.UpsertHost(broken)), Reason::kBadInventory);
  EXPECT_THAT(engine_.Describe(HostId("bad"))->defect, HasSubstr("unknown unit \"u9\""));
  EXPECT_EQ(engine_.Describe(HostId("bad"))->units[0].usage.vintfs, 1U) << "still charged";
  EXPECT_EQ(Take("b", Ask("gpu")), "good");
  EXPECT_EQ(MetadataOf(engine_.Place(Ask("gpu")).status()).at("hosts_bad_inventory"), "1");
  Add(HostBuilder("bad").Unit("u0").Devices("gpu", 4));
  EXPECT_EQ(Take("c", Ask("gpu", 2)), "bad");
}

TEST_F(EngineTest, ReservationsOutliveTheirHost) {
  Add(HostBuilder("h1").Unit("u0").Devices("gpu", 1));
  Take("a", Ask("gpu"));
  ASSERT_TRUE(engine_.RemoveHost(HostId("h1")).ok());
  EXPECT_EQ(Take("b", Ask("gpu")), "NO_CAPACITY");
  Add(HostBuilder("h1").Unit("u0").Devices("gpu", 1));
  EXPECT_EQ(Take("b", Ask("gpu")), "NO_CAPACITY");
  ASSERT_TRUE(engine_.Release(AssignmentUid("a")).ok());
  EXPECT_EQ(Take("b", Ask("gpu")), "h1");
}

TEST_F(EngineTest, ABookIsRestoredBeforeItsHostsAreKnown) {
  Placement placement;
  placement.host = HostId("h1");
  placement.devices = {{DeviceId("gpu0"), UnitId("u0"), "gpu"}};
  placement.units = {{UnitId("u0"), {.vcmdqs = 2, .sid_slots = 1}}};
  ASSERT_TRUE(engine_.Restore(AssignmentUid("a"), placement).ok());
  Add(HostBuilder("h1").Unit("u0", 1).Devices("gpu", 2));
  EXPECT_THAT(Why(Ask("gpu")), HasSubstr("no free VINTF"));
  ASSERT_TRUE(engine_.Release(AssignmentUid("a")).ok());
  EXPECT_EQ(Take("b", Ask("gpu")), "h1");
}

TEST(EngineAuditTest, ABookThatContradictsItselfIsFound) {
  Engine engine;
  ASSERT_TRUE(engine.UpsertHost(HostBuilder("h1").Unit("u0").Devices("gpu", 1)).ok());
  const absl::StatusOr<Placement> placement = engine.Place(Ask("gpu"));
  ASSERT_TRUE(engine.Restore(AssignmentUid("a"), *placement).ok());
  ASSERT_TRUE(engine.Restore(AssignmentUid("b"), *placement).ok());
  const absl::Status check = engine.Check();
  EXPECT_EQ(ReasonOf(check), Reason::kStateConflict);
  EXPECT_THAT(std::string(check.message()), HasSubstr("gpu0 is reserved twice"));
}

TEST_F(EngineTest, AHostThatShrinksGivesNothingBelowWhatIsCharged) {
  Add(HostBuilder("h1").Unit("u0", 4).Devices("gpu", 4));
  Take("a", Ask("gpu"));
  Take("b", Ask("gpu"));
  Add(HostBuilder("h1").Unit("u0", 2).Devices("gpu", 4));
  EXPECT_EQ(Take("c", Ask("gpu")), "NO_CAPACITY");
  ASSERT_TRUE(engine_.Release(AssignmentUid("b")).ok());
  EXPECT_EQ(Take("c", Ask("gpu")), "h1");
}

TEST_F(EngineTest, ReserveRefusesWhatPlaceWouldNotSay) {
  Add(HostBuilder("h1").Unit("u0").Group("gpu", 2).Unit("u1").Devices("gpu", 1));
  const Placement good = *engine_.Place(Ask("gpu", 2));
  const auto refusal = [&](const Placement& placement) {
    return ReasonOf(engine_.Reserve(AssignmentUid("x"), placement));
  };
  Placement bad = good;
  bad.host = HostId("h9");
  EXPECT_EQ(refusal(bad), Reason::kNotFound);
  bad = good;
  bad.devices.pop_back();
  EXPECT_EQ(refusal(bad), Reason::kInvalidField);
  bad = good;
  bad.devices[1] = bad.devices[0];
  EXPECT_EQ(refusal(bad), Reason::kInvalidField);
  bad = good;
  bad.devices[0].device = DeviceId("gpu9");
  EXPECT_EQ(refusal(bad), Reason::kDeviceGone);
  bad = good;
  bad.devices[0].unit = UnitId("u1");
  EXPECT_EQ(refusal(bad), Reason::kInvalidField);
  bad = good;
  bad.units[0].claim.sid_slots = 1;
  EXPECT_EQ(refusal(bad), Reason::kInvalidField);
  bad = good;
  bad.units[0].claim.vcmdqs = 3;
  EXPECT_EQ(refusal(bad), Reason::kUnsatisfiable);
  bad = good;
  bad.units[0].unit = UnitId("u9");
  EXPECT_EQ(refusal(bad), Reason::kUnitUnknown);
  bad = good;
  bad.units.clear();
  EXPECT_EQ(refusal(bad), Reason::kInvalidField);
  bad = good;
  bad.huge_pages = {{4096, 1}};
  EXPECT_EQ(refusal(bad), Reason::kNoCapacity);
  EXPECT_EQ(engine_.reservations(), 0U);

  ASSERT_TRUE(engine_.Reserve(AssignmentUid("a"), good).ok());
  EXPECT_TRUE(engine_.Reserve(AssignmentUid("a"), good).ok()) << "the same again is the same";
  EXPECT_EQ(refusal(good), Reason::kDeviceBusy);
  EXPECT_EQ(ReasonOf(engine_.Reserve(AssignmentUid("a"), *engine_.Place(Ask("gpu")))),
            Reason::kAlreadyExists);
  EXPECT_EQ(ReasonOf(engine_.Release(AssignmentUid("x"))), Reason::kNotFound);
}

TEST_F(EngineTest, ExplainSaysWhereItWouldGo) {
  Add(HostBuilder("h1").Unit("u0").Devices("gpu", 1));
  const absl::StatusOr<Explanation> explanation = engine_.Explain(Ask("gpu"));
  ASSERT_TRUE(explanation.ok());
  EXPECT_EQ(explanation->placement, *engine_.Place(Ask("gpu")));
  EXPECT_EQ(explanation->Summary(), "fits on host h1");
}

TEST_F(EngineTest, CountsOfAnExplanationAddUpToTheFleet) {
  Add(HostBuilder("a").Unit("u0", 1).Devices("gpu", 2, {{"mem", int64_t{80}}}));
  Add(HostBuilder("b").Unit("u0").Devices("nic", 2));
  Add(HostBuilder("c").Unit("u0").Devices("gpu", 2, {{"mem", int64_t{40}}}));
  Add(HostBuilder("d").Unit("u0").Devices("gpu", 1).Unit("u1").Devices("gpu", 1));
  Add(HostBuilder("e").Unit("u0").Devices("gpu", 2).TaintedBy("repair"));
  ASSERT_TRUE(engine_.SetHostSchedulable(HostId("b"), Schedulability::kNotReady).ok());
  Request request = With(Ask("gpu", 2), Constraint::Kind::kSameUnit);
  request.devices[0].alternatives[0].requirements = {{"mem", Operator::kGt, {"100"}}};
  const absl::StatusOr<Explanation> explanation = engine_.Explain(request);
  ASSERT_TRUE(explanation.ok());
  uint64_t sum = 0;
  for (const Explanation::Failure& failure : explanation->Failures()) sum += failure.hosts;
  EXPECT_EQ(sum, 5U);
  EXPECT_TRUE(explanation->unsatisfiable);
  EXPECT_EQ(explanation->failed[static_cast<size_t>(Obstacle::kAttributes)], 3U);
  EXPECT_EQ(explanation->failed[static_cast<size_t>(Obstacle::kSameUnit)], 1U);
}

TEST_F(EngineTest, AnExplanationDoesNotGrowWithTheFleet) {
  const auto explain = [this](int hosts) {
    for (int i = 0; i < hosts; ++i) {
      const std::string id = "host-with-a-name-" + std::to_string(i);
      HostBuilder host(id);
      host.Unit("u0").Devices(i % 3 == 0 ? "nic" : "gpu", 1 + i % 5);
      if (i % 7 == 0) host.TaintedBy("repair-of-" + id);
      Add(host);
    }
    // More than any host has.
    absl::StatusOr<Explanation> explanation = engine_.Explain(Ask("gpu", 6));
    EXPECT_TRUE(explanation.ok()) << explanation.status();
    EXPECT_EQ(explanation->hosts, static_cast<uint64_t>(hosts));
    return *std::move(explanation);
  };
  const Explanation of_few = explain(20);
  const Explanation of_many = explain(2000);
  EXPECT_LE(of_many.Failures().size(), kObstacles);
  EXPECT_EQ(of_many.Failures().size(), of_few.Failures().size());
  // But for the digits of numbers and of a name.
  EXPECT_LT(of_many.Summary().size(), of_few.Summary().size() + 40);
  EXPECT_EQ(MetadataOf(of_many.ToStatus()).size(), MetadataOf(of_few.ToStatus()).size());
}

}  // namespace
}  // namespace berth::placement
