// SPDX-License-Identifier: Apache-2.0
//
// What a host says of the health of its link and its hardware.
#include <string>

#include "ctl/controller/book/link_health.h"
#include "tests/controller/controller_fixture.h"

namespace berth::controller_test {
namespace {

using ::testing::HasSubstr;
using v1::Host;

class HostHealthTest : public ControllerTest {};

TEST_F(HostHealthTest, ALinkThatFlapsKeepsNewOnesAwayUntilItIsStable) {
  auto agent = AddHost();
  // Each takes the place of the one before.
  for (size_t i = 0; i < LinkHealth::kFlaps; ++i) {
    EXPECT_EQ(client().GetHost("hosts/h1")->taints_size(), 0);
    agent = AddHost();
  }
  const Host flaps =
      client().AwaitHost("hosts/h1", [](const Host& host) { return host.taints_size() > 0; });
  EXPECT_EQ(flaps.taints(0).key(), LinkHealth::kFlappingTaint);
  ASSERT_EQ(flaps.conditions_size(), 1);
  EXPECT_EQ(flaps.conditions(0).type(), "LinkHealthy");
  EXPECT_EQ(flaps.conditions(0).reason(), "FENCED");
  EXPECT_EQ(flaps.state(), Host::READY);
  EXPECT_THAT(client().Create(CreateOf("vm")), FailsWith(Reason::kNoCapacity));
  // To send back what was read does not make it last.
  v1::UpdateHostRequest request;
  *request.mutable_host() = flaps;
  request.mutable_update_mask()->add_paths("taints");
  ASSERT_THAT(client().Call<Host>("HostService/UpdateHost", request), IsOk());

  for (absl::Duration passed; passed < LinkHealth::kStable; passed += absl::Seconds(1)) {
    clock.Advance(absl::Seconds(1));
    agent->Heartbeat();
  }
  const Host stable = client().AwaitHost("hosts/h1", [&](const Host& host) {
    clock.Advance(absl::Milliseconds(100));
    return host.taints_size() == 0;
  });
  EXPECT_EQ(stable.conditions_size(), 0);
  EXPECT_THAT(client().Create(CreateOf("vm")), IsOk());
}

TEST_F(HostHealthTest, AnAgentThatIsRefusedSaysSoOnItsHost) {
  auto agent = AddHost();
  const auto refuse = [&](const std::string& uid) {
    return Connect(
               {.host_uid = uid, .edit_hello = [](auto* hello) { hello->set_protocol_version(9); }})
        ->AwaitWelcome();
  };
  EXPECT_THAT(refuse("uid-of-another"), FailsWith(Reason::kVersionSkew));
  EXPECT_EQ(client().GetHost("hosts/h1")->conditions_size(), 0) << "another machine's trouble";
  EXPECT_THAT(refuse("uid-of-h1"), FailsWith(Reason::kVersionSkew));
  const Host refused = *client().GetHost("hosts/h1");
  ASSERT_EQ(refused.conditions_size(), 1);
  EXPECT_EQ(refused.conditions(0).type(), "LinkHealthy");
  EXPECT_EQ(refused.conditions(0).reason(), "VERSION_SKEW");
  EXPECT_EQ(refused.taints_size(), 0);
  agent = AddHost();
  EXPECT_EQ(client().GetHost("hosts/h1")->conditions_size(), 0);
}

TEST_F(HostHealthTest, HardwareThatKeepsAssignmentsAwayIsSaidOfTheHost) {
  const auto agent = AddHost();
  auto inventory = MakeInventory();
  v1::Taint* taint = inventory.mutable_units(0)->add_taints();
  taint->set_key("berth/hardware-timeout");
  taint->set_effect(v1::Taint::NO_NEW);
  v1::Condition* condition = inventory.mutable_units(0)->add_conditions();
  condition->set_type("Responding");
  condition->set_reason("HARDWARE_TIMEOUT");
  condition->mutable_last_transition_time()->set_seconds(77);
  inventory.mutable_devices(0)->add_conditions()->set_type("FaultFree");
  agent->SendInventory(inventory);
  const Host tainted =
      client().AwaitHost("hosts/h1", [](const Host& host) { return host.conditions_size() > 0; });
  EXPECT_EQ(tainted.conditions(0).type(), "UnitsHealthy");
  EXPECT_EQ(tainted.conditions(0).reason(), "HARDWARE_TIMEOUT");
  EXPECT_EQ(tainted.conditions(0).last_transition_time().seconds(), 77);
  EXPECT_THAT(tainted.conditions(0).message(), HasSubstr("unit0: berth/hardware-timeout"));
  EXPECT_EQ(tainted.units(0).conditions(0).type(), "Responding");
  EXPECT_EQ(tainted.devices(0).conditions(0).type(), "FaultFree");
  EXPECT_EQ(tainted.state(), Host::READY) << "other units may serve";
  agent->SendInventory(MakeInventory());
  client().AwaitHost("hosts/h1", [](const Host& host) { return host.conditions_size() == 0; });
}

}  // namespace
}  // namespace berth::controller_test
