// SPDX-License-Identifier: Apache-2.0
#include "lib/placement/index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace berth::placement {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// A host whose units have so many free devices of class 0.
Index::Before Host(const std::vector<uint16_t>& units) {
  ClassSummary summary;
  for (const uint16_t size : units) {
    for (uint16_t& count : summary.devices) count = static_cast<uint16_t>(count + size);
    summary.unit_sizes |= uint64_t{1} << size;
    summary.potential = static_cast<uint16_t>(summary.potential + size);
    summary.potential_unit = std::max(summary.potential_unit, size);
  }
  summary.kinds = 1;
  return {{summary}, true};
}

class IndexTest : public ::testing::Test {
 protected:
  void Set(HostSlot slot, const Index::Before& host) {
    index_.Update(slot, slot, slot < hosts_.size() ? hosts_[slot] : Index::Before(), host);
    hosts_.resize(std::max<size_t>(hosts_.size(), slot + 1));
    hosts_[slot] = host;
  }
  std::vector<HostSlot> Walk(Index::Query query) {
    static constexpr uint64_t kAnyKind[] = {1};
    query.kinds = kAnyKind;
    std::vector<HostSlot> slots;
    walked_ = index_.Walk(query, [&](HostSlot slot) {
      slots.push_back(slot);
      return false;
    });
    return slots;
  }

  Index index_;
  Index::Walked walked_;
  std::vector<Index::Before> hosts_;
};

TEST_F(IndexTest, PackMeetsTheTightestUnitFirstAndEachHostOnce) {
  Set(0, Host({4, 4}));
  Set(1, Host({2, 3}));
  Set(2, Host({1}));
  EXPECT_THAT(Walk({.devices = 1}), ElementsAre(2, 1, 0));
  EXPECT_THAT(Walk({.devices = 2}), ElementsAre(1, 0));
  EXPECT_THAT(Walk({.devices = 4}), ElementsAre(0, 1)) << "the second over two units";
}

TEST_F(IndexTest, SpreadMeetsTheRoomiestFirst) {
  Set(0, Host({4, 4}));
  Set(1, Host({2, 3}));
  Set(2, Host({1}));
  EXPECT_THAT(Walk({.devices = 1, .policy = Policy::kSpread}), ElementsAre(0, 1, 2));
}

TEST_F(IndexTest, SameUnitLeavesOutHostsThatWouldHaveToSpreadIt) {
  Set(0, Host({4, 4}));
  Set(1, Host({2, 3}));
  EXPECT_THAT(Walk({.devices = 4, .same_unit = 4}), ElementsAre(0));
  EXPECT_EQ(walked_.small_units, 1U);
  EXPECT_THAT(Walk({.devices = 5, .same_unit = 3}), ElementsAre(1, 0));
}

TEST_F(IndexTest, TheSeedTurnsTheRingOfEqualHosts) {
  for (HostSlot slot = 0; slot < 4; ++slot) Set(slot, Host({2}));
  EXPECT_THAT(Walk({.devices = 1}), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(Walk({.devices = 1, .seed = 7}), ::testing::UnorderedElementsAre(0, 1, 2, 3));
}

TEST_F(IndexTest, AHostThatIsNotSchedulableIsOnlyPotential) {
  Set(0, Host({2}));
  Index::Before cordoned = hosts_[0];
  cordoned.schedulable = false;
  Set(0, cordoned);
  EXPECT_THAT(Walk({.devices = 1}), IsEmpty());
  EXPECT_EQ(index_.CountHosts(0, kInstalled, 1), 0U);
  std::vector<HostSlot> potential;
  index_.WalkPotential(0, 2, 2, [&](HostSlot slot) {
    potential.push_back(slot);
    return false;
  });
  EXPECT_THAT(potential, ElementsAre(0));
  EXPECT_TRUE(index_.Holds(0, 0, cordoned));
  EXPECT_EQ(index_.entries(), Index::EntriesOf(cordoned));
}

TEST_F(IndexTest, CountsFollowEveryChange) {
  Set(0, Host({4}));
  Set(1, Host({2}));
  EXPECT_EQ(index_.CountHosts(0, kPlaceable, 3), 1U);
  Set(0, Host({1}));
  EXPECT_EQ(index_.CountHosts(0, kPlaceable, 3), 0U);
  EXPECT_EQ(index_.Richest(0), 1U);
  Set(0, {});
  Set(1, {});
  EXPECT_EQ(index_.entries(), 0U);
  EXPECT_FALSE(index_.Richest(0).has_value());
}

}  // namespace
}  // namespace berth::placement
