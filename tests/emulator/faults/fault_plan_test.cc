// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/faults/fault_plan.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <thread>
#include <vector>

#include "lib/base/status.h"

namespace berth::emulator {
namespace {

constexpr uapi::Request kAlloc = uapi::kIommuHwQueueAlloc;

FaultSpec Enospc(uint64_t skip, uint64_t count) {
  return {
      .request = kAlloc, .error = ENOSPC, .delay = {}, .subject = "", .skip = skip, .count = count};
}
FaultSpec On(FaultKind kind, const std::string& subject) {
  FaultSpec spec = {.kind = kind, .delay = {}, .subject = subject};
  if (kind == FaultKind::kDeviceGone) spec.count = 0;
  return spec;
}

TEST(FaultPlanTest, AnEmptyPlanNeverStrikes) {
  FaultPlan plan;
  EXPECT_EQ(plan.MeetIoctl(kAlloc).error, 0);
  EXPECT_FALSE(plan.Meet(FaultKind::kLostEvent, "smmu3.0"));
  EXPECT_FALSE(plan.IsGone("0000:01:00.0"));
}

TEST(FaultPlanTest, StrikesTheNthCallSoOftenAndNoOther) {
  FaultPlan plan;
  ASSERT_TRUE(plan.Add(Enospc(2, 2)).ok());
  std::vector<int> errors;
  for (int i = 0; i < 6; ++i) errors.push_back(plan.MeetIoctl(kAlloc).error);
  EXPECT_EQ(errors, (std::vector<int>{0, 0, ENOSPC, ENOSPC, 0, 0}));
  EXPECT_EQ(plan.MeetIoctl(uapi::kIommuViommuAlloc).error, 0);
  EXPECT_EQ(plan.List().at(0).met, 6U) << "of its own ioctl alone";
  EXPECT_EQ(plan.List().at(0).struck, 2U);
}

TEST(FaultPlanTest, WithoutACountItStrikesUntilItIsRemoved) {
  FaultPlan plan;
  const auto id = plan.Add(Enospc(0, 0));
  ASSERT_TRUE(id.ok());
  for (int i = 0; i < 100; ++i) EXPECT_EQ(plan.MeetIoctl(kAlloc).error, ENOSPC);
  EXPECT_TRUE(plan.Remove(*id).ok());
  EXPECT_EQ(plan.MeetIoctl(kAlloc).error, 0);
  EXPECT_EQ(ReasonOf(plan.Remove(*id)), Reason::kNotFound);
}

TEST(FaultPlanTest, TheOldestThatStrikesDecidesAndAllCount) {
  FaultPlan plan;
  ASSERT_TRUE(plan.Add(Enospc(0, 1)).ok());
  FaultSpec slow = Enospc(0, 2);
  slow.error = EIO;
  slow.delay = absl::Seconds(1);
  ASSERT_TRUE(plan.Add(slow).ok());
  EXPECT_EQ(plan.MeetIoctl(kAlloc).error, ENOSPC);
  const FaultPlan::IoctlFault second = plan.MeetIoctl(kAlloc);
  EXPECT_EQ(second.error, EIO);
  EXPECT_EQ(second.delay, absl::Seconds(1));
  EXPECT_EQ(plan.MeetIoctl(kAlloc).error, 0) << "the second has struck twice by now";
}

TEST(FaultPlanTest, AUnitHasItsOwnFaultsUnlessTheyAreForAny) {
  FaultPlan plan;
  ASSERT_TRUE(plan.Add(On(FaultKind::kLostEvent, "smmu3.0")).ok());
  EXPECT_FALSE(plan.Meet(FaultKind::kLostEvent, "smmu3.1"));
  EXPECT_FALSE(plan.Meet(FaultKind::kNonContiguous, "smmu3.0"));
  EXPECT_TRUE(plan.Meet(FaultKind::kLostEvent, "smmu3.0"));
  ASSERT_TRUE(plan.Add(On(FaultKind::kNonContiguous, "")).ok());
  EXPECT_TRUE(plan.Meet(FaultKind::kNonContiguous, "smmu3.1"));
}

TEST(FaultPlanTest, ADeviceIsGoneForAsLongAsTheFaultIsThere) {
  FaultPlan plan;
  const auto id = plan.Add(On(FaultKind::kDeviceGone, "0000:01:00.0"));
  ASSERT_TRUE(id.ok());
  EXPECT_TRUE(plan.IsGone("0000:01:00.0"));
  EXPECT_TRUE(plan.IsGone("0000:01:00.0")) << "asking is no occasion";
  EXPECT_FALSE(plan.IsGone("0000:02:00.0"));
  EXPECT_EQ(plan.Clear(), 1U);
  EXPECT_FALSE(plan.IsGone("0000:01:00.0"));
}

TEST(FaultPlanTest, WhatMakesNoSenseIsRefusedWithTheFieldsName) {
  FaultPlan plan;
  const auto field_of = [&](const FaultSpec& spec) {
    const absl::Status status = plan.Add(spec).status();
    return status.ok() ? "none" : MetadataOf(status)["field"];
  };
  FaultSpec spec = Enospc(0, 1);
  spec.request = 0x3b70;
  EXPECT_EQ(field_of(spec), "ioctl.request");
  spec = Enospc(0, 1);
  spec.error = 4096;
  EXPECT_EQ(field_of(spec), "ioctl.error");
  spec.error = 0;
  EXPECT_EQ(field_of(spec), "ioctl");
  spec.delay = absl::Seconds(-1);
  EXPECT_EQ(field_of(spec), "ioctl.delay");
  spec.delay = kMaxFaultDelay + absl::Nanoseconds(1);
  EXPECT_EQ(field_of(spec), "ioctl.delay");
  EXPECT_EQ(field_of(On(FaultKind::kDeviceGone, "")), "device_gone.device");
  spec = On(FaultKind::kDeviceGone, "0000:01:00.0");
  spec.count = 1;
  EXPECT_EQ(field_of(spec), "count");
  EXPECT_TRUE(plan.List().empty());
}

TEST(FaultPlanTest, ThereIsALimit) {
  FaultPlan plan;
  for (size_t i = 0; i < kMaxFaults; ++i) ASSERT_TRUE(plan.Add(Enospc(0, 1)).ok());
  EXPECT_EQ(ReasonOf(plan.Add(Enospc(0, 1)).status()), Reason::kTooLarge);
}

TEST(FaultPlanTest, StrikesAsOftenAsItShouldWhenManyAskAtOnce) {
  FaultPlan plan;
  ASSERT_TRUE(plan.Add(Enospc(10, 100)).ok());
  std::atomic<int> struck = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) struck += plan.MeetIoctl(kAlloc).error == ENOSPC ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(struck, 100);
}

}  // namespace
}  // namespace berth::emulator
