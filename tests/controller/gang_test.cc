// SPDX-License-Identifier: Apache-2.0
//
// Gangs and anti-affinity through the API: all members in one commit, where their constraints say.
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "berth/v1/quota_service.pb.h"
#include "tests/controller/controller_fixture.h"

namespace berth::controller_test {
namespace {

using testing::HasSubstr;
using v1::Assignment;

class GangTest : public ControllerTest {
 protected:
  absl::StatusOr<v1::BatchCreateAssignmentsResponse> Batch(
      const v1::BatchCreateAssignmentsRequest& request) {
    return client().Call<v1::BatchCreateAssignmentsResponse>(
        "AssignmentService/BatchCreateAssignments", request);
  }
  static v1::BatchCreateAssignmentsRequest Gang(int members, int devices = 1) {
    v1::BatchCreateAssignmentsRequest request;
    for (int i = 0; i < members; ++i) {
      *request.add_requests() = CreateOf(absl::StrCat("m", i), devices);
    }
    return request;
  }
  // One that waits; its members are named `name` and their place.
  static v1::BatchCreateAssignmentsRequest Waiting(int members, const std::string& name,
                                                   int priority = 0) {
    v1::BatchCreateAssignmentsRequest request;
    for (int i = 0; i < members; ++i) {
      *request.add_requests() = CreateOf(absl::StrCat(name, i));
      auto* spec = request.mutable_requests(i)->mutable_assignment()->mutable_spec();
      spec->set_when_unavailable(v1::AssignmentSpec::QUEUE);
      spec->set_priority(priority);
    }
    return request;
  }
  std::unique_ptr<FakeAgent> Host(const std::string& id, int devices, const std::string& rack = "",
                                  FakeAgent::Manner manner = FakeAgent::Manner::kObliging) {
    auto inventory = MakeInventory({.devices_per_unit = devices});
    if (!rack.empty()) (*inventory.mutable_labels())["rack"] = rack;
    return AddHost(
        {.host_id = id, .host_uid = "uid-of-" + id, .manner = manner, .inventory = inventory});
  }
  static std::set<std::string> HostsOf(const v1::BatchCreateAssignmentsResponse& response) {
    std::set<std::string> hosts;
    for (const auto& result : response.results()) {
      hosts.insert(result.assignment().placement().host());
    }
    return hosts;
  }
};

TEST_F(GangTest, AGreedyDeadEndDoesNotHideThePlace) {
  const auto a = Host("small", 1, "a");
  const auto b = Host("large", 2, "b");
  auto gang = Gang(2);
  auto* selector =
      gang.mutable_requests(1)->mutable_assignment()->mutable_spec()->add_host_selector();
  selector->set_key("rack");
  selector->set_operator_(v1::Requirement::IN);
  selector->add_values("a");
  ASSERT_EQ(client().Create(CreateOf("probe"))->placement().host(), "hosts/small")
      << "where the first member would go by itself";
  ASSERT_THAT(client().Delete("assignments/probe"), IsOk());
  client().AwaitGone("assignments/probe");
  const auto placed = Batch(gang);
  ASSERT_THAT(placed, IsOk());
  EXPECT_EQ(placed->results(0).assignment().placement().host(), "hosts/large");
  EXPECT_EQ(placed->results(1).assignment().placement().host(), "hosts/small");
  a->AwaitDesired("assignments/m1", Assignment::PLACED);
  b->AwaitDesired("assignments/m0", Assignment::PLACED);
}

TEST_F(GangTest, MembersGoWhereTheConstraintsSay) {
  const auto a1 = Host("a1", 1, "a");
  const auto a2 = Host("a2", 1, "a");
  const auto b1 = Host("b1", 3, "b");
  const auto take = [&](const v1::BatchCreateAssignmentsRequest& gang) {
    const auto placed = Batch(gang);
    EXPECT_THAT(placed, IsOk());
    std::set<std::string> hosts;
    if (placed.ok()) hosts = HostsOf(*placed);
    for (int i = 0; placed.ok() && i < placed->results_size(); ++i) {
      const std::string name = placed->results(i).assignment().name();
      EXPECT_THAT(client().Delete(name), IsOk());
      client().AwaitGone(name);
    }
    return hosts;
  };
  auto together = Gang(2);
  together.add_constraints()->mutable_same_host();
  EXPECT_EQ(take(together), std::set<std::string>{"hosts/b1"});
  auto apart = Gang(3);
  apart.add_constraints()->mutable_distinct_hosts();
  EXPECT_EQ(take(apart).size(), 3U);
  auto rack = Gang(2);
  rack.add_constraints()->mutable_same_label()->set_key("rack");
  auto* distinct = rack.add_constraints();
  distinct->mutable_distinct_hosts();
  distinct->add_members(0);
  distinct->add_members(1);
  EXPECT_EQ(take(rack), (std::set<std::string>{"hosts/a1", "hosts/a2"}));
}

TEST_F(GangTest, WhatDoesNotFitLeavesNothingBehind) {
  const auto agent = Host("h1", 2);
  auto gang = Gang(3);
  gang.set_request_id("g1");
  const auto refused = Batch(gang);
  ASSERT_THAT(refused, FailsWith(Reason::kNoCapacity));
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("requests[2]"));
  EXPECT_EQ(MetadataOf(refused.status()).at("members_placed"), "2");
  EXPECT_EQ(client().GetHost("hosts/h1")->free_device_count(), 2);
  const auto other = Host("h2", 1);
  const auto placed = Batch(gang);
  ASSERT_THAT(placed, IsOk()) << "a failure is not remembered under its request_id";
  const auto again = Batch(gang);
  ASSERT_THAT(again, IsOk());
  for (int i = 0; i < 3; ++i) {
    const Assignment& first = placed->results(i).assignment();
    EXPECT_EQ(again->results(i).assignment().uid(), first.uid());
    EXPECT_EQ(again->results(i).assignment().attach_token(), first.attach_token());
    EXPECT_EQ(first.etag(), placed->results(0).assignment().etag()) << "one commit";
  }
}

TEST_F(GangTest, MembersThatAreBoundAreNotPlacedAnewElsewhere) {
  const auto bad = Host("bad", 2, "", FakeAgent::Manner::kFailing);
  auto bound = Gang(2);
  bound.add_constraints()->mutable_same_host();
  ASSERT_THAT(Batch(bound), IsOk());
  const auto good = Host("good", 2);
  for (const char* name : {"assignments/m0", "assignments/m1"}) {
    EXPECT_EQ(client().AwaitIntent(name, Assignment::FAILED).failure().attempts(), 1);
  }
}

TEST_F(GangTest, RefusesWhatItCannotDo) {
  const auto agent = Host("h1", 2);
  auto gang = Gang(2);
  gang.add_constraints();
  EXPECT_THAT(Batch(gang), FailsWith(Reason::kInvalidField)) << "no kind";
  gang.mutable_constraints(0)->mutable_same_host();
  gang.mutable_constraints(0)->add_members(2);
  EXPECT_THAT(Batch(gang), FailsWith(Reason::kInvalidField)) << "no such member";
  gang.mutable_constraints(0)->set_members(0, -1);
  EXPECT_THAT(Batch(gang), FailsWith(Reason::kInvalidField));
  gang.mutable_constraints(0)->clear_members();
  gang.set_mode(v1::BatchCreateAssignmentsRequest::INDEPENDENT);
  EXPECT_THAT(Batch(gang), FailsWith(Reason::kInvalidField)) << "constraints need a gang";
  gang.set_mode(v1::BatchCreateAssignmentsRequest::ATOMIC);
  gang.mutable_requests(1)->mutable_assignment()->mutable_spec()->set_when_unavailable(
      v1::AssignmentSpec::QUEUE);
  const auto mixed = Batch(gang);
  ASSERT_THAT(mixed, FailsWith(Reason::kInvalidField)) << "some wait and some do not";
  EXPECT_THAT(std::string(mixed.status().message()), HasSubstr("requests[1]"));
  auto priorities = Waiting(2, "p");
  priorities.mutable_requests(1)->mutable_assignment()->mutable_spec()->set_priority(1);
  EXPECT_THAT(Batch(priorities), FailsWith(Reason::kInvalidField));
}

TEST_F(GangTest, WaitsAsAWholeAndIsPlacedAsAWhole) {
  const auto small = Host("small", 2);
  const auto created = Batch(Waiting(3, "m"));
  ASSERT_THAT(created, IsOk());
  for (int i = 0; i < 3; ++i) {
    const Assignment& member = created->results(i).assignment();
    EXPECT_EQ(member.intent(), Assignment::PENDING);
    EXPECT_FALSE(member.has_placement());
    EXPECT_EQ(member.generation(), 0);
    EXPECT_EQ(member.failure().reason(), "NO_CAPACITY");
    EXPECT_FALSE(member.attach_token().empty());
    EXPECT_EQ(member.gang().uid(), created->results(0).assignment().gang().uid());
    EXPECT_EQ(member.gang().member(), i);
    EXPECT_EQ(member.gang().members(), 3);
    EXPECT_TRUE(member.gang().waiting());
  }
  EXPECT_EQ(client().GetHost("hosts/small")->free_device_count(), 2) << "it holds nothing";
  v1::WatchAssignmentsRequest changes;
  const auto watch = client().Watch(changes);
  const auto present = watch->Next();
  ASSERT_THAT(present, IsOk());
  EXPECT_EQ(present->events_size(), 3);
  const auto other = Host("other", 1);
  for (const char* name : {"assignments/m0", "assignments/m1", "assignments/m2"}) {
    const Assignment prepared = client().AwaitObserved(name, Assignment::PREPARED);
    EXPECT_EQ(prepared.intent(), Assignment::PLACED);
    EXPECT_FALSE(prepared.gang().waiting());
    EXPECT_FALSE(prepared.has_failure());
  }
  auto next = watch->Next();
  while (next.ok() && next->events_size() == 0) next = watch->Next();
  ASSERT_THAT(next, IsOk());
  ASSERT_GE(next->events_size(), 3) << "placed in one commit";
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(next->events(i).assignment().intent(), Assignment::PLACED);
    EXPECT_EQ(next->events(i).assignment().etag(), next->events(0).assignment().etag());
  }
}

TEST_F(GangTest, TheMostImportantGangIsFirstAndThenTheOldest) {
  const auto agent = Host("h1", 2);
  ASSERT_THAT(client().Create(CreateOf("now", 2)), IsOk());
  ASSERT_THAT(Batch(Waiting(2, "z-old-")), IsOk());
  clock.Advance(absl::Milliseconds(1));
  ASSERT_THAT(Batch(Waiting(2, "a-young-")), IsOk());
  clock.Advance(absl::Milliseconds(1));
  ASSERT_THAT(Batch(Waiting(2, "m-important-", 5)), IsOk());
  ASSERT_THAT(client().Delete("assignments/now"), IsOk());
  for (const char* next : {"m-important-", "z-old-", "a-young-"}) {
    for (const char* member : {"0", "1"}) {
      client().AwaitObserved(absl::StrCat("assignments/", next, member), Assignment::PREPARED);
    }
    for (const char* other : {"z-old-0", "a-young-1"}) {
      const auto seen = client().Get(absl::StrCat("assignments/", other));
      if (seen.ok() && std::string(other).rfind(next, 0) != 0) {
        EXPECT_NE(seen->intent(), Assignment::PLACED) << other << " before " << next;
      }
    }
    // With one of two devices back, a gang of two still waits.
    for (const char* member : {"0", "1"}) {
      const std::string name = absl::StrCat("assignments/", next, member);
      ASSERT_THAT(client().Delete(name), IsOk());
      client().AwaitGone(name);
    }
  }
}

TEST_F(GangTest, AGangThatWaitsIsCancelledAsAWhole) {
  ASSERT_THAT(Batch(Waiting(3, "m")), IsOk());
  ASSERT_THAT(Batch(Waiting(2, "other")), IsOk());
  const auto deleted = client().Delete("assignments/m1");
  ASSERT_THAT(deleted, IsOk());
  EXPECT_EQ(deleted->name(), "assignments/m1");
  for (const char* name : {"assignments/m0", "assignments/m1", "assignments/m2"}) {
    EXPECT_THAT(client().Get(name), FailsWith(Reason::kNotFound)) << name;
  }
  const auto agent = Host("h1", 2);
  client().AwaitObserved("assignments/other0", Assignment::PREPARED);
  client().AwaitObserved("assignments/other1", Assignment::PREPARED);
  ASSERT_THAT(client().Delete("assignments/other0"), IsOk());
  client().AwaitGone("assignments/other0");
  EXPECT_THAT(client().Get("assignments/other1"), IsOk()) << "a gang that is placed is not a whole";
}

TEST_F(GangTest, WaitsOverARestartForThePlacesThatItsConstraintsSay) {
  ControllerTest::Stop();
  config.mutable_store()->mutable_sqlite()->set_path(folder + "/book.db");
  Start();
  auto a = Host("a", 2);
  auto gang = Waiting(2, "m");
  gang.add_constraints()->mutable_distinct_hosts();
  gang.set_request_id("g1");
  const auto created = Batch(gang);
  ASSERT_THAT(created, IsOk());
  a.reset();
  Restart();
  EXPECT_EQ(client().Get("assignments/m1")->intent(), Assignment::PENDING);
  const auto again = Batch(gang);
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->results(1).assignment().uid(), created->results(1).assignment().uid());
  a = Host("a", 2);
  EXPECT_THAT(client().Create(CreateOf("probe")), IsOk()) << "two on one host are no place";
  const auto b = Host("b", 1);
  const Assignment m0 = client().AwaitObserved("assignments/m0", Assignment::PREPARED);
  const Assignment m1 = client().AwaitObserved("assignments/m1", Assignment::PREPARED);
  EXPECT_NE(m0.placement().host(), m1.placement().host());
  EXPECT_EQ(m0.attach_token(), "");
}

TEST_F(GangTest, AWaitingGangIsHeldToTheQuotaOfItsOwner) {
  const auto agent = Host("h1", 8);
  const auto first = client().Create(CreateOf("first"));
  ASSERT_THAT(first, IsOk());
  v1::UpdateQuotaRequest update;
  update.mutable_quota()->set_name("quotas/" + first->owner());
  (*update.mutable_quota()->mutable_max_devices())["gpu"] = 3;
  ASSERT_THAT(client().Call<v1::Quota>("QuotaService/UpdateQuota", update), IsOk());
  const auto waiting = Batch(Waiting(3, "m"));
  ASSERT_THAT(waiting, IsOk());
  EXPECT_EQ(waiting->results(0).assignment().intent(), Assignment::PENDING);
  EXPECT_EQ(waiting->results(0).assignment().failure().reason(), "QUOTA_EXCEEDED");
  const auto used = [&] {
    v1::GetQuotaRequest get;
    get.set_name("quotas/" + first->owner());
    return client().Call<v1::Quota>("QuotaService/GetQuota", get)->used_devices().at("gpu");
  };
  EXPECT_EQ(used(), 1) << "what waits uses nothing";
  ASSERT_THAT(client().Delete("assignments/first"), IsOk());
  client().AwaitObserved("assignments/m2", Assignment::PREPARED);
  EXPECT_EQ(used(), 3);
  EXPECT_THAT(client().Create(CreateOf("more")), FailsWith(Reason::kQuotaExceeded));
}

TEST_F(GangTest, AntiAffinityHoldsAlsoAfterARestart) {
  ControllerTest::Stop();
  config.mutable_store()->mutable_sqlite()->set_path(folder + "/book.db");
  Start();
  auto a = Host("a", 2);
  auto b = Host("b", 2);
  const auto apart = [](const std::string& id) {
    auto request = CreateOf(id);
    request.mutable_assignment()->mutable_spec()->add_anti_affinity()->set_group("db");
    return request;
  };
  const auto first = client().Create(apart("one"));
  ASSERT_THAT(first, IsOk());
  a.reset();
  b.reset();
  Restart();
  a = Host("a", 2);
  b = Host("b", 2);
  const auto second = client().Create(apart("two"));
  ASSERT_THAT(second, IsOk());
  EXPECT_NE(second->placement().host(), first->placement().host());
  const auto third = client().Create(apart("three"));
  ASSERT_THAT(third, FailsWith(Reason::kNoCapacity));
  EXPECT_EQ(MetadataOf(third.status()).at("hosts_anti_affinity"), "2");
  auto nameless = CreateOf("four");
  nameless.mutable_assignment()->mutable_spec()->add_anti_affinity();
  EXPECT_THAT(client().Create(nameless), FailsWith(Reason::kMissingField));
}

}  // namespace
}  // namespace berth::controller_test
