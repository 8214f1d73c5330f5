// SPDX-License-Identifier: Apache-2.0
#include "agent/grants/idle_devices.h"

#include <gmock/gmock.h>

#include <optional>
#include <string>
#include <vector>

#include "lib/base/status.h"
#include "tests/agent/grants/grants_fixture.h"
#include "tests/agent/grants/held_device.h"

namespace berth::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class IdleDevicesTest : public GrantsFixture {
 protected:
  // Names of those that somebody holds.
  std::vector<std::string> Held() {
    std::vector<std::string> names;
    for (const auto& [device, status] :
         manager().TryIdleDevices({DeviceId("gpu0"), DeviceId("gpu1"), DeviceId("nowhere")})) {
      EXPECT_EQ(ReasonOf(status), Reason::kDeviceBusy) << status;
      names.push_back(device.str());
    }
    return names;
  }
};

TEST_F(IdleDevicesTest, NamesWhatAStrangerHoldsAndLetsGoOfTheRest) {
  EXPECT_THAT(Held(), IsEmpty());
  std::optional<HeldDevice> stranger(std::in_place, &host_.kernel(), "vfio1");
  EXPECT_THAT(Held(), ElementsAre("gpu1"));
  stranger.reset();
  EXPECT_THAT(Held(), IsEmpty());
  ASSERT_TRUE(manager().Upsert(Desired("vm", {"gpu0", "gpu1"})).ok());
  Await("vm", State::PREPARED);
}

TEST_F(IdleDevicesTest, LeavesAloneWhatAGrantHas) {
  ASSERT_TRUE(manager().Upsert(Desired("vm", {"gpu0"})).ok());
  Await("vm", State::PREPARED);
  EXPECT_THAT(Held(), IsEmpty());
  EXPECT_EQ(manager().Statuses().at(0).observed(), State::PREPARED);
}

}  // namespace
}  // namespace berth::testing
