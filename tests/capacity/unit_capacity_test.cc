// SPDX-License-Identifier: Apache-2.0
#include "lib/capacity/unit_capacity.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

#include "lib/base/status.h"

namespace berth {
namespace {

const UnitId kUnit("smmu3.0x11000000");

TEST(UnitCapacityTest, GraceHas63VintfsOfTwoQueuesAnd16SidSlots) {
  const UnitCapacity grace = DefaultCapacity(UnitProfile::kTegra241Cmdqv);
  EXPECT_EQ(grace.vintfs, 63U);
  EXPECT_EQ(grace.vcmdqs_per_vintf, 2U);
  EXPECT_EQ(grace.sids_per_vintf, 16U);
  EXPECT_EQ(grace.source, VintfSource::kDefault);
}

TEST(UnitCapacityTest, EveryDefaultIsValid) {
  for (UnitProfile profile : {UnitProfile::kTegra241Cmdqv, UnitProfile::kArmSmmuV3,
                              UnitProfile::kAmdIommu, UnitProfile::kVtd}) {
    EXPECT_TRUE(ValidateCapacity(DefaultCapacity(profile)).ok()) << ProfileName(profile);
  }
}

TEST(UnitCapacityTest, QueuesOfAProfileWithoutQueuesAreRefusedByField) {
  UnitCapacity plain = DefaultCapacity(UnitProfile::kArmSmmuV3);
  plain.vcmdqs_per_vintf = 2;
  const absl::Status status = ValidateCapacity(plain);
  EXPECT_EQ(ReasonOf(status), Reason::kInvalidField);
  EXPECT_EQ(MetadataOf(status).at("field"), "vcmdqs_per_vintf");
}

TEST(UnitCapacityTest, NumbersThatNoHardwareHasAreRefused) {
  UnitCapacity odd = DefaultCapacity(UnitProfile::kTegra241Cmdqv);
  odd.vintfs = static_cast<uint32_t>(-1);
  EXPECT_EQ(MetadataOf(ValidateCapacity(odd)).at("field"), "vintfs");
  odd.vintfs = 63;
  odd.max_queue_log2 = 20;
  EXPECT_EQ(MetadataOf(ValidateCapacity(odd)).at("field"), "max_queue_log2");
}

TEST(UnitCapacityTest, TheLastVintfIsGivenAndTheNextRefused) {
  UnitCapacity small = DefaultCapacity(UnitProfile::kTegra241Cmdqv);
  small.vintfs = 2;
  UnitUsage usage;
  EXPECT_TRUE(Reserve(kUnit, small, {.vcmdqs = 2, .sid_slots = 1}, usage).ok());
  EXPECT_TRUE(Reserve(kUnit, small, {.vcmdqs = 2, .sid_slots = 16}, usage).ok());
  const UnitUsage full = usage;
  const absl::Status status = Reserve(kUnit, small, {.vcmdqs = 0, .sid_slots = 1}, usage);
  EXPECT_EQ(ReasonOf(status), Reason::kVintfExhausted);
  EXPECT_EQ(MetadataOf(status).at("limit"), "2");
  EXPECT_EQ(usage, full) << "a refusal charges nothing";
}

TEST(UnitCapacityTest, AskingForFewerQueuesFreesNothing) {
  UnitCapacity unit = DefaultCapacity(UnitProfile::kTegra241Cmdqv);
  unit.vintfs = 3;
  UnitUsage without_queues;
  UnitUsage with_queues;
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(Reserve(kUnit, unit, {.vcmdqs = 0, .sid_slots = 1}, without_queues).ok());
    EXPECT_TRUE(Reserve(kUnit, unit, {.vcmdqs = 2, .sid_slots = 1}, with_queues).ok());
    EXPECT_EQ(FreeVintfs(unit, without_queues), FreeVintfs(unit, with_queues));
  }
  EXPECT_EQ(ReasonOf(Reserve(kUnit, unit, {.vcmdqs = 0, .sid_slots = 1}, without_queues)),
            Reason::kVintfExhausted);
}

TEST(UnitCapacityTest, LimitsOfOneVintfHoldHoweverManyVintfsAreFree) {
  const UnitCapacity grace = DefaultCapacity(UnitProfile::kTegra241Cmdqv);
  const absl::Status sids = CheckClaim(kUnit, grace, {.vcmdqs = 0, .sid_slots = 17});
  EXPECT_EQ(ReasonOf(sids), Reason::kSidSlotsExhausted);
  EXPECT_EQ(MetadataOf(sids).at("asked"), "17");
  EXPECT_EQ(ReasonOf(CheckClaim(kUnit, grace, {.vcmdqs = 3, .sid_slots = 1})),
            Reason::kUnsatisfiable);
  EXPECT_EQ(ReasonOf(CheckClaim(kUnit, grace, {.vcmdqs = 1, .sid_slots = 0})),
            Reason::kInvalidField);
}

TEST(UnitCapacityTest, AUnitWithoutViommusIsLimitedByItsDevicesAlone) {
  const UnitCapacity vtd = DefaultCapacity(UnitProfile::kVtd);
  UnitUsage usage;
  for (int i = 0; i < 300; ++i) {
    ASSERT_TRUE(Reserve(kUnit, vtd, {.vcmdqs = 0, .sid_slots = 20}, usage).ok());
  }
  EXPECT_EQ(FreeVintfs(vtd, usage), std::numeric_limits<uint32_t>::max());
  EXPECT_EQ(ReasonOf(Reserve(kUnit, vtd, {.vcmdqs = 1, .sid_slots = 1}, usage)),
            Reason::kUnsatisfiable);
}

TEST(UnitCapacityTest, ReleaseIsTheInverseAndRefusesMoreThanThereIs) {
  const UnitCapacity grace = DefaultCapacity(UnitProfile::kTegra241Cmdqv);
  const VintfClaim claim{.vcmdqs = 2, .sid_slots = 3};
  UnitUsage usage;
  ASSERT_TRUE(Reserve(kUnit, grace, claim, usage).ok());
  EXPECT_EQ(ReasonOf(Release(kUnit, {.vcmdqs = 2, .sid_slots = 4}, usage)), Reason::kStateConflict);
  EXPECT_TRUE(Release(kUnit, claim, usage).ok());
  EXPECT_EQ(usage, UnitUsage{});
  EXPECT_EQ(ReasonOf(Release(kUnit, claim, usage)), Reason::kStateConflict);
}

TEST(UnitCapacityTest, EnospcCorrectsTheCountDownwardAndNeverUp) {
  const UnitCapacity grace = DefaultCapacity(UnitProfile::kTegra241Cmdqv);
  const UnitCapacity corrected = CorrectDownward(grace, 31);
  EXPECT_EQ(corrected.vintfs, 31U);
  EXPECT_EQ(corrected.source, VintfSource::kObserved);
  EXPECT_EQ(CorrectDownward(corrected, 40), corrected);
}

TEST(UnitCapacityTest, MoreInUseThanThereIsLeavesNothingFree) {
  UnitCapacity unit = DefaultCapacity(UnitProfile::kTegra241Cmdqv);
  UnitUsage usage;
  Charge({.vcmdqs = 2, .sid_slots = 1}, usage);
  Charge({.vcmdqs = 2, .sid_slots = 1}, usage);
  unit.vintfs = 1;
  EXPECT_EQ(FreeVintfs(unit, usage), 0U);
}

}  // namespace
}  // namespace berth
