// SPDX-License-Identifier: Apache-2.0
//
// What grants find out of the hardware, and how long the inventory says so.
#include <gmock/gmock.h>

#include <string>

#include "lib/base/status.h"
#include "tests/agent/inventory/inventory_fixture.h"

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
