// SPDX-License-Identifier: Apache-2.0
#include "lib/placement/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "lib/base/status.h"
#include "tests/placement/fleet_builder.h"

namespace berth::placement {
namespace {

struct Defect {
  std::string name;
  std::function<void(HostSnapshot&)> inflict;
  std::string said;
};

class SnapshotDefectTest : public ::testing::TestWithParam<Defect> {};

TEST_P(SnapshotDefectTest, IsRefusedWithTheCulpritsName) {
  HostSnapshot host = HostBuilder("h1").Unit("u0").Devices("gpu", 2).Unit("u1").Devices("nic", 1);
  ASSERT_TRUE(ValidateSnapshot(host).ok());
  GetParam().inflict(host);
  const absl::Status status = ValidateSnapshot(host);
  EXPECT_EQ(ReasonOf(status), Reason::kBadInventory);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(GetParam().said));
}

INSTANTIATE_TEST_SUITE_P(
    Defects, SnapshotDefectTest,
    ::testing::Values(
        Defect{"NoId", [](auto& h) { h.id = HostId(); }, "the host's id has 0 bytes"},
        Defect{"UnitTwice", [](auto& h) { h.units[1].id = UnitId("u0"); },
               "\"u0\" is listed twice"},
        Defect{"DeviceTwice", [](auto& h) { h.devices[1].id = h.devices[0].id; },
               "\"gpu0\" is listed twice"},
        Defect{"UnknownUnit", [](auto& h) { h.devices[0].unit = UnitId("u7"); },
               "behind unknown unit \"u7\""},
        Defect{"GroupOverUnits", [](auto& h) { h.devices[2].iommu_group = 0; },
               "IOMMU group 0 spans units \"u0\" and \"u1\""},
        Defect{"NegativeGroup", [](auto& h) { h.devices[0].iommu_group = -1; }, "IOMMU group -1"},
        Defect{"NegativeNode", [](auto& h) { h.devices[0].numa_node = -2; }, "NUMA node -2"},
        Defect{"NoClass", [](auto& h) { h.devices[0].device_class = ""; }, "the class of"},
        Defect{"WidePciId", [](auto& h) { h.devices[0].vendor_id = 0x10000; }, "16 bits"},
        Defect{"TooManyVintfs", [](auto& h) { h.units[0].capacity.vintfs = 1U << 20; },
               "vintfs is"},
        Defect{"HeldBeyondAll", [](auto& h) { h.units[0].vintfs_held = 64; }, "64 VINTFs of 63"},
        Defect{"NegativePages",
               [](auto& h) {
                 h.huge_pages = {{4096, -1}};
               },
               "-1 huge pages"},
        Defect{"EmptyLabel", [](auto& h) { h.labels[""] = "x"; }, "label"},
        Defect{"LongTaint",
               [](auto& h) {
                 h.taints = {{std::string(300, 'x'), "", {}}};
               },
               "a taint's key has 300 bytes"},
        Defect{"TooManyDevices", [](auto& h) { h.devices.resize(kMaxDevices + 1, h.devices[0]); },
               "4096 devices"},
        Defect{"LongAttribute",
               [](auto& h) { h.devices[0].attributes["a"] = std::string(300, 'x'); },
               "attribute \"a\" is too long"}),
    [](const auto& tested) { return tested.param.name; });

}  // namespace
}  // namespace berth::placement
