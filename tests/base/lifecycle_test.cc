// SPDX-License-Identifier: Apache-2.0
//
// Enumerates the tables of lifecycle.h: whatever edge is added there has to keep these promises.
#include "lib/base/lifecycle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

namespace berth {
namespace {

using ::testing::UnorderedElementsAreArray;

// The states by number; the names and numbers are part of the public API.
template <typename State>
struct Table;

template <>
struct Table<Intent> {
  static constexpr Intent kEnd = Intent::kNone;
  static absl::Span<const Edge<Intent>> Edges() { return IntentEdges(); }
  static std::vector<std::string> Names() {
    return {"NONE", "PENDING", "PLACED", "RELEASING", "FAILED"};
  }
};

template <>
struct Table<Observed> {
  static constexpr Observed kEnd = Observed::kGone;
  static absl::Span<const Edge<Observed>> Edges() { return ObservedEdges(); }
  static std::vector<std::string> Names() {
    return {"NONE",      "PREPARING", "PREPARED", "ATTACHED", "RECYCLING",
            "SCRUBBING", "ORPHANED",  "DEGRADED", "GONE"};
  }
};

template <typename State>
class LifecycleTest : public ::testing::Test {
 protected:
  static std::set<State> AllStates() {
    std::set<State> states;
    for (size_t i = 0; i < Table<State>::Names().size(); ++i) states.insert(static_cast<State>(i));
    return states;
  }

  enum class Direction { kForward, kBackward };

  // What can be reached from `start` along the edges, or what reaches it.
  static std::set<State> Reach(State start, Direction direction) {
    std::set<State> reached = {start};
    for (size_t before = 0; before != reached.size();) {
      before = reached.size();
      for (const Edge<State>& edge : Table<State>::Edges()) {
        const bool forward = direction == Direction::kForward;
        if (reached.contains(forward ? edge.from : edge.to)) {
          reached.insert(forward ? edge.to : edge.from);
        }
      }
    }
    return reached;
  }
};

using States = ::testing::Types<Intent, Observed>;
TYPED_TEST_SUITE(LifecycleTest, States);

TYPED_TEST(LifecycleTest, NamesAndNumbersAreStable) {
  const std::vector<std::string> names = Table<TypeParam>::Names();
  for (size_t i = 0; i < names.size(); ++i) {
    EXPECT_EQ(ToString(static_cast<TypeParam>(i)), names[i]);
  }
}

TYPED_TEST(LifecycleTest, EveryEdgeHasAnOwnerACauseAndTwoStates) {
  for (const Edge<TypeParam>& edge : Table<TypeParam>::Edges()) {
    EXPECT_FALSE(edge.cause.empty()) << ToString(edge.from) << " -> " << ToString(edge.to);
    EXPECT_FALSE(ToString(edge.owner).empty());
    EXPECT_NE(edge.from, edge.to) << "a state to itself is not a change";
    EXPECT_TRUE(this->AllStates().contains(edge.from));
    EXPECT_TRUE(this->AllStates().contains(edge.to));
  }
}

TYPED_TEST(LifecycleTest, NoEdgeIsThereTwice) {
  std::set<std::pair<TypeParam, TypeParam>> seen;
  for (const Edge<TypeParam>& edge : Table<TypeParam>::Edges()) {
    EXPECT_TRUE(seen.insert({edge.from, edge.to}).second)
        << ToString(edge.from) << " -> " << ToString(edge.to);
  }
}

TYPED_TEST(LifecycleTest, EveryStateCanBeReachedFromTheBeginning) {
  EXPECT_THAT(this->Reach(TypeParam::kNone, TestFixture::Direction::kForward),
              UnorderedElementsAreArray(this->AllStates()));
}

TYPED_TEST(LifecycleTest, EveryStateReachesTheEnd) {
  EXPECT_THAT(this->Reach(Table<TypeParam>::kEnd, TestFixture::Direction::kBackward),
              UnorderedElementsAreArray(this->AllStates()));
}

TYPED_TEST(LifecycleTest, ExactlyTheEdgesAreAllowed) {
  std::set<std::pair<TypeParam, TypeParam>> edges;
  for (const Edge<TypeParam>& edge : Table<TypeParam>::Edges()) edges.insert({edge.from, edge.to});
  for (const TypeParam from : this->AllStates()) {
    for (const TypeParam to : this->AllStates()) {
      EXPECT_EQ(IsAllowed(from, to), edges.contains({from, to}))
          << ToString(from) << " -> " << ToString(to);
    }
  }
}

TEST(IntentTest, NothingIsPlacedAgainOnceItIsToGo) {
  for (const Edge<Intent>& edge : IntentEdges()) {
    if (edge.from == Intent::kReleasing) {
      EXPECT_EQ(edge.to, Intent::kNone);
    }
  }
}

TEST(ObservedTest, OnlyAVmmAttachesAndAContextThatItHadIsNeverPreparedAtOnce) {
  for (const Edge<Observed>& edge : ObservedEdges()) {
    if (edge.to == Observed::kAttached) {
      EXPECT_EQ(edge.from, Observed::kPrepared);
      EXPECT_EQ(edge.owner, Owner::kVmm);
    }
    if (edge.from == Observed::kAttached) {
      EXPECT_NE(edge.to, Observed::kPrepared);
      EXPECT_NE(edge.to, Observed::kGone) << "a device is scrubbed before it is free";
    }
  }
}

TEST(IsChargedTest, WhatAHostMayHoldCounts) {
  EXPECT_FALSE(IsCharged(Intent::kNone, Observed::kNone));
  EXPECT_FALSE(IsCharged(Intent::kPending, Observed::kNone));
  for (const Observed observed : {Observed::kNone, Observed::kPrepared, Observed::kOrphaned}) {
    EXPECT_TRUE(IsCharged(Intent::kPlaced, observed));
    EXPECT_TRUE(IsCharged(Intent::kReleasing, observed));
  }
  EXPECT_TRUE(IsCharged(Intent::kFailed, Observed::kOrphaned));
  EXPECT_FALSE(IsCharged(Intent::kFailed, Observed::kGone));
  EXPECT_FALSE(IsCharged(Intent::kFailed, Observed::kNone));
}

TEST(OwnerTest, HasAName) {
  EXPECT_EQ(ToString(Owner::kUser), "user");
  EXPECT_EQ(ToString(Owner::kController), "controller");
  EXPECT_EQ(ToString(Owner::kAgent), "agent");
  EXPECT_EQ(ToString(Owner::kVmm), "VMM");
}

}  // namespace
}  // namespace berth
