// SPDX-License-Identifier: Apache-2.0
#include "lib/placement/gang.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "lib/base/status.h"
#include "tests/placement/fleet_builder.h"

namespace berth::placement {
namespace {

using Kind = GangConstraint::Kind;

std::string FieldOf(const GangRequest& gang) {
  const absl::Status status = ValidateGang(gang);
  return status.ok() ? "" : MetadataOf(status)["field"];
}

TEST(GangTest, WhatIsWrongIsNamed) {
  EXPECT_EQ(FieldOf({{Ask("gpu"), Ask("nic")}, {{Kind::kSameHost, {1, 0}, ""}}}), "");
  EXPECT_EQ(FieldOf({}), "members");
  EXPECT_EQ(FieldOf({std::vector<Request>(kMaxMembers + 1, Ask("gpu")), {}}), "members");
  EXPECT_EQ(FieldOf({std::vector<Request>(33, Ask("gpu", 128)), {}}), "members");
  EXPECT_EQ(FieldOf({{Ask("gpu")}, {{Kind::kSameHost, {1}, ""}}}), "constraints[0].members");
  EXPECT_EQ(FieldOf({{Ask("gpu")}, {{Kind::kSameHost, {0, 0}, ""}}}), "constraints[0].members");
  EXPECT_EQ(FieldOf({{Ask("gpu")}, {{Kind::kSameLabel, {}, ""}}}), "constraints[0].label");
  EXPECT_EQ(FieldOf({{Ask("gpu")}, std::vector<GangConstraint>(17)}), "constraints");
}

TEST(GangTest, WhatIsWrongWithAMemberNamesTheMember) {
  const absl::Status status = ValidateGang({{Ask("gpu"), Ask("gpu", 0)}, {}});
  EXPECT_EQ(MetadataOf(status)["member"], "1");
  EXPECT_EQ(MetadataOf(status)["field"], "devices[0].count");
  EXPECT_TRUE(AboutMember(absl::OkStatus(), 1).ok());
}

TEST(GangTest, AConstraintWithoutMembersBindsAll) {
  EXPECT_TRUE(GangConstraint().Binds(63));
  const GangConstraint some{Kind::kSameHost, {2}, ""};
  EXPECT_TRUE(some.Binds(2));
  EXPECT_FALSE(some.Binds(1));
}

}  // namespace
}  // namespace berth::placement
