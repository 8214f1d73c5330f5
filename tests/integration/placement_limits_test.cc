// SPDX-License-Identifier: Apache-2.0
//
// Where capacity ends: VINTFs before devices, SID slots of one VINTF, devices that cannot be reset.
#include <gmock/gmock.h>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "tests/integration/cluster.h"

namespace berth::testing {
namespace {

using ::testing::HasSubstr;
using v1::Assignment;

const v1::ClassCapacity* FindClass(const v1::Capacity& capacity, const std::string& name) {
  for (const v1::ClassCapacity& entry : capacity.classes()) {
    if (entry.class_() == name) return &entry;
  }
  return nullptr;
}

TEST(PlacementLimits, VintfsRunOutBeforeDevices) {
  Cluster cluster({"sriov"});
  for (int i = 0; i < 63; ++i) {
    const absl::StatusOr<Assignment> one = cluster.Create(absl::StrCat("vm-", i), OneOf("nic"));
    ASSERT_TRUE(one.ok()) << i << ": " << one.status();
  }
  const absl::Status status = cluster.Create("vm-63", OneOf("nic")).status();
  EXPECT_EQ(ReasonOf(status), Reason::kNoCapacity) << status;
  EXPECT_THAT(status.message(), HasSubstr("VINTF"));

  const v1::Capacity capacity = cluster.GetCapacity();
  EXPECT_EQ(capacity.vintfs().free(), 0);
  ASSERT_NE(FindClass(capacity, "nic"), nullptr);
  EXPECT_EQ(FindClass(capacity, "nic")->devices().free(), 65);
  EXPECT_EQ(FindClass(capacity, "nic")->reachable(), 0);
  EXPECT_DOUBLE_EQ(capacity.stranded_device_ratio(), 1);

  // The hardware agrees: all 63 are there, each with a VINTF.
  for (int i = 0; i < 63; ++i) cluster.AwaitObserved(absl::StrCat("vm-", i), Assignment::PREPARED);
  cluster.ExpectRecordsAgree(63);

  ASSERT_TRUE(cluster.Delete("vm-17").ok());
  EXPECT_TRUE(cluster.AwaitGone("vm-17"));
  EXPECT_TRUE(cluster.Create("vm-63", OneOf("nic")).ok());
}

TEST(PlacementLimits, OneVintfHasSixteenSidSlots) {
  Cluster cluster({"sriov"});
  const absl::Status status =
      cluster.Create("wide", "device_requests { name: 'vf' class: 'nic' count: 17 }").status();
  EXPECT_EQ(ReasonOf(status), Reason::kUnsatisfiable) << status;
  EXPECT_THAT(status.message(), HasSubstr("SID"));
  ASSERT_TRUE(cluster.Create("wide", "device_requests { name: 'vf' class: 'nic' count: 16 }").ok());
  EXPECT_TRUE(cluster.AwaitObserved("wide", Assignment::PREPARED));
  cluster.ExpectRecordsAgree(1);
}

TEST(PlacementLimits, ADeviceThatCannotBeResetIsNotHandedOut) {
  Cluster cluster({"small"});
  const v1::Host host = cluster.GetHost("small");
  int gpus = 0;
  for (const v1::Device& device : host.devices()) {
    EXPECT_EQ(device.assignable(), device.class_() != "gpu") << device.DebugString();
    if (device.class_() != "gpu") continue;
    ++gpus;
    EXPECT_FALSE(device.resettable());
    EXPECT_THAT(device.unassignable_reason(), HasSubstr("reset"));
  }
  EXPECT_EQ(gpus, 1);
  const absl::Status status = cluster.Create("vm", OneOf("gpu")).status();
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(ReasonOf(status), ::testing::AnyOf(Reason::kNoCapacity, Reason::kUnsatisfiable))
      << status;

  // The only VINTF goes to the disk; a plain unit still serves its NIC.
  ASSERT_TRUE(cluster.Create("disk", OneOf("nvme")).ok());
  ASSERT_TRUE(cluster.Create("nic", OneOf("nic")).ok());
  EXPECT_TRUE(cluster.AwaitObserved("disk", Assignment::PREPARED));
  EXPECT_TRUE(cluster.AwaitObserved("nic", Assignment::PREPARED));
  EXPECT_EQ(cluster.Get("nic")->placement().units(0).vcmdqs(), 0);
  cluster.ExpectRecordsAgree(2);
}

}  // namespace
}  // namespace berth::testing
