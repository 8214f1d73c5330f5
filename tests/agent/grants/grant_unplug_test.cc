// SPDX-License-Identifier: Apache-2.0
//
// Devices that are pulled out of a grant.
#include <gmock/gmock.h>

#include <cerrno>
#include <utility>

#include "absl/synchronization/notification.h"
#include "agent/grants/grant.h"
#include "agent/grants/grant_manager.h"
#include "lib/iommufd/uapi/vfio.h"
#include "lib/wire/event_channel.h"
#include "tests/agent/grants/grants_fixture.h"

namespace berth::testing {
namespace {

using ::testing::HasSubstr;

class UnpluggedDeviceTest : public GrantsFixture {};

TEST_F(UnpluggedDeviceTest, GivesUpADeviceThatIsPulledOut) {
  ASSERT_TRUE(manager().Upsert(Desired("a", {"gpu0", "gpu1"})).ok());
  ASSERT_TRUE(manager().Upsert(Desired("b", {"gpu2"})).ok());
  Await("a", State::PREPARED);
  Await("b", State::PREPARED);
  host_.Unplug("gpu0");
  // As of one that is not there any more.
  failing_.FailRequest(uapi::kVfioDeviceReset, EIO);
  manager().DevicesChanged();
  EXPECT_THAT(AwaitCondition("a", "Pinned").conditions(0).message(), HasSubstr("EIO"))
      << "the other one has to be reset";
  failing_.FailRequest(uapi::kVfioDeviceReset, 0);
  const agent::v1::GrantStatus gone =
      Await("a", [](const agent::v1::GrantStatus& status) { return status.has_failure(); });
  EXPECT_EQ(gone.observed(), State::GONE);
  EXPECT_EQ(gone.failure().reason(), "DEVICE_GONE");
  EXPECT_EQ(gone.failure().metadata().at("device"), "gpu0");
  EXPECT_EQ(host_.Snapshot().bound_devices, 1) << "b is well";
  EXPECT_EQ(States("b").back(), State::PREPARED);
}

TEST_F(UnpluggedDeviceTest, ResetsNoDeviceThatIsPulledOut) {
  ASSERT_TRUE(manager().Upsert(Desired("a", {"gpu0"})).ok());
  Await("a", State::PREPARED);
  host_.Unplug("gpu0");
  failing_.FailRequest(uapi::kVfioDeviceReset, EIO);
  manager().DevicesChanged();
  Await("a", [](const agent::v1::GrantStatus& status) { return status.has_failure(); });
  ExpectNothingLeft();
}

TEST_F(UnpluggedDeviceTest, SaysThatADeviceOfAnAttachedVmmIsPulledOut) {
  ASSERT_TRUE(manager().Upsert(Desired("a", {"gpu0"})).ok());
  Await("a", State::PREPARED);
  absl::StatusOr<wire::EventChannel::Pair> channel = wire::EventChannel::Create();
  ASSERT_TRUE(channel.ok()) << channel.status();
  absl::Notification done;
  uint64_t session = 0;
  manager().Find(AssignmentUid("a"))->Tell([&](Grant& grant) {
    const auto attached = grant.Attach({.token = kToken, .vmm = {.pid = 1}}, {},
                                       std::move(channel->agent), Grant::EndListener());
    EXPECT_TRUE(attached.ok()) << attached.status();
    session = attached.value_or(0);
    done.Notify();
  });
  done.WaitForNotification();
  Await("a", State::ATTACHED);
  host_.Unplug("gpu0");
  manager().DevicesChanged();
  const agent::v1::GrantStatus told = AwaitCondition("a", "DevicesPresent");
  EXPECT_EQ(told.observed(), State::ATTACHED);
  EXPECT_FALSE(told.conditions(0).status());
  EXPECT_EQ(told.conditions(0).reason(), "DEVICE_GONE");
  EXPECT_THAT(told.conditions(0).message(), HasSubstr("gpu0"));
  failing_.FailRequest(uapi::kVfioDeviceReset, EIO);
  manager().Find(AssignmentUid("a"))->Tell([&](Grant& grant) { grant.VmmLeft(session); });
  const agent::v1::GrantStatus gone =
      Await("a", [](const agent::v1::GrantStatus& status) { return status.has_failure(); });
  EXPECT_EQ(gone.failure().reason(), "DEVICE_GONE");
  ExpectNothingLeft();
}

}  // namespace
}  // namespace berth::testing
