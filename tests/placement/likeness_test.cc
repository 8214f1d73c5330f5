// SPDX-License-Identifier: Apache-2.0
#include "lib/placement/likeness.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/placement/fleet_builder.h"

namespace berth::placement {
namespace {

class LikenessTest : public ::testing::Test {
 protected:
  uint64_t Of(const HostSnapshot& host, View view = View::kNow) {
    HostRecord record = MakeRecord(host, kinds_);
    Summarize(record);
    return ProfileLikeness(record, view);
  }

  KindTable kinds_;
};

TEST_F(LikenessTest, NamesAndThePlacesOfUnitsMakeNoDifference) {
  const uint64_t one =
      Of(HostBuilder("a").Unit("u0").Devices("gpu", 2).Unit("u1").Devices("nic", 1));
  EXPECT_EQ(one, Of(HostBuilder("b").Unit("x0").Devices("nic", 1).Unit("x1").Devices("gpu", 2)));
  EXPECT_NE(one, Of(HostBuilder("c").Unit("u0").Devices("gpu", 1).Unit("u1").Devices("nic", 1)));
}

TEST_F(LikenessTest, AllThatPlacementLooksAtDoes) {
  const auto host = [] { return HostBuilder("h").Unit("u0").Devices("gpu", 2); };
  const uint64_t plain = Of(host());
  EXPECT_EQ(plain, Of(host()));
  EXPECT_NE(plain, Of(host().TaintedBy("t")));
  EXPECT_NE(plain, Of(host().Pages(4)));
  EXPECT_NE(plain, Of(HostBuilder("h").Unit("u0", 62).Devices("gpu", 2)));
  EXPECT_NE(plain, Of(HostBuilder("h").Unit("u0").OnNode(1).Devices("gpu", 2)));
  EXPECT_NE(plain, Of(HostBuilder("h").Unit("u0").Devices("gpu", 2, {{"mem", int64_t{1}}})));
  EXPECT_NE(plain, Of(HostBuilder("h").Unit("u0").Group("gpu", 2)));
  HostSnapshot held = host();
  held.devices[1].assignability = Assignability::kHeld;
  EXPECT_NE(plain, Of(held));
  HostSnapshot tainted = host();
  tainted.units[0].taints.push_back({"t", "", TaintEffect::kNoNew});
  EXPECT_NE(plain, Of(tainted));
}

TEST_F(LikenessTest, LabelsAndThePlacesOfGroupsMakeNoDifference) {
  const HostSnapshot a = HostBuilder("a").Unit("u0").Devices("gpu", 2).Label("rack", "a");
  HostSnapshot b = HostBuilder("b").Unit("u0").Devices("gpu", 2).Label("rack", "b");
  EXPECT_EQ(Of(a), Of(b));
  HostSnapshot other = b;
  b.devices[0].assignability = Assignability::kHeld;
  other.devices[1].assignability = Assignability::kHeld;
  EXPECT_EQ(Of(b), Of(other));
}

TEST_F(LikenessTest, OfAnEmptyHostWhatIsInUseMakesNoDifference) {
  const auto host = [] { return HostBuilder("h").Unit("u0").Devices("gpu", 2); };
  const uint64_t plain = Of(host(), View::kEmpty);
  EXPECT_EQ(plain, Of(host().TaintedBy("t"), View::kEmpty));
  HostSnapshot held = host();
  held.devices[1].assignability = Assignability::kHeld;
  EXPECT_EQ(plain, Of(held, View::kEmpty));
  held.devices[1].assignability = Assignability::kNotAssignable;
  EXPECT_NE(plain, Of(held, View::kEmpty));
  EXPECT_NE(plain, Of(host().Pages(4), View::kEmpty));
  EXPECT_NE(plain, Of(HostBuilder("h").Unit("u0").Group("gpu", 2), View::kEmpty));
}

}  // namespace
}  // namespace berth::placement
