// SPDX-License-Identifier: Apache-2.0
//
// What grants find out of the hardware, and how long the inventory says so.
#include <gmock/gmock.h>

#include <string>
#include <utility>

#include "lib/base/status.h"
#include "tests/agent/inventory/inventory_fixture.h"
#include "tests/testing/lost_vintf.h"

namespace berth {
namespace {

TEST_F(InventoryTest, AUnitThatRefusesAVintfHasNoMoreThanAreInUse) {
  EXPECT_EQ(Unit(Look(), "smmu3.0").vintfs(), 63);
  const absl::Status full = Error(Reason::kVintfExhausted, "full");
  inventory().NoteUnitFault(UnitId("smmu3.0"), full, 2);
  EXPECT_EQ(Unit(Look(), "smmu3.0").vintfs(), 2);
  EXPECT_EQ(Unit(Look(), "smmu3.0").vintf_source(), v1::Unit::OBSERVED);
  inventory().NoteUnitFault(UnitId("smmu3.0"), full, 40);
  EXPECT_EQ(Unit(Look(), "smmu3.0").vintfs(), 2) << "fewer than before were enough already";
  EXPECT_EQ(Unit(Look(), "smmu3.1").vintfs(), 255) << "another unit";
  // While somebody may have a VINTF they cannot be counted.
  {
    const Holder holder = Take("vfio2");
    clock_.Advance(Inventory::kFaultRecheck);
    EXPECT_EQ(Unit(Look(), "smmu3.0").vintfs(), 2);
  }
  EXPECT_EQ(Unit(Look(), "smmu3.0").vintfs(), 2) << "not at every look";
  clock_.Advance(Inventory::kFaultRecheck);
  EXPECT_EQ(Unit(Look(), "smmu3.0").vintfs(), 3) << "what there really is";
  EXPECT_EQ(Unit(Look(), "smmu3.0").vintf_source(), v1::Unit::OBSERVED);
}

TEST_F(InventoryTest, TheOperatorsNumberStandsUnlessThereAreFewer) {
  Configure("vintfs: {smmu3.0: 5}");
  Look();
  inventory().NoteUnitFault(UnitId("smmu3.0"), Error(Reason::kVintfExhausted, "full"), 1);
  EXPECT_EQ(Unit(Look(), "smmu3.0").vintfs(), 1);
  clock_.Advance(Inventory::kFaultRecheck);
  EXPECT_EQ(Unit(Look(), "smmu3.0").vintfs(), 3) << "counted, and fewer than configured";
  clock_.Advance(Inventory::kFaultRecheck);
  EXPECT_EQ(Unit(Look(), "smmu3.0").vintfs(), 3);
}

TEST_F(InventoryTest, AVintfThatIsLostIsNotHandedOutUntilItIsCountedAgain) {
  Configure("observe_vintfs: true");
  EXPECT_EQ(Unit(Look(), "smmu3.0").vintfs(), 3);
  inventory().NoteLostVintfs(UnitId("smmu3.0"), 1, "a VMM of assignment u1");
  EXPECT_EQ(inventory().FindUnit(UnitId("smmu3.0"))->vintfs, 2) << "at once";
  EXPECT_EQ(inventory().FindUnit(UnitId("smmu3.0"))->lost_vintfs, 1);
  const v1::Unit less = Unit(Look(), "smmu3.0");
  EXPECT_EQ(less.vintfs(), 2);
  EXPECT_EQ(less.lost_vintfs(), 1);
  ASSERT_EQ(less.conditions_size(), 1);
  EXPECT_EQ(less.conditions(0).type(), "VintfsReturned");
  EXPECT_FALSE(less.conditions(0).status());
  EXPECT_EQ(less.conditions(0).reason(), "VINTF_LOST");
  EXPECT_THAT(less.conditions(0).message(), ::testing::HasSubstr("assignment u1"));
  EXPECT_EQ(less.taints_size(), 0) << "the others are as good as before";
  EXPECT_EQ(Unit(Look(), "smmu3.1").lost_vintfs(), 0);

  inventory().NoteLostVintfs(UnitId("smmu3.0"), 1, "a VMM of assignment u2");
  inventory().NoteLostVintfs(UnitId("smmu3.0"), -1, "");
  EXPECT_EQ(Unit(Look(), "smmu3.0").vintfs(), 2);
  // All are there in truth.
  clock_.Advance(Inventory::kFaultRecheck);
  EXPECT_EQ(Unit(Look(), "smmu3.0").vintfs(), 3);
  EXPECT_EQ(Unit(Look(), "smmu3.0").lost_vintfs(), 0);
  EXPECT_EQ(Unit(Look(), "smmu3.0").conditions_size(), 0);
}

TEST_F(InventoryTest, WhatIsLostOutlivesTheAgentButNotTheKernel) {
  Configure("observe_vintfs: true");
  EXPECT_EQ(Unit(Look(), "smmu3.0").vintfs(), 3);
  ASSERT_TRUE(testing::LoseVintf(&client(), OpenContext(), OpenDevice("vfio2")).ok());
  inventory().NoteLostVintfs(UnitId("smmu3.0"), 1, "a VMM");
  Look();
  Inventory::Options options;
  options.sysfs_root = tree_.root();
  options.config.set_observe_vintfs(true);
  Inventory next(&failing_, &clock_, std::move(options));
  next.Remember(inventory().ToRemember());
  next.RememberLost(inventory().ToRemember());
  ASSERT_TRUE(next.Refresh().ok());
  EXPECT_EQ(Unit(next.Current(), "smmu3.0").lost_vintfs(), 1);
  clock_.Advance(Inventory::kFaultRecheck);
  ASSERT_TRUE(next.Refresh().ok());
  EXPECT_EQ(Unit(next.Current(), "smmu3.0").lost_vintfs(), 1) << "counted, and still lost";
  EXPECT_EQ(Unit(next.Current(), "smmu3.0").vintfs(), 2);
  StopServer();
  EXPECT_EQ(ReasonOf(next.Refresh()), Reason::kKernelGone);
  StartKernel();
  ASSERT_TRUE(next.Refresh().ok());
  EXPECT_EQ(Unit(next.Current(), "smmu3.0").lost_vintfs(), 0);
  EXPECT_EQ(Unit(next.Current(), "smmu3.0").vintfs(), 3);
}

TEST_F(InventoryTest, AUnitThatDoesNotAnswerIsTaintedUntilItDoes) {
  Look();
  failing_.FailRequest(uapi::kIommuViommuAlloc, ETIMEDOUT);
  inventory().NoteUnitFault(UnitId("smmu3.0"),
                            Error(Reason::kHardwareTimeout, "VIOMMU_ALLOC: ETIMEDOUT"), 0);
  const v1::Unit tainted = Unit(Look(), "smmu3.0");
  ASSERT_EQ(tainted.taints_size(), 1);
  EXPECT_EQ(tainted.taints(0).key(), "berth/hardware-timeout");
  EXPECT_EQ(tainted.taints(0).effect(), v1::Taint::NO_NEW);
  EXPECT_EQ(tainted.taints(0).message(), "VIOMMU_ALLOC: ETIMEDOUT");
  ASSERT_EQ(tainted.conditions_size(), 1);
  EXPECT_EQ(tainted.conditions(0).type(), "Responding");
  EXPECT_FALSE(tainted.conditions(0).status());
  EXPECT_EQ(tainted.conditions(0).reason(), "HARDWARE_TIMEOUT");
  EXPECT_EQ(tainted.conditions(0).last_transition_time().seconds(), 1000);
  EXPECT_EQ(tainted.vintfs(), 63);
  EXPECT_EQ(Unit(Look(), "smmu3.1").taints_size(), 0);
  clock_.Advance(Inventory::kFaultRecheck);
  EXPECT_EQ(Unit(Look(), "smmu3.0").taints_size(), 1) << "it still does not answer";
  failing_.FailRequest(uapi::kIommuViommuAlloc, 0);
  EXPECT_EQ(Unit(Look(), "smmu3.0").taints_size(), 1) << "not asked at every look";
  // Through whatever device is idle.
  const Holder holder = Take("vfio0");
  clock_.Advance(Inventory::kFaultRecheck);
  EXPECT_EQ(Unit(Look(), "smmu3.0").taints_size(), 0);
  EXPECT_EQ(Unit(Look(), "smmu3.0").conditions_size(), 0);
}

TEST_F(InventoryTest, WhatEventQueuesSayIsShownUntilItIsOver) {
  Look();
  const AssignmentUid grant("u1");
  const std::string device = IdOf(kFirst);
  EXPECT_FALSE(inventory().NoteEvents(grant, {{.kind = EventNews::Kind::kFault,
                                               .unit = UnitId("smmu3.0"),
                                               .devices = {DeviceId(device)},
                                               .count = 2,
                                               .last = "F_TRANSLATION"}}));
  EXPECT_TRUE(inventory().NoteEvents(grant, {{.kind = EventNews::Kind::kUnreadable,
                                              .unit = UnitId("smmu3.0"),
                                              .devices = {},
                                              .count = 1,
                                              .last = "half a record"}}));
  agent::v1::Inventory found = Look();
  ASSERT_EQ(Device(found, kFirst).conditions_size(), 1);
  EXPECT_EQ(Device(found, kFirst).conditions(0).type(), "FaultFree");
  EXPECT_EQ(Device(found, kSecond).conditions_size(), 0);
  ASSERT_EQ(Unit(found, "smmu3.0").taints_size(), 1);
  EXPECT_EQ(Unit(found, "smmu3.0").taints(0).key(), "berth/events-unreadable");
  EXPECT_EQ(Unit(found, "smmu3.1").taints_size(), 0);
  EXPECT_TRUE(inventory().NoteEvents(grant, {}));
  found = Look();
  EXPECT_EQ(Device(found, kFirst).conditions_size(), 0);
  EXPECT_EQ(Unit(found, "smmu3.0").taints_size(), 0);
}

TEST_F(InventoryTest, ANewKernelHasNoFaults) {
  Look();
  inventory().NoteUnitFault(UnitId("smmu3.0"), Error(Reason::kHardwareTimeout, "stuck"), 0);
  StopServer();
  EXPECT_FALSE(inventory().Refresh().ok());
  StartKernel();
  EXPECT_EQ(Unit(Look(), "smmu3.0").taints_size(), 0);
}

}  // namespace
}  // namespace berth
