// SPDX-License-Identifier: Apache-2.0
#include "agent/inventory/event_health.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace berth {
namespace {

using Kind = EventNews::Kind;
using ::testing::AllOf;
using ::testing::HasSubstr;

EventNews News(Kind kind, const std::string& device = "", uint64_t count = 1) {
  EventNews news{.kind = kind, .unit = UnitId("smmu0"), .devices = {}, .count = count, .last = "x"};
  if (!device.empty()) news.devices.emplace_back(device);
  return news;
}

class EventHealthTest : public ::testing::Test {
 protected:
  v1::Unit Unit(const std::string& id = "smmu0") {
    v1::Unit unit;
    unit.set_id(id);
    health_.Review();
    health_.AddTo(&unit);
    return unit;
  }
  v1::Device Device(const std::string& id) {
    v1::Device device;
    device.set_id(id);
    health_.Review();
    health_.AddTo(&device);
    return device;
  }

  const AssignmentUid a_{"a"};
  const AssignmentUid b_{"b"};
  FakeClock clock_{absl::FromUnixSeconds(1000)};
  EventHealth health_{&clock_};
};

TEST_F(EventHealthTest, WhatAGuestCanCauseTaintsNothing) {
  EXPECT_FALSE(health_.Note(
      a_, {News(Kind::kFault, "gpu", 3), News(Kind::kLost, "gpu", 7), News(Kind::kQueueError)}));
  const v1::Device gpu = Device("gpu");
  ASSERT_EQ(gpu.conditions_size(), 2);
  EXPECT_EQ(gpu.conditions(0).type(), "FaultFree");
  EXPECT_FALSE(gpu.conditions(0).status());
  EXPECT_EQ(gpu.conditions(0).message(), "grant a: 3 faults; x");
  EXPECT_EQ(gpu.conditions(0).last_transition_time().seconds(), 1000);
  EXPECT_EQ(gpu.conditions(1).type(), "EventsKept");
  EXPECT_THAT(gpu.conditions(1).message(), HasSubstr("7 events lost"));
  EXPECT_EQ(Device("nic").conditions_size(), 0);
  const v1::Unit unit = Unit();
  ASSERT_EQ(unit.conditions_size(), 1);
  EXPECT_EQ(unit.conditions(0).type(), "QueuesHealthy");
  EXPECT_EQ(unit.taints_size(), 0);
  EXPECT_EQ(Unit("smmu1").conditions_size(), 0);
}

TEST_F(EventHealthTest, WhatAGuestCausedIsOverWhenItIsQuiet) {
  health_.Note(a_, {News(Kind::kFault, "gpu")});
  clock_.Advance(EventHealth::kQuiet - absl::Seconds(1));
  health_.Note(a_, {News(Kind::kFault, "gpu")});
  clock_.Advance(EventHealth::kQuiet - absl::Seconds(1));
  ASSERT_EQ(Device("gpu").conditions_size(), 1) << "since the last of them";
  EXPECT_EQ(Device("gpu").conditions(0).last_transition_time().seconds(), 1000);
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(Device("gpu").conditions_size(), 0);
}

TEST_F(EventHealthTest, ACountThatGrowsIsToldFromTimeToTime) {
  health_.Note(a_, {News(Kind::kFault, "gpu")});
  health_.Note(a_, {News(Kind::kFault, "gpu", 9)});
  EXPECT_THAT(Device("gpu").conditions(0).message(), HasSubstr(": 1 faults"));
  clock_.Advance(EventHealth::kRetell);
  EXPECT_THAT(Device("gpu").conditions(0).message(), HasSubstr(": 10 faults"));
}

TEST_F(EventHealthTest, RecordsThatNobodyCanReadTaintTheUnitUntilTheGrantHasGone) {
  EXPECT_TRUE(health_.Note(a_, {News(Kind::kUnreadable)}));
  const v1::Unit unit = Unit();
  ASSERT_EQ(unit.taints_size(), 1);
  EXPECT_EQ(unit.taints(0).key(), "berth/events-unreadable");
  EXPECT_EQ(unit.taints(0).effect(), v1::Taint::NO_NEW);
  ASSERT_EQ(unit.conditions_size(), 1);
  EXPECT_EQ(unit.conditions(0).type(), "EventsReadable");
  EXPECT_EQ(unit.conditions(0).reason(), "SYSTEM_ERROR");
  clock_.Advance(10 * EventHealth::kQuiet);
  EXPECT_EQ(Unit().taints_size(), 1) << "that queue is not read any more";
  EXPECT_FALSE(health_.Forget(b_));
  EXPECT_EQ(Unit().taints_size(), 1);
  EXPECT_TRUE(health_.Forget(a_));
  EXPECT_EQ(Unit().taints_size(), 0);
  EXPECT_EQ(Unit().conditions_size(), 0);
}

TEST_F(EventHealthTest, TheGrantsOfAUnitShareACondition) {
  health_.Note(a_, {News(Kind::kQueueError, "", 2)});
  clock_.Advance(absl::Seconds(5));
  health_.Note(b_, {News(Kind::kQueueError)});
  ASSERT_EQ(Unit().conditions_size(), 1);
  EXPECT_THAT(Unit().conditions(0).message(), AllOf(HasSubstr("grant a: 2"), HasSubstr("grant b")));
  EXPECT_EQ(Unit().conditions(0).last_transition_time().seconds(), 1000);
  EXPECT_FALSE(health_.Forget(a_));
  EXPECT_EQ(Unit().conditions(0).last_transition_time().seconds(), 1005);
}

TEST_F(EventHealthTest, ANewKernelIsInGoodHealth) {
  health_.Note(a_, {News(Kind::kUnreadable), News(Kind::kFault, "gpu")});
  health_.Clear();
  EXPECT_EQ(Unit().taints_size(), 0);
  EXPECT_EQ(Device("gpu").conditions_size(), 0);
}

}  // namespace
}  // namespace berth
