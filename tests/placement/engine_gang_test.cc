// SPDX-License-Identifier: Apache-2.0
//
// Gangs: all of them or none, together as they ask for, and found when there is a way.
#include "lib/placement/engine_gang.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "lib/base/status.h"
#include "tests/placement/fleet_builder.h"

namespace berth::placement {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using Kind = GangConstraint::Kind;

class EngineGangTest : public ::testing::Test {
 protected:
  void TearDown() override { EXPECT_EQ(engine_.Check().message(), ""); }

  void Add(const HostSnapshot& host) { ASSERT_TRUE(engine_.UpsertHost(host).ok()); }

  // Hosts of the members, or the reason of the refusal.
  std::vector<std::string> Hosts(const GangRequest& gang) {
    const absl::StatusOr<std::vector<Placement>> placements = engine_.PlaceGang(gang);
    if (!placements.ok()) return {std::string(ReasonName(ReasonOf(placements.status())))};
    std::vector<std::string> hosts;
    for (const Placement& placement : *placements) hosts.push_back(placement.host.str());
    return hosts;
  }

  static Request In(Request request, const std::string& rack) {
    request.host_selector.push_back({"rack", Operator::kIn, {rack}});
    return request;
  }

  Engine engine_;
};

TEST_F(EngineGangTest, NothingIsChargedByADecision) {
  Add(HostBuilder("h1").Unit("smmu0").Devices("gpu", 2));
  EXPECT_THAT(Hosts({{Ask("gpu"), Ask("gpu")}, {}}), ElementsAre("h1", "h1"));
  EXPECT_THAT(Hosts({{Ask("gpu"), Ask("gpu"), Ask("gpu")}, {}}), ElementsAre("NO_CAPACITY"));
  EXPECT_TRUE(engine_.Place(Ask("gpu", 2)).ok());
}

TEST_F(EngineGangTest, ADeadEndDoesNotHideAnotherHost) {
  Add(HostBuilder("small").Unit("smmu0").Devices("gpu", 1).Label("rack", "a"));
  Add(HostBuilder("large").Unit("smmu0").Devices("gpu", 2).Label("rack", "b"));
  ASSERT_EQ(engine_.Place(Ask("gpu"))->host.str(), "small") << "where the first goes by itself";
  EXPECT_THAT(Hosts({{Ask("gpu"), In(Ask("gpu"), "a")}, {}}), ElementsAre("large", "small"));
}

TEST_F(EngineGangTest, ADeadEndDoesNotHideOtherDevicesOfTheHost) {
  Add(HostBuilder("h1")
          .Unit("smmu0")
          .Devices("gpu", 1, {{"memory", int64_t{2}}})
          .Unit("smmu1")
          .Devices("gpu", 2, {{"memory", int64_t{1}}}));
  ASSERT_THAT(DevicesOf(*engine_.Place(Ask("gpu"))), ElementsAre("gpu0"));
  Request large = Ask("gpu");
  large.devices[0].alternatives[0].requirements = {{"memory", Operator::kGt, {"1"}}};
  const auto placed = engine_.PlaceGang({{Ask("gpu"), large}, {}});
  ASSERT_EQ(placed.status().message(), "");
  EXPECT_THAT(DevicesOf(placed->at(0)), ElementsAre("gpu1"));
  EXPECT_THAT(DevicesOf(placed->at(1)), ElementsAre("gpu0"));
}

TEST_F(EngineGangTest, ADeadEndDoesNotHideALaterAlternative) {
  Add(HostBuilder("h1").Unit("smmu0").Devices("gpu", 1).Devices("nic", 1));
  Request either;
  either.devices.push_back({"any", {Spec("gpu"), Spec("nic")}});
  const auto placed = engine_.PlaceGang({{either, Ask("gpu")}, {}});
  ASSERT_EQ(placed.status().message(), "");
  EXPECT_THAT(DevicesOf(placed->at(0)), ElementsAre("nic1"));
}

TEST_F(EngineGangTest, MembersShareAHostOrAvoidEachOther) {
  Add(HostBuilder("h1").Unit("smmu0").Devices("gpu", 1));
  Add(HostBuilder("h2").Unit("smmu0").Devices("gpu", 3));
  EXPECT_THAT(Hosts({{Ask("gpu"), Ask("gpu")}, {{Kind::kSameHost, {}, ""}}}),
              ElementsAre("h2", "h2"));
  const std::vector<std::string> some =
      Hosts({{Ask("gpu", 2), Ask("gpu"), Ask("gpu")}, {{Kind::kSameHost, {0, 2}, ""}}});
  EXPECT_THAT(some, ElementsAre("h2", "h1", "h2"));
  const std::vector<std::string> apart =
      Hosts({{Ask("gpu"), Ask("gpu")}, {{Kind::kDistinctHosts, {}, ""}}});
  EXPECT_THAT(std::set<std::string>(apart.begin(), apart.end()), ElementsAre("h1", "h2"));
  EXPECT_THAT(Hosts({{Ask("gpu"), Ask("gpu"), Ask("gpu")}, {{Kind::kDistinctHosts, {}, ""}}}),
              ElementsAre("NO_CAPACITY"));
}

TEST_F(EngineGangTest, OneRackIsFoundThatHoldsAll) {
  for (const char* rack : {"a", "b", "c"}) {
    for (int i = 0; i < 3; ++i) {
      const int gpus = std::string(rack) == "b" ? 2 : 1;
      Add(HostBuilder(absl::StrCat(rack, i))
              .Unit("smmu0")
              .Devices("gpu", gpus)
              .Label("rack", rack));
    }
  }
  Add(HostBuilder("nowhere").Unit("smmu0").Devices("gpu", 8));
  GangRequest gang{{}, {{Kind::kSameLabel, {}, "rack"}}};
  gang.members.assign(6, Ask("gpu"));
  for (const std::string& host : Hosts(gang)) EXPECT_EQ(host[0], 'b');
  gang.members.push_back(Ask("gpu"));
  EXPECT_THAT(Hosts(gang), ElementsAre("NO_CAPACITY"));
}

TEST_F(EngineGangTest, MembersKeepTheirAntiAffinityAmongThemselves) {
  Add(HostBuilder("h1").Unit("smmu0").Devices("gpu", 4));
  Add(HostBuilder("h2").Unit("smmu0").Devices("gpu", 4));
  Request alone = Ask("gpu");
  alone.anti_affinity.push_back({"db", ""});
  const std::vector<std::string> two = Hosts({{alone, alone}, {}});
  EXPECT_THAT(std::set<std::string>(two.begin(), two.end()), SizeIs(2));
  EXPECT_THAT(Hosts({{alone, alone, alone}, {}}), ElementsAre("NO_CAPACITY"));
}

TEST_F(EngineGangTest, ARefusalSaysHowFarItCameAndWhatTheNextOneLacks) {
  Add(HostBuilder("h1").Unit("smmu0").Devices("gpu", 2));
  GangRequest gang;
  gang.members.assign(3, Ask("gpu"));
  const absl::Status status = engine_.PlaceGang(gang).status();
  EXPECT_EQ(ReasonOf(status), Reason::kNoCapacity);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("with 2 of 3 members placed, member 2 found no place: no host fits"));
  EXPECT_EQ(MetadataOf(status).at("members_placed"), "2");
  EXPECT_EQ(MetadataOf(status).at("hosts_devices_in_use"), "1");
  EXPECT_EQ(MetadataOf(status).count("search"), 0U);
}

TEST_F(EngineGangTest, AMemberThatNoHostCouldTakeIsNamed) {
  Add(HostBuilder("h1").Unit("smmu0").Devices("gpu", 2));
  const absl::Status status = engine_.PlaceGang({{Ask("gpu"), Ask("gpu", 3)}, {}}).status();
  EXPECT_EQ(ReasonOf(status), Reason::kUnsatisfiable);
  EXPECT_EQ(MetadataOf(status).at("member"), "1");
}

// All hosts differ, so that none can stand in for another.
TEST_F(EngineGangTest, WhenTheBudgetEndsTheSearchTheErrorSaysSo) {
  Engine engine({.steps_per_decision = 300});
  GangRequest gang{{}, {{Kind::kSameLabel, {}, "rack"}}};
  // Each rack has ten devices, and five that will do.
  Request member = Ask("gpu");
  member.devices[0].alternatives[0].requirements = {{"mem", Operator::kIn, {"1"}}};
  gang.members.assign(6, member);
  for (int i = 0; i < 60; ++i) {
    ASSERT_TRUE(engine
                    .UpsertHost(HostBuilder(absl::StrCat("h", i))
                                    .Unit("smmu0")
                                    .Devices("gpu", 1, {{"mem", int64_t{i % 2}}})
                                    .Pages(i + 1)
                                    .Label("rack", absl::StrCat("r", i / 10)))
                    .ok());
  }
  const absl::Status status = engine.PlaceGang(gang).status();
  EXPECT_EQ(ReasonOf(status), Reason::kNoCapacity);
  EXPECT_EQ(MetadataOf(status).at("search"), "incomplete");
  EXPECT_THAT(std::string(status.message()), HasSubstr("ended by its budget"));
  EXPECT_EQ(engine.Check().message(), "");
}

// What counts alone tell is no matter of the budget.
TEST_F(EngineGangTest, ThatNoRackHasTheDevicesIsProved) {
  for (int i = 0; i < 2000; ++i) {
    Add(HostBuilder(absl::StrCat("h", i))
            .Unit("smmu0")
            .Devices("gpu", 1)
            .Pages(i + 1)
            .Label("rack", absl::StrCat("r", i / 5)));
  }
  GangRequest gang{{}, {{Kind::kSameLabel, {}, "rack"}}};
  gang.members.assign(6, Ask("gpu"));
  const absl::Status status = engine_.PlaceGang(gang).status();
  EXPECT_EQ(ReasonOf(status), Reason::kNoCapacity);
  EXPECT_EQ(MetadataOf(status).count("search"), 0U) << status.message();
  Add(HostBuilder("one more").Unit("smmu0").Devices("gpu", 1).Label("rack", "r7"));
  const absl::StatusOr<std::vector<Placement>> placed = engine_.PlaceGang(gang);
  ASSERT_TRUE(placed.ok()) << placed.status();
}

// 2,000 hosts of four makes, and none has VINTFs for two.
TEST_F(EngineGangTest, WhatCannotFitManyHostsThatAreAlikeIsProved) {
  for (int i = 0; i < 2000; ++i) {
    Add(HostBuilder(absl::StrCat("h", i)).Unit("smmu0", /*vintfs=*/1).Devices("gpu", 1 + i % 4));
  }
  GangRequest gang{{}, {{Kind::kSameHost, {}, ""}}};
  gang.members.assign(2, Ask("gpu"));
  const absl::Status status = engine_.PlaceGang(gang).status();
  EXPECT_EQ(ReasonOf(status), Reason::kNoCapacity);
  EXPECT_EQ(MetadataOf(status).count("search"), 0U) << status.message();
}

}  // namespace
}  // namespace berth::placement
