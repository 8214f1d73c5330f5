// SPDX-License-Identifier: Apache-2.0
//
// What goes back by itself: leases that are not renewed, grants that nobody attaches to, what may
// be evicted from hosts that are drained or tainted.
#include <functional>
#include <optional>
#include <string>

#include "ctl/controller/book/due_table.h"
#include "lib/config/timestamp.h"
#include "tests/controller/controller_fixture.h"
#include "tests/testing/poll_until.h"

namespace berth::controller_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using v1::Assignment;
using v1::Host;

TEST(DueTable, TheEarlierTimeCountsAndWhoIsTakenIsGone) {
  const absl::Time start = absl::FromUnixSeconds(0);
  DueTable due;
  due.Add("a", start + absl::Seconds(5));
  due.Add("b", start + absl::Seconds(3));
  due.Add("b", start + absl::Seconds(9));
  due.Add("c", start + absl::Seconds(9));
  due.Add("c", start + absl::Seconds(4));
  due.Add("never", absl::InfiniteFuture());
  EXPECT_THAT(due.Take(start + absl::Seconds(2), 10), ElementsAre());
  EXPECT_THAT(due.Take(start + absl::Seconds(5), 2), ElementsAre("b", "c"));
  EXPECT_THAT(due.Take(start + absl::Seconds(5), 2), ElementsAre("a"));
  EXPECT_THAT(due.Take(start + absl::Hours(1), 10), ElementsAre());
}

class DeadlineTest : public ControllerTest {
 protected:
  DeadlineTest() : ControllerTest(Kind::kSqlite) {}

  static v1::CreateAssignmentRequest Leased(const std::string& id, int64_t seconds) {
    auto request = CreateOf(id);
    request.mutable_assignment()->mutable_spec()->mutable_lease_duration()->set_seconds(seconds);
    return request;
  }

  absl::StatusOr<Assignment> Renew(const std::string& name, const std::string& request_id = "") {
    v1::RenewAssignmentRequest request;
    request.set_name(name);
    request.set_request_id(request_id);
    return client().Call<Assignment>("AssignmentService/RenewAssignment", request);
  }

  absl::StatusOr<Host> Drain(std::optional<int64_t> seconds) {
    v1::DrainHostRequest request;
    request.set_name("hosts/h1");
    if (seconds.has_value()) request.mutable_deadline()->set_seconds(*seconds);
    return client().Call<Host>("HostService/DrainHost", request);
  }

  // Lets time pass, a second at a time, in which the agent (if any) is heard.
  void Pass(absl::Duration time, FakeAgent* agent) {
    for (; time > absl::ZeroDuration(); time -= absl::Seconds(1)) {
      clock.Advance(absl::Seconds(1));
      if (agent != nullptr) agent->Heartbeat();
    }
  }
  void PassUntil(FakeAgent* agent, const std::function<bool()>& is) {
    while (!is() && !HasFailure()) Pass(absl::Seconds(1), agent);
  }
  bool IsGone(const std::string& name) {
    return ReasonOf(client().Get(name).status()) == Reason::kNotFound;
  }
  // The first that a watch tells of the release.
  static Assignment NextReleasing(AssignmentWatch* watch) {
    for (;;) {
      const auto message = watch->Next();
      if (!message.ok()) {
        ADD_FAILURE() << message.status();
        return {};
      }
      for (const v1::AssignmentEvent& event : message->events()) {
        if (event.assignment().intent() == Assignment::RELEASING) return event.assignment();
      }
    }
  }
};

TEST_F(DeadlineTest, ALeaseThatIsNotRenewedGoesBackAndSaysWhy) {
  const auto agent = AddHost();
  const auto created = client().Create(Leased("vm", 30));
  ASSERT_THAT(created, IsOk());
  EXPECT_EQ(FromTimestamp(created->expire_time()), clock.Now() + absl::Seconds(30));
  const auto watch = client().Watch({});
  Pass(absl::Seconds(29), agent.get());
  EXPECT_EQ(client().Get("assignments/vm")->intent(), Assignment::PLACED);
  const auto renewed = Renew("assignments/vm");
  ASSERT_THAT(renewed, IsOk());
  const absl::Time end = clock.Now() + absl::Seconds(30);
  EXPECT_EQ(FromTimestamp(renewed->expire_time()), end);
  EXPECT_EQ(renewed->etag(), client().Get("assignments/vm")->etag());
  EXPECT_EQ(renewed->attach_token(), "");
  Pass(absl::Seconds(29), agent.get());
  EXPECT_EQ(client().Get("assignments/vm")->intent(), Assignment::PLACED);
  PassUntil(agent.get(), [&] { return IsGone("assignments/vm"); });
  EXPECT_GE(clock.Now(), end);
  const Assignment released = NextReleasing(watch.get());
  EXPECT_EQ(released.failure().reason(), "DEADLINE_EXCEEDED");
  EXPECT_EQ(released.failure().metadata().at("deadline"), "lease");
  EXPECT_THAT(released.failure().message(), HasSubstr("not renewed for 30s"));
  EXPECT_FALSE(released.has_expire_time());
  EXPECT_EQ(client().GetHost("hosts/h1")->free_device_count(), 2);
}

TEST_F(DeadlineTest, ARenewalIsOfALeaseThatRunsAndHappensOncePerRequestId) {
  const auto agent = AddHost({.manner = FakeAgent::Manner::kSilent});
  EXPECT_THAT(Renew("assignments/none"), FailsWith(Reason::kNotFound));
  ASSERT_THAT(client().Create(CreateOf("for-ever")), IsOk());
  EXPECT_THAT(Renew("assignments/for-ever"), FailsWith(Reason::kStateConflict));
  ASSERT_THAT(client().Create(Leased("vm", 30)), IsOk());
  const auto first = Renew("assignments/vm", "r1");
  clock.Advance(absl::Seconds(5));
  const auto again = Renew("assignments/vm", "r1");
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->SerializeAsString(), first->SerializeAsString());
  EXPECT_GT(FromTimestamp(Renew("assignments/vm", "r2")->expire_time()),
            FromTimestamp(first->expire_time()));
  ASSERT_THAT(client().Delete("assignments/vm"), IsOk());
  const auto late = Renew("assignments/vm");
  EXPECT_THAT(late, FailsWith(Reason::kStateConflict));
  EXPECT_THAT(std::string(late.status().message()), HasSubstr("too late"));
}

TEST_F(DeadlineTest, ALeaseEndsWhateverBecameOfTheAssignment) {
  auto waits = Leased("waits", 10);
  waits.mutable_assignment()->mutable_spec()->set_when_unavailable(v1::AssignmentSpec::QUEUE);
  waits.mutable_assignment()->mutable_spec()->mutable_device_requests(0)->set_class_("nic");
  ASSERT_THAT(client().Create(waits), IsOk());
  const auto agent = AddHost({.manner = FakeAgent::Manner::kFailing});
  ASSERT_THAT(client().Create(Leased("fails", 10)), IsOk());
  client().AwaitIntent("assignments/fails", Assignment::FAILED);
  PassUntil(agent.get(), [&] { return IsGone("assignments/waits"); });
  PassUntil(agent.get(), [&] { return IsGone("assignments/fails"); });
}

TEST_F(DeadlineTest, AGangThatWaitsEndsWithTheFirstLeaseOfAMember) {
  v1::BatchCreateAssignmentsRequest gang;
  for (const char* id : {"leased", "other"}) {
    *gang.add_requests() = CreateOf(id, 1, "nic");
    gang.mutable_requests()->rbegin()->mutable_assignment()->mutable_spec()->set_when_unavailable(
        v1::AssignmentSpec::QUEUE);
  }
  auto* spec = gang.mutable_requests(0)->mutable_assignment()->mutable_spec();
  spec->mutable_lease_duration()->set_seconds(10);
  ASSERT_THAT(client().Call<v1::BatchCreateAssignmentsResponse>(
                  "AssignmentService/BatchCreateAssignments", gang),
              IsOk());
  const auto agent = AddHost();
  PassUntil(agent.get(), [&] { return IsGone("assignments/leased"); });
  EXPECT_TRUE(IsGone("assignments/other"));
}

TEST_F(DeadlineTest, TheNextControllerGrantsLeasesAfresh) {
  auto agent = AddHost();
  ASSERT_THAT(client().Create(Leased("vm", 30)), IsOk());
  agent.reset();
  Stop();
  clock.Advance(absl::Hours(1));
  Start();
  const absl::Time end = clock.Now() + absl::Seconds(30);
  EXPECT_EQ(FromTimestamp(client().Get("assignments/vm")->expire_time()), end);
  agent = AddHost();
  Pass(absl::Seconds(29), agent.get());
  EXPECT_EQ(client().Get("assignments/vm")->intent(), Assignment::PLACED);
  PassUntil(agent.get(), [&] { return IsGone("assignments/vm"); });
  EXPECT_GE(clock.Now(), end);
}

TEST_F(DeadlineTest, AControllerThatWasStoppedForAWhileGrantsThemAfreshToo) {
  const auto agent = AddHost();
  ASSERT_THAT(client().Create(Leased("vm", 30)), IsOk());
  clock.Advance(absl::Hours(1));
  const absl::Time end = clock.Now() + absl::Seconds(30);
  absl::StatusOr<Assignment> vm;
  testing::PollUntil([&] {
    vm = client().Get("assignments/vm");
    return !vm.ok() || vm->intent() != Assignment::PLACED ||
           FromTimestamp(vm->expire_time()) >= end;
  });
  ASSERT_THAT(vm, IsOk());
  EXPECT_EQ(vm->intent(), Assignment::PLACED);
  PassUntil(agent.get(), [&] { return IsGone("assignments/vm"); });
}

TEST_F(DeadlineTest, WhatNobodyAttachesToGoesBackAlsoAfterAVmmHasLeft) {
  const auto agent = AddHost();
  auto request = CreateOf("vm");
  request.mutable_assignment()->mutable_spec()->mutable_attach_timeout()->set_seconds(20);
  ASSERT_THAT(client().Create(request), IsOk());
  const auto watch = client().Watch({});
  const Assignment prepared = client().AwaitObserved("assignments/vm", Assignment::PREPARED);
  EXPECT_EQ(FromTimestamp(prepared.attach_expire_time()), clock.Now() + absl::Seconds(20));
  const auto desired = agent->AwaitDesired("assignments/vm", Assignment::PLACED);
  agent->Report(StatusOf(desired, Assignment::ATTACHED));
  EXPECT_FALSE(
      client().AwaitObserved("assignments/vm", Assignment::ATTACHED).has_attach_expire_time());
  Pass(absl::Seconds(60), agent.get());
  EXPECT_EQ(client().Get("assignments/vm")->intent(), Assignment::PLACED) << "it is attached";
  agent->Report(StatusOf(desired, Assignment::RECYCLING));
  agent->Report(StatusOf(desired, Assignment::PREPARED));
  client().AwaitObserved("assignments/vm", Assignment::PREPARED);
  const absl::Time end = clock.Now() + absl::Seconds(20);
  PassUntil(agent.get(), [&] { return IsGone("assignments/vm"); });
  EXPECT_GE(clock.Now(), end);
  const Assignment released = NextReleasing(watch.get());
  EXPECT_EQ(released.failure().reason(), "DEADLINE_EXCEEDED");
  EXPECT_THAT(released.failure().message(), HasSubstr("no VMM has attached for 20s"));
}

TEST_F(DeadlineTest, NobodyIsTooLateToAttachOnAHostThatIsNotHeard) {
  const auto agent = AddHost();
  auto request = CreateOf("vm");
  request.mutable_assignment()->mutable_spec()->mutable_attach_timeout()->set_seconds(20);
  ASSERT_THAT(client().Create(request), IsOk());
  client().AwaitObserved("assignments/vm", Assignment::PREPARED);
  PassUntil(nullptr, [&] { return client().GetHost("hosts/h1")->state() == Host::LOST; });
  Pass(absl::Seconds(30), nullptr);
  EXPECT_EQ(client().Get("assignments/vm")->intent(), Assignment::PLACED);
  agent->Heartbeat();
  client().AwaitHostState("hosts/h1", Host::READY);
  EXPECT_GE(FromTimestamp(client().Get("assignments/vm")->attach_expire_time()),
            clock.Now() + absl::Seconds(20));
  PassUntil(agent.get(), [&] { return IsGone("assignments/vm"); });
}

TEST_F(DeadlineTest, ADrainReleasesAtItsDeadlineWhatIsEvictableAndTellsHowFarItIs) {
  auto agent = AddHost();
  auto evictable = CreateOf("evictable");
  evictable.mutable_assignment()->mutable_spec()->set_evictable(true);
  ASSERT_THAT(client().Create(evictable), IsOk());
  ASSERT_THAT(client().Create(CreateOf("stays")), IsOk());
  EXPECT_THAT(Drain(-1), FailsWith(Reason::kInvalidField));
  EXPECT_THAT(Drain(367L * 24 * 3600), FailsWith(Reason::kInvalidField));
  const auto drained = Drain(60);
  ASSERT_THAT(drained, IsOk());
  const absl::Time deadline = clock.Now() + absl::Seconds(60);
  EXPECT_EQ(FromTimestamp(drained->drain().start_time()), clock.Now());
  EXPECT_EQ(FromTimestamp(drained->drain().deadline()), deadline);
  EXPECT_EQ(drained->drain().assignments_left(), 2);
  EXPECT_EQ(drained->drain().assignments_leaving(), 1);
  const auto asked = client().Get("assignments/evictable");
  EXPECT_TRUE(asked->eviction_requested());
  EXPECT_EQ(FromTimestamp(asked->evict_time()), deadline);
  const auto kept = client().Get("assignments/stays");
  EXPECT_TRUE(kept->eviction_requested());
  EXPECT_FALSE(kept->has_evict_time());
  ASSERT_EQ(kept->conditions_size(), 1);
  EXPECT_EQ(kept->conditions(0).type(), "EvictionRequested");
  EXPECT_THAT(kept->conditions(0).message(), HasSubstr("not evictable"));

  // The deadline is the operator's: it stays what it was.
  agent.reset();
  Restart();
  agent = AddHost();
  EXPECT_EQ(FromTimestamp(client().GetHost("hosts/h1")->drain().deadline()), deadline);
  const auto watch = client().Watch({});
  PassUntil(agent.get(), [&] { return IsGone("assignments/evictable"); });
  EXPECT_GE(clock.Now(), deadline);
  const Assignment released = NextReleasing(watch.get());
  EXPECT_EQ(released.failure().reason(), "HOST_NOT_READY");
  EXPECT_THAT(released.failure().message(), HasSubstr("hosts/h1 is being drained since"));
  EXPECT_EQ(client().Get("assignments/stays")->intent(), Assignment::PLACED);
  EXPECT_EQ(client().GetHost("hosts/h1")->drain().assignments_left(), 1);
  ASSERT_THAT(client().Delete("assignments/stays"), IsOk());
  client().AwaitHost("hosts/h1",
                     [](const Host& host) { return host.drain().assignments_left() == 0; });
  v1::UncordonHostRequest uncordon;
  uncordon.set_name("hosts/h1");
  EXPECT_FALSE(client().Call<Host>("HostService/UncordonHost", uncordon)->has_drain());
}

TEST_F(DeadlineTest, ATaintThatEvictsAsksThoseThatDoNotTolerateItAndReleasesTheEvictable) {
  const auto agent = AddHost({.inventory = MakeInventory({.devices_per_unit = 3})});
  const auto create = [&](const std::string& id, bool evictable, bool tolerates) {
    auto request = CreateOf(id);
    v1::AssignmentSpec* spec = request.mutable_assignment()->mutable_spec();
    spec->set_evictable(evictable);
    if (tolerates) spec->add_tolerations()->set_key("failing");
    ASSERT_THAT(client().Create(request), IsOk());
  };
  create("tolerates", true, true);
  create("stays", false, false);
  create("goes", true, false);
  v1::UpdateHostRequest update;
  update.mutable_host()->set_name("hosts/h1");
  update.mutable_update_mask()->add_paths("taints");
  v1::Taint* taint = update.mutable_host()->add_taints();
  taint->set_key("failing");
  taint->set_effect(v1::Taint::NO_NEW);
  ASSERT_THAT(client().Call<Host>("HostService/UpdateHost", update), IsOk());
  EXPECT_FALSE(client().Get("assignments/goes")->eviction_requested());
  taint->set_effect(v1::Taint::EVICT);
  const auto watch = client().Watch({});
  ASSERT_THAT(client().Call<Host>("HostService/UpdateHost", update), IsOk());
  const auto asked = client().Get("assignments/stays");
  EXPECT_TRUE(asked->eviction_requested());
  EXPECT_THAT(asked->conditions(0).message(), HasSubstr("the taint failing:EVICT"));
  PassUntil(agent.get(), [&] { return IsGone("assignments/goes"); });
  EXPECT_EQ(NextReleasing(watch.get()).name(), "assignments/goes");
  EXPECT_EQ(client().Get("assignments/stays")->intent(), Assignment::PLACED);
  EXPECT_FALSE(client().Get("assignments/tolerates")->eviction_requested());
  EXPECT_EQ(client().Get("assignments/tolerates")->intent(), Assignment::PLACED);
  update.mutable_host()->clear_taints();
  ASSERT_THAT(client().Call<Host>("HostService/UpdateHost", update), IsOk());
  EXPECT_FALSE(client().Get("assignments/stays")->eviction_requested());
}

TEST_F(DeadlineTest, ATaintOfAUnitEvictsThoseThatAreBehindIt) {
  auto inventory = MakeInventory({.units = 2, .devices_per_unit = 1});
  const auto agent = AddHost({.inventory = inventory});
  ASSERT_THAT(client().Create(CreateOf("a")), IsOk());
  ASSERT_THAT(client().Create(CreateOf("b")), IsOk());
  const std::string unit = client().Get("assignments/a")->placement().units(0).unit();
  v1::Unit* tainted = inventory.mutable_units(unit == "unit0" ? 0 : 1);
  v1::Taint* taint = tainted->add_taints();
  taint->set_key("stuck");
  taint->set_effect(v1::Taint::EVICT);
  agent->SendInventory(inventory);
  client().Await("assignments/a", [](const Assignment& a) { return a.eviction_requested(); });
  EXPECT_FALSE(client().Get("assignments/b")->eviction_requested());
}

}  // namespace
}  // namespace berth::controller_test
