// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "berth/v1/capacity_service.pb.h"
#include "tests/controller/controller_fixture.h"

namespace berth::controller_test {
namespace {

class CapacityTest : public ControllerTest {
 protected:
  v1::Capacity Ask(const std::string& host = "", bool units = false) {
    v1::GetCapacityRequest request;
    request.set_host(host);
    request.set_include_units(units);
    const auto answer = client().Call<v1::Capacity>("CapacityService/GetCapacity", request);
    EXPECT_THAT(answer, IsOk());
    return answer.value_or(v1::Capacity());
  }
};

TEST_F(CapacityTest, CountsWhatIsFreeAndWhatIsOutOfReach) {
  const auto a =
      AddHost({.host_id = "a",
               .host_uid = "ua",
               .inventory = MakeInventory({.units = 1, .devices_per_unit = 3, .vintfs = 1})});
  const auto b = AddHost(
      {.host_id = "b",
       .host_uid = "ub",
       .inventory = MakeInventory({.units = 2, .devices_per_unit = 1, .device_class = "nic"})});
  v1::Capacity capacity = Ask();
  EXPECT_EQ(capacity.hosts().total(), 2);
  EXPECT_EQ(capacity.hosts().free(), 2);
  EXPECT_EQ(capacity.vintfs().total(), 9);
  EXPECT_EQ(capacity.vintfs().free(), 9);
  ASSERT_EQ(capacity.classes_size(), 2);
  EXPECT_EQ(capacity.classes(0).class_(), "gpu");
  EXPECT_EQ(capacity.classes(0).devices().free(), 3);
  EXPECT_EQ(capacity.classes(0).reachable(), 3);
  EXPECT_EQ(capacity.units_size(), 0);

  // It takes the only VINTF of a's unit: the other two devices cannot be reached.
  ASSERT_THAT(client().Create(CreateOf("vm")), IsOk());
  capacity = Ask();
  EXPECT_EQ(capacity.vintfs().free(), 8);
  EXPECT_EQ(capacity.classes(0).devices().total(), 3);
  EXPECT_EQ(capacity.classes(0).devices().free(), 2);
  EXPECT_EQ(capacity.classes(0).reachable(), 0);
  EXPECT_DOUBLE_EQ(capacity.stranded_device_ratio(), 0.5);

  capacity = Ask("hosts/b", true);
  EXPECT_EQ(capacity.hosts().total(), 1);
  ASSERT_EQ(capacity.units_size(), 2);
  EXPECT_EQ(capacity.units(0).host(), "hosts/b");
  EXPECT_EQ(capacity.units(0).unit(), "unit0");
  EXPECT_EQ(capacity.units(0).devices().free(), 1);

  clock.Advance(absl::Seconds(4));
  client().AwaitHostState("hosts/a", v1::Host::SUSPECT);
  client().AwaitHostState("hosts/b", v1::Host::SUSPECT);
  capacity = Ask();
  EXPECT_EQ(capacity.hosts().total(), 2);
  EXPECT_EQ(capacity.hosts().free(), 0);
  EXPECT_EQ(capacity.vintfs().free(), 0);
  EXPECT_EQ(capacity.classes(0).devices().free(), 0);
}

TEST_F(CapacityTest, WhatAnAgentSaysOfTheBookIsNotBelieved) {
  auto inventory = MakeInventory();
  inventory.mutable_units(0)->set_used_vintfs(3);
  inventory.mutable_devices(0)->set_assignment("assignments/mine");
  const auto agent = AddHost({.inventory = inventory});
  EXPECT_EQ(Ask().vintfs().free(), 4);
  EXPECT_EQ(Ask().classes(0).devices().free(), 2);
}

TEST_F(CapacityTest, UnitsWithoutVintfsStrandNothing) {
  auto inventory = MakeInventory({.vintfs = 0});
  v1::Unit* unit = inventory.mutable_units(0);
  unit->set_profile(v1::Unit::VTD);
  unit->set_vcmdqs_per_vintf(0);
  unit->set_sids_per_vintf(0);
  unit->set_max_queue_log2(0);
  const auto agent = AddHost({.inventory = inventory});
  EXPECT_EQ(Ask().classes(0).reachable(), 2);
  EXPECT_DOUBLE_EQ(Ask().stranded_device_ratio(), 0);
}

TEST_F(CapacityTest, OfAHostThatIsNotThereIsAnError) {
  v1::GetCapacityRequest request;
  request.set_host("hosts/none");
  EXPECT_THAT(client().Call<v1::Capacity>("CapacityService/GetCapacity", request),
              FailsWith(Reason::kNotFound));
}

}  // namespace
}  // namespace berth::controller_test
