// SPDX-License-Identifier: Apache-2.0
//
// Assignments that wait for capacity, and those that a host could not prepare.
#include <string>

#include "tests/controller/controller_fixture.h"

namespace berth::controller_test {
namespace {

using ::testing::HasSubstr;
using v1::Assignment;

class PlacementTest : public ControllerTest {
 protected:
  static v1::CreateAssignmentRequest Queued(const std::string& id, int priority, int count = 1) {
    auto request = CreateOf(id, count);
    request.mutable_assignment()->mutable_spec()->set_when_unavailable(v1::AssignmentSpec::QUEUE);
    request.mutable_assignment()->mutable_spec()->set_priority(priority);
    return request;
  }
  static FakeAgent::Options Host(const std::string& id, FakeAgent::Manner manner, int devices = 1) {
    return {.host_id = id,
            .host_uid = "uid-of-" + id,
            .manner = manner,
            .inventory = MakeInventory({.devices_per_unit = devices})};
  }
};

TEST_F(PlacementTest, WhatWaitsIsPlacedWhenAHostComes) {
  const auto waiting = client().Create(Queued("vm", 0));
  ASSERT_THAT(waiting, IsOk());
  EXPECT_EQ(waiting->intent(), Assignment::PENDING);
  EXPECT_EQ(waiting->generation(), 0);
  EXPECT_FALSE(waiting->has_placement());
  EXPECT_EQ(waiting->failure().reason(), "NO_CAPACITY");
  const auto agent = AddHost(Host("h1", FakeAgent::Manner::kObliging));
  const Assignment prepared = client().AwaitObserved("assignments/vm", Assignment::PREPARED);
  EXPECT_EQ(prepared.intent(), Assignment::PLACED);
  EXPECT_EQ(prepared.generation(), 1);
  EXPECT_FALSE(prepared.has_failure());
}

TEST_F(PlacementTest, TheMostImportantIsFirstAndThenTheOldest) {
  const auto agent = AddHost(Host("h1", FakeAgent::Manner::kObliging));
  ASSERT_THAT(client().Create(CreateOf("now")), IsOk());
  ASSERT_THAT(client().Create(Queued("z-old", 0)), IsOk());
  clock.Advance(absl::Milliseconds(1));
  ASSERT_THAT(client().Create(Queued("a-young", 0)), IsOk());
  clock.Advance(absl::Milliseconds(1));
  ASSERT_THAT(client().Create(Queued("m-important", 5)), IsOk());
  std::string holder = "assignments/now";
  for (const char* next : {"assignments/m-important", "assignments/z-old", "assignments/a-young"}) {
    ASSERT_THAT(client().Delete(holder), IsOk());
    client().AwaitObserved(next, Assignment::PREPARED);
    for (const char* other : {"assignments/z-old", "assignments/a-young"}) {
      const auto seen = client().Get(other);
      if (seen.ok() && std::string(other) != next) {
        EXPECT_NE(seen->intent(), Assignment::PLACED) << other << " before " << next;
      }
    }
    holder = next;
  }
}

TEST_F(PlacementTest, WhatIsTooLargeDoesNotHoldUpTheRest) {
  ASSERT_THAT(client().Create(Queued("huge", 9, 5)), IsOk());
  ASSERT_THAT(client().Create(Queued("small", 0)), IsOk());
  const auto agent = AddHost(Host("h1", FakeAgent::Manner::kObliging));
  client().AwaitObserved("assignments/small", Assignment::PREPARED);
  EXPECT_EQ(client().Get("assignments/huge")->intent(), Assignment::PENDING);
}

TEST_F(PlacementTest, WhatWaitsCanBeDeletedAtOnce) {
  ASSERT_THAT(client().Create(Queued("vm", 0)), IsOk());
  ASSERT_THAT(client().Delete("assignments/vm"), IsOk());
  EXPECT_THAT(client().Get("assignments/vm"), FailsWith(Reason::kNotFound));
  const auto agent = AddHost(Host("h1", FakeAgent::Manner::kObliging));
  EXPECT_THAT(client().Create(CreateOf("other")), IsOk()) << "it holds nothing";
}

TEST_F(PlacementTest, AFailedPrepareGoesToAnotherHost) {
  const auto bad = AddHost(Host("bad", FakeAgent::Manner::kFailing));
  const auto created = client().Create(CreateOf("vm"));
  ASSERT_THAT(created, IsOk());
  ASSERT_EQ(created->placement().host(), "hosts/bad");
  const Assignment failed = client().AwaitIntent("assignments/vm", Assignment::FAILED);
  EXPECT_EQ(failed.failure().attempts(), 1);
  EXPECT_FALSE(failed.has_placement()) << "it holds nothing any more";
  ASSERT_THAT(client().Delete("assignments/vm"), IsOk());

  ASSERT_THAT(client().Create(Queued("vm2", 0)), IsOk());
  const Assignment pending = client().AwaitIntent("assignments/vm2", Assignment::PENDING);
  EXPECT_THAT(pending.failure().message(), HasSubstr("hosts/bad: no vIOMMU on bad"));
  const auto good = AddHost(Host("good", FakeAgent::Manner::kObliging));
  const Assignment prepared = client().AwaitObserved("assignments/vm2", Assignment::PREPARED);
  EXPECT_EQ(prepared.placement().host(), "hosts/good");
  EXPECT_EQ(prepared.generation(), 2);
  bad->AwaitForgotten(prepared.uid());
  EXPECT_THAT(client().Create(CreateOf("vm3")), IsOk()) << "the first host's device is free";
}

TEST_F(PlacementTest, ThreeHostsAreTriedAndTheReasonsOfAllAreKept) {
  const auto a = AddHost(Host("bad1", FakeAgent::Manner::kFailing));
  const auto b = AddHost(Host("bad2", FakeAgent::Manner::kFailing));
  const auto c = AddHost(Host("bad3", FakeAgent::Manner::kFailing));
  ASSERT_THAT(client().Create(Queued("vm", 0)), IsOk());
  const Assignment failed = client().AwaitIntent("assignments/vm", Assignment::FAILED);
  EXPECT_EQ(failed.failure().attempts(), 3);
  EXPECT_EQ(failed.failure().reason(), "KERNEL_REFUSED");
  EXPECT_EQ(failed.generation(), 3);
  for (const char* host : {"bad1", "bad2", "bad3"}) {
    EXPECT_THAT(failed.failure().message(), HasSubstr(std::string("no vIOMMU on ") + host));
  }
  EXPECT_EQ(client().GetHost("hosts/bad1")->free_device_count(), 1);
  EXPECT_EQ(client().GetHost("hosts/bad3")->free_device_count(), 1);
  ASSERT_THAT(client().Delete("assignments/vm"), IsOk());
  EXPECT_THAT(client().Get("assignments/vm"), FailsWith(Reason::kNotFound));
}

TEST_F(PlacementTest, AReportOfAnOlderGenerationIsNotTakenForTheNewOne) {
  const auto slow = AddHost(Host("a", FakeAgent::Manner::kSilent));
  ASSERT_THAT(client().Create(CreateOf("vm")), IsOk());
  const auto first = slow->AwaitDesired("assignments/vm", Assignment::PLACED);
  const auto good = AddHost(Host("b", FakeAgent::Manner::kSilent));
  auto failed = StatusOf(first, Assignment::GONE);
  failed.mutable_failure();
  slow->Report(failed);
  const auto second = good->AwaitDesired("assignments/vm", Assignment::PLACED);
  EXPECT_EQ(second.generation(), 2);
  slow->Report(StatusOf(first, Assignment::ATTACHED));
  slow->Heartbeat();
  EXPECT_EQ(client().Get("assignments/vm")->observed(), Assignment::OBSERVED_UNSPECIFIED);
  good->Report(StatusOf(second, Assignment::PREPARED));
  client().AwaitObserved("assignments/vm", Assignment::PREPARED);
}

TEST_F(PlacementTest, AFailureIsTheEndOfItsOwnGenerationOnly) {
  const auto bad = AddHost(Host("a", FakeAgent::Manner::kSilent));
  ASSERT_THAT(client().Create(CreateOf("vm")), IsOk());
  const auto first = bad->AwaitDesired("assignments/vm", Assignment::PLACED);
  const auto good = AddHost(Host("b", FakeAgent::Manner::kSilent));
  auto failed = StatusOf(first, Assignment::GONE);
  failed.mutable_failure();
  bad->Report(failed);
  const auto second = good->AwaitDesired("assignments/vm", Assignment::PLACED);
  // Before its new host has said a word, everything is looked through, and there would be room.
  const auto spare = AddHost(Host("c", FakeAgent::Manner::kSilent));
  spare->Heartbeat();
  const auto now = client().Get("assignments/vm");
  ASSERT_THAT(now, IsOk());
  EXPECT_EQ(now->generation(), 2);
  EXPECT_EQ(now->placement().host(), "hosts/b");
  EXPECT_FALSE(spare->HasHeardOf("assignments/vm"));
  // Nor is it gone when it is deleted now.
  ASSERT_THAT(client().Delete("assignments/vm"), IsOk());
  const auto release = good->AwaitDesired("assignments/vm", Assignment::RELEASING);
  const auto another = AddHost(Host("d", FakeAgent::Manner::kSilent));
  another->Heartbeat();
  EXPECT_THAT(client().Get("assignments/vm"), IsOk());
  good->Report(StatusOf(release, Assignment::GONE));
  good->AwaitForgotten(release.assignment_uid());
}

TEST_F(PlacementTest, WhatIsGoneWithoutAFailureComesAgainOnItsHost) {
  const auto agent = AddHost(Host("a", FakeAgent::Manner::kSilent));
  const auto other = AddHost(Host("b", FakeAgent::Manner::kObliging));
  const auto created = client().Create(CreateOf("vm"));
  ASSERT_THAT(created, IsOk());
  FakeAgent& host = created->placement().host() == "hosts/a" ? *agent : *other;
  const auto desired = host.AwaitDesired("assignments/vm", Assignment::PLACED);
  host.Report(StatusOf(desired, Assignment::GONE));
  client().AwaitObserved("assignments/vm", Assignment::GONE);
  host.Report(StatusOf(desired, Assignment::PREPARED));
  const Assignment prepared = client().AwaitObserved("assignments/vm", Assignment::PREPARED);
  EXPECT_EQ(prepared.generation(), 1);
  EXPECT_EQ(prepared.placement().host(), created->placement().host());
}

TEST_F(PlacementTest, AStateThatCannotFollowIsRefused) {
  const auto agent = AddHost(Host("h1", FakeAgent::Manner::kSilent));
  ASSERT_THAT(client().Create(CreateOf("vm")), IsOk());
  const auto desired = agent->AwaitDesired("assignments/vm", Assignment::PLACED);
  agent->Report(StatusOf(desired, Assignment::ATTACHED));
  client().AwaitObserved("assignments/vm", Assignment::ATTACHED);
  agent->Report(StatusOf(desired, static_cast<Assignment::Observed>(77)));
  agent->Report(StatusOf(desired, Assignment::OBSERVED_UNSPECIFIED));
  agent->Heartbeat();
  EXPECT_EQ(client().Get("assignments/vm")->observed(), Assignment::ATTACHED);
}

TEST_F(PlacementTest, AnEndThatComesWhileTheDeleteIsWrittenIsNotLost) {
  const auto agent = AddHost(Host("h1", FakeAgent::Manner::kFailing));
  for (int i = 0; i < 20; ++i) {
    ASSERT_THAT(client().Create(CreateOf("vm")), IsOk());
    const auto deleted = client().Delete("assignments/vm");
    if (!deleted.ok()) {
      // It had failed, and was deleted as such.
      EXPECT_THAT(deleted, FailsWith(Reason::kNotFound));
    }
    client().AwaitGone("assignments/vm");
  }
}

TEST_F(PlacementTest, AfterARestartWaitingAndFailedOnesAreWhatTheyWere) {
  ControllerTest::Stop();
  config.mutable_store()->mutable_sqlite()->set_path(folder + "/book.db");
  Start();
  auto bad = AddHost(Host("bad", FakeAgent::Manner::kFailing));
  ASSERT_THAT(client().Create(CreateOf("failed")), IsOk());
  client().AwaitIntent("assignments/failed", Assignment::FAILED);
  ASSERT_THAT(client().Create(Queued("waiting", 0, 2)), IsOk());
  bad.reset();
  Restart();
  const auto good = AddHost(Host("good", FakeAgent::Manner::kObliging, 2));
  client().AwaitObserved("assignments/waiting", Assignment::PREPARED);
  EXPECT_EQ(client().Get("assignments/failed")->intent(), Assignment::FAILED);
  bad = AddHost(Host("bad", FakeAgent::Manner::kObliging));
  EXPECT_EQ(client().Create(CreateOf("vm"))->placement().host(), "hosts/bad")
      << "what failed charges nothing";
}

}  // namespace
}  // namespace berth::controller_test
