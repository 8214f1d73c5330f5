// SPDX-License-Identifier: Apache-2.0
//
// Where capacity ends: VINTFs before devices, SID slots of one VINTF, devices that cannot be reset.
#include <gmock/gmock.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

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
  // Queues were preferred; who needs them is not placed there.
  ASSERT_TRUE(cluster.Delete("nic").ok());
  ASSERT_TRUE(cluster.AwaitGone("nic"));
  const absl::Status without =
      cluster
          .Create("queues",
                  "device_requests { name: 'nic' class: 'nic' queues { need: REQUIRED } }")
          .status();
  EXPECT_EQ(ReasonOf(without), Reason::kUnsatisfiable) << without;
}

// Two hosts of four units; "first" stands on one of them, and PACK puts what follows beside it.
class TwoHosts : public ::testing::Test {
 protected:
  TwoHosts() {
    EXPECT_TRUE(cluster_.Create("first", OneOf("gpu")).ok());
    EXPECT_TRUE(cluster_.AwaitObserved("first", Assignment::PREPARED));
    host_ = HostOf("first");
  }
  std::string HostOf(const std::string& assignment) {
    const absl::StatusOr<Assignment> found = cluster_.Get(assignment);
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() ? found->placement().host().substr(std::string("hosts/").size()) : "";
  }
  Host& host() { return cluster_.host(host_); }
  void FailNextViommu(const std::string& error) {
    internal::v1::Fault fault;
    fault.mutable_ioctl()->set_request("VIOMMU_ALLOC");
    fault.mutable_ioctl()->set_error(error);
    fault.set_count(1);
    host().AddFault(fault);
  }
  // Creates "second", which host_ cannot prepare for `reason`, and which the other one then has.
  void ExpectPlacedAnew(const std::string& reason) {
    EXPECT_TRUE(cluster_.Create("second", OneOf("gpu")).ok());
    ASSERT_TRUE(cluster_.AwaitObserved("second", Assignment::PREPARED));
    const absl::StatusOr<Assignment> second = cluster_.Get("second");
    ASSERT_TRUE(second.ok()) << second.status();
    EXPECT_NE(HostOf("second"), host_);
    EXPECT_EQ(second->generation(), 2);
    EXPECT_EQ(second->failure().reason(), reason);
  }
  // A unit of host_ that `fits`.
  v1::Unit AwaitUnit(const std::function<bool(const v1::Unit&)>& fits) {
    v1::Unit found;
    WaitFor("the unit shows it", [&] {
      const v1::Host host = cluster_.GetHost(host_);
      for (const v1::Unit& unit : host.units()) {
        if (!fits(unit)) continue;
        found = unit;
        return true;
      }
      return false;
    });
    return found;
  }

  Cluster cluster_{std::vector<Host::Options>{
      {.id = "left", .host_file = SourceFile("deploy/examples/hosts/gh200.yaml")},
      {.id = "right", .host_file = SourceFile("deploy/examples/hosts/gh200.yaml")}}};
  std::string host_;
};

TEST_F(TwoHosts, AUnitWithoutAVintfIsCorrectedAndTheAssignmentPlacedAnew) {
  FailNextViommu("ENOSPC");
  ExpectPlacedAnew("VINTF_EXHAUSTED");
  const v1::Unit corrected = AwaitUnit([](const v1::Unit& unit) { return unit.vintfs() < 63; });
  EXPECT_EQ(corrected.vintfs(), corrected.used_vintfs());
  EXPECT_EQ(corrected.vintf_source(), v1::Unit::OBSERVED);
  cluster_.ExpectRecordsAgree(2);
}

TEST_F(TwoHosts, AUnitThatDoesNotAnswerIsTaintedAndTheAssignmentPlacedAnew) {
  FailNextViommu("ETIMEDOUT");
  ExpectPlacedAnew("HARDWARE_TIMEOUT");
  const v1::Unit tainted = AwaitUnit([](const v1::Unit& unit) { return unit.taints_size() > 0; });
  EXPECT_EQ(tainted.taints(0).key(), "berth/hardware-timeout");
  EXPECT_THAT(tainted.taints(0).message(), HasSubstr("ETIMEDOUT"));
  cluster_.ExpectRecordsAgree(2);
}

TEST_F(TwoHosts, AnAssignmentLeavesADeviceThatIsPulledOut) {
  internal::v1::Fault fault;
  const v1::DevicePlacement device = cluster_.Get("first")->placement().units(0).devices(0);
  fault.mutable_device_gone()->set_device(device.address());
  host().AddFault(fault);
  WaitFor("it is placed on the other host",
          [&] { return cluster_.Get("first")->generation() == 2; });
  EXPECT_NE(HostOf("first"), host_);
  EXPECT_EQ(cluster_.Get("first")->failure().reason(), "DEVICE_GONE");
  EXPECT_TRUE(cluster_.AwaitObserved("first", Assignment::PREPARED));
  const auto offered = [&] {
    const v1::Host found = cluster_.GetHost(host_);
    return std::any_of(found.devices().begin(), found.devices().end(), [&](const v1::Device& d) {
      return d.id() == device.device() && d.assignable();
    });
  };
  EXPECT_FALSE(offered());
  cluster_.ExpectRecordsAgree(1);
  host().ClearFaults();
  WaitFor("the device is offered again", offered);
}

}  // namespace
}  // namespace berth::testing
