// SPDX-License-Identifier: Apache-2.0
//
// Two grants that name one device, as after a restore of the controller's store.
#include "agent/grants/device_claims.h"

#include <gmock/gmock.h>

#include <cerrno>
#include <optional>
#include <utility>

#include "lib/base/status.h"
#include "lib/iommufd/uapi/vfio.h"
#include "tests/agent/grants/grants_fixture.h"
#include "tests/agent/grants/held_device.h"

namespace berth::testing {
namespace {

using ::testing::HasSubstr;

GrantDevice Named(const std::string& id) {
  GrantDevice device;
  device.id = DeviceId(id);
  return device;
}

TEST(DeviceClaimsTest, GivesAllOrNone) {
  DeviceClaims claims;
  const AssignmentUid a("a");
  const AssignmentUid b("b");
  const AssignmentUid c("c");
  const GrantDevice gpu0 = Named("gpu0");
  const GrantDevice gpu1 = Named("gpu1");
  const GrantDevice both[] = {gpu0, gpu1};
  ASSERT_TRUE(claims.Claim(a, {&gpu1, 1}).ok());
  const absl::Status refused = claims.Claim(b, both);
  EXPECT_EQ(ReasonOf(refused), Reason::kDeviceBusy);
  EXPECT_EQ(MetadataOf(refused)["device"], "gpu1");
  EXPECT_EQ(MetadataOf(refused)["holder"], "a");
  ASSERT_TRUE(claims.Claim(a, both).ok()) << "b has none";
  EXPECT_FALSE(claims.Claim(c, {&gpu0, 1}).ok());
  claims.Release(a);
  EXPECT_TRUE(claims.Claim(b, both).ok());
}

TEST(DeviceClaimsTest, TellsOthersOfWhatIsBound) {
  DeviceClaims claims;
  const AssignmentUid a("a");
  const GrantDevice gpu0 = Named("gpu0");
  ASSERT_TRUE(claims.Claim(a, {&gpu0, 1}).ok());
  EXPECT_FALSE(claims.BoundByOther(AssignmentUid("b"), gpu0.id));
  claims.NoteBound(a);
  EXPECT_TRUE(claims.BoundByOther(AssignmentUid("b"), gpu0.id));
  EXPECT_FALSE(claims.BoundByOther(a, gpu0.id));
  claims.Release(a);
  EXPECT_FALSE(claims.BoundByOther(AssignmentUid("b"), gpu0.id));
}

class SharedDeviceTest : public GrantsFixture {
 protected:
  SharedDeviceTest() { limits().busy_patience = absl::InfiniteDuration(); }
};

TEST_F(SharedDeviceTest, TheNextWaitsUntilADeviceIsProvedFree) {
  ASSERT_TRUE(manager().Upsert(Desired("old", {"gpu0"})).ok());
  Await("old", State::PREPARED);
  failing_.FailRequest(uapi::kVfioDeviceBindIommufd, EIO);
  agent::v1::DesiredGrant releasing = Desired("old", {"gpu0"});
  releasing.set_intent(State::RELEASING);
  ASSERT_TRUE(manager().Upsert(releasing).ok());
  AwaitCondition("old", "Pinned");
  ASSERT_TRUE(manager().Upsert(Desired("new", {"gpu0"})).ok());
  const v1::Condition waits = AwaitCondition("new", "Pinned").conditions(0);
  EXPECT_EQ(waits.reason(), "DEVICE_BUSY");
  EXPECT_THAT(waits.message(), HasSubstr("assignment uid old"));
  failing_.FailRequest(uapi::kVfioDeviceBindIommufd, 0);
  Await("old", State::GONE);
  Await("new", State::PREPARED);
}

TEST_F(SharedDeviceTest, WhatTheNextHasBoundIsHeldByNoVmmOfTheOneBefore) {
  std::optional<HeldDevice> vmm(std::in_place, &host_.kernel(), "vfio0");
  ASSERT_TRUE(manager().Upsert(Desired("new", {"gpu0"})).ok());
  AwaitCondition("new", "Pinned");
  agent::v1::DesiredGrant releasing = Desired("old", {"gpu0"});
  releasing.set_intent(State::RELEASING);
  ASSERT_TRUE(manager().Upsert(releasing).ok());
  AwaitCondition("old", "Pinned");
  EXPECT_EQ(States("old").back(), State::SCRUBBING);
  vmm.reset();
  Await("new", State::PREPARED);
  Await("old", State::GONE);
}

}  // namespace
}  // namespace berth::testing
