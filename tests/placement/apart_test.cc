// SPDX-License-Identifier: Apache-2.0
//
// Anti-affinity between assignments.
#include "lib/placement/apart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "lib/base/status.h"
#include "tests/placement/fleet_builder.h"

namespace berth::placement {
namespace {

class ApartTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* host : {"a1", "a2", "b1"}) {
      const std::string rack(1, host[0]);
      Add(HostBuilder(host).Unit("smmu0").Devices("gpu", 4).Label("rack", rack));
    }
  }
  void TearDown() override { EXPECT_EQ(engine_.Check().message(), ""); }
  void Add(const HostSnapshot& host) { ASSERT_TRUE(engine_.UpsertHost(host).ok()); }

  static Request Apart(const std::string& group, const std::string& label = "") {
    Request request = Ask("gpu");
    request.anti_affinity.push_back({group, label});
    return request;
  }
  std::string Take(const std::string& uid, const Request& request) {
    const absl::StatusOr<Placement> placement = engine_.Place(request);
    if (!placement.ok()) return MetadataOf(placement.status())["nearest_lacks"];
    EXPECT_EQ(engine_.Reserve(AssignmentUid(uid), *placement).message(), "");
    return placement->host.str();
  }

  Engine engine_;
};

TEST_F(ApartTest, NoTwoOfAGroupAreOnOneHost) {
  const std::string first = Take("1", Apart("db"));
  const std::string second = Take("2", Apart("db"));
  const std::string third = Take("3", Apart("db"));
  EXPECT_NE(first, second);
  EXPECT_NE(second, third);
  EXPECT_NE(first, third);
  EXPECT_EQ(Take("4", Apart("db")), "anti_affinity");
  EXPECT_NE(Take("5", Apart("web")), "anti_affinity") << "another group";
  ASSERT_TRUE(engine_.Release(AssignmentUid("2")).ok());
  EXPECT_EQ(Take("4", Apart("db")), second);
}

TEST_F(ApartTest, NoTwoOfAGroupAreInOneRack) {
  Add(HostBuilder("nowhere").Unit("smmu0").Devices("gpu", 1));
  const std::string first = Take("1", Apart("db", "rack"));
  const std::string second = Take("2", Apart("db", "rack"));
  EXPECT_NE(first[0], second[0]);
  EXPECT_EQ(Take("3", Apart("db", "rack")), "anti_affinity") << "a host without a rack is none";
}

// The second asks for less distance than the first was promised.
TEST_F(ApartTest, WhoIsThereKeepsItsDistance) {
  ASSERT_EQ(engine_.SetHostSchedulable(HostId("b1"), Schedulability::kNotReady).message(), "");
  ASSERT_EQ(Take("1", Apart("db", "rack"))[0], 'a');
  EXPECT_EQ(Take("2", Apart("db")), "anti_affinity");
  ASSERT_EQ(engine_.SetHostSchedulable(HostId("b1"), Schedulability::kReady).message(), "");
  EXPECT_EQ(Take("2", Apart("db")), "b1");
}

TEST_F(ApartTest, AReservationTooNearIsRefused) {
  const absl::StatusOr<Placement> placement = engine_.Place(Apart("db"));
  ASSERT_TRUE(placement.ok());
  ASSERT_TRUE(engine_.Reserve(AssignmentUid("1"), *placement).ok());
  Placement beside = *placement;
  const DeviceId other(beside.devices[0].device.str() == "gpu0" ? "gpu1" : "gpu0");
  beside.devices[0].device = other;
  EXPECT_EQ(ReasonOf(engine_.Reserve(AssignmentUid("2"), beside)), Reason::kStateConflict);
  beside.anti_affinity.clear();
  EXPECT_TRUE(engine_.Reserve(AssignmentUid("2"), beside).ok());
}

TEST_F(ApartTest, WhatStandsOnAHostThatIsForgottenCountsWhenItIsBack) {
  const std::string first = Take("1", Apart("db"));
  ASSERT_TRUE(engine_.RemoveHost(HostId(first)).ok());
  Add(HostBuilder(first).Unit("smmu0").Devices("gpu", 4).Label("rack", first.substr(0, 1)));
  for (const char* uid : {"2", "3"}) EXPECT_NE(Take(uid, Apart("db")), first);
  EXPECT_EQ(Take("4", Apart("db")), "anti_affinity");
}

}  // namespace
}  // namespace berth::placement
