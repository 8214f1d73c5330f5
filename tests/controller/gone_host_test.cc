// SPDX-License-Identifier: Apache-2.0
//
// Hosts of which an operator has said that they are gone, and what they bring when they come back.
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/controller/controller_fixture.h"
#include "tests/testing/poll_until.h"

namespace berth::controller_test {
namespace {

using ::testing::HasSubstr;
using v1::Assignment;
using v1::Host;

class GoneHostTest : public ControllerTest {
 protected:
  GoneHostTest() : ControllerTest(Kind::kSqlite) {}

  absl::StatusOr<Host> SayGone() {
    v1::DeleteHostRequest request;
    request.set_name("hosts/h1");
    request.set_gone(true);
    return client().Call<Host>("HostService/DeleteHost", request);
  }
  // Cuts the agent off until its host is LOST and its stream noticed dead, and says that it is
  // gone.
  void LoseAndForget(std::unique_ptr<FakeAgent> agent) {
    agent.reset();
    clock.Advance(absl::Seconds(61));
    client().AwaitHostState("hosts/h1", Host::LOST);
    testing::PollUntil([&] { return SayGone().ok(); });
    testing::PollUntil(
        [&] { return ReasonOf(client().GetHost("hosts/h1").status()) == Reason::kNotFound; });
  }
  static agent::v1::GrantStatus Holding(const agent::v1::DesiredGrant& desired,
                                        Assignment::Observed observed) {
    agent::v1::GrantStatus status = StatusOf(desired, observed);
    *status.mutable_units() = desired.units();
    return status;
  }
};

TEST_F(GoneHostTest, WhatWasThereFailsOrEndsAndTheHostIsForgotten) {
  // More than one commit takes.
  constexpr int kMany = 40;
  auto agent = AddHost({.manner = FakeAgent::Manner::kSilent,
                        .inventory = MakeInventory({.devices_per_unit = kMany, .vintfs = kMany})});
  EXPECT_THAT(SayGone(), FailsWith(Reason::kStateConflict)) << "it is READY";
  for (int i = 0; i < kMany; ++i) {
    ASSERT_THAT(client().Create(CreateOf(absl::StrCat("vm", i))), IsOk());
  }
  agent->Report(
      StatusOf(agent->AwaitDesired("assignments/vm0", Assignment::PLACED), Assignment::ATTACHED));
  client().AwaitObserved("assignments/vm0", Assignment::ATTACHED);
  ASSERT_THAT(client().Delete("assignments/vm1"), IsOk());
  LoseAndForget(std::move(agent));
  EXPECT_THAT(client().Get("assignments/vm1"), FailsWith(Reason::kNotFound));
  for (const char* id : {"assignments/vm0", "assignments/vm39"}) {
    const auto failed = client().Get(id);
    ASSERT_THAT(failed, IsOk());
    EXPECT_EQ(failed->intent(), Assignment::FAILED);
    EXPECT_FALSE(failed->has_placement());
    EXPECT_EQ(failed->failure().reason(), "HOST_NOT_READY");
    EXPECT_THAT(failed->failure().message(), HasSubstr("hosts/h1"));
  }
  ASSERT_THAT(client().Delete("assignments/vm0"), IsOk());
  EXPECT_THAT(client().Get("assignments/vm0"), FailsWith(Reason::kNotFound));
}

TEST_F(GoneHostTest, OneThatComesBackKeepsWhatItHoldsChargedUntilItIsGone) {
  auto agent = AddHost({.manner = FakeAgent::Manner::kSilent});
  ASSERT_THAT(client().Create(CreateOf("attached")), IsOk());
  ASSERT_THAT(client().Create(CreateOf("prepared")), IsOk());
  const auto attached = agent->AwaitDesired("assignments/attached", Assignment::PLACED);
  const auto prepared = agent->AwaitDesired("assignments/prepared", Assignment::PLACED);
  LoseAndForget(std::move(agent));

  agent = AddHost({.incarnation = 2,
                   .grants = {Holding(attached, Assignment::ATTACHED),
                              Holding(prepared, Assignment::PREPARED)}});
  EXPECT_EQ(agent->welcome().desired_size(), 0) << "the agent is to drop what it can";
  const auto back = client().GetHost("hosts/h1");
  ASSERT_THAT(back, IsOk());
  EXPECT_EQ(back->state(), Host::READY);
  EXPECT_EQ(back->free_device_count(), 0);
  EXPECT_EQ(back->units(0).used_vintfs(), 2);
  ASSERT_EQ(back->conditions_size(), 1);
  EXPECT_EQ(back->conditions(0).type(), "GrantsClaimed");
  EXPECT_EQ(back->conditions(0).reason(), "UNKNOWN_ASSIGNMENT");
  EXPECT_THAT(back->conditions(0).message(),
              HasSubstr(absl::StrCat(attached.assignment_uid(), " (ATTACHED)")));
  EXPECT_THAT(client().Create(CreateOf("new")), FailsWith(Reason::kNoCapacity));

  // What nobody was attached to is dropped, and may be placed again.
  agent->Report(Holding(prepared, Assignment::GONE));
  agent->Report(Holding(attached, Assignment::ORPHANED));
  client().AwaitHost("hosts/h1", [](const Host& host) {
    return host.free_device_count() == 1 &&
           host.conditions(0).message().find("(ORPHANED)") != std::string::npos;
  });
  const auto fresh = client().Create(CreateOf("new"));
  ASSERT_THAT(fresh, IsOk());
  EXPECT_EQ(fresh->placement().units(0).devices(0).device(), prepared.units(0).devices(0).device());
  EXPECT_THAT(client().Create(CreateOf("another")), FailsWith(Reason::kNoCapacity));
  agent->Report(Holding(attached, Assignment::GONE));
  client().AwaitHost("hosts/h1", [](const Host& host) { return host.conditions_size() == 0; });
  EXPECT_THAT(client().Create(CreateOf("another")), IsOk());
}

TEST_F(GoneHostTest, WhatAnAgentDoesNotNameAnyMoreIsNotCharged) {
  auto agent = AddHost({.manner = FakeAgent::Manner::kSilent});
  ASSERT_THAT(client().Create(CreateOf("vm", 2)), IsOk());
  const auto desired = agent->AwaitDesired("assignments/vm", Assignment::PLACED);
  LoseAndForget(std::move(agent));
  agent = AddHost({.grants = {Holding(desired, Assignment::ORPHANED)}});
  EXPECT_EQ(client().GetHost("hosts/h1")->free_device_count(), 0);
  agent = AddHost({.incarnation = 2});
  EXPECT_EQ(client().GetHost("hosts/h1")->free_device_count(), 2);
  EXPECT_THAT(client().Create(CreateOf("new", 2)), IsOk());
}

}  // namespace
}  // namespace berth::controller_test
