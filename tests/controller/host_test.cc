// SPDX-License-Identifier: Apache-2.0
//
// Hosts: how they come, are lost, come back, and what operators do with them.
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/controller/controller_fixture.h"

namespace berth::controller_test {
namespace {

using ::testing::HasSubstr;
using v1::Assignment;
using v1::Host;

class HostTest : public ControllerTest {
 protected:
  HostTest() : ControllerTest(Kind::kSqlite) {}

  template <typename Request>
  absl::StatusOr<Host> Do(const std::string& method, const std::string& name,
                          const std::string& etag = "") {
    Request request;
    request.set_name(name);
    request.set_etag(etag);
    return client().Call<Host>("HostService/" + method, request);
  }
  absl::StatusOr<Host> Update(const v1::UpdateHostRequest& request) {
    return client().Call<Host>("HostService/UpdateHost", request);
  }
  // How often the controller says that it has refused what was too old.
  std::string Fenced(const std::string& what) const {
    const std::string series = "\nberth_fenced_total{what=\"" + what + "\"} ";
    const std::string text = metrics.Text();
    const size_t at = text.find(series);
    if (at == std::string::npos) return "not there";
    return text.substr(at + series.size(), text.find('\n', at + 1) - at - series.size());
  }
};

TEST_F(HostTest, ComesByItselfWithItsInventory) {
  auto inventory = MakeInventory({.units = 2});
  (*inventory.mutable_labels())["rack"] = "r1";
  const auto agent = AddHost({.inventory = inventory});
  const auto host = client().GetHost("hosts/h1");
  ASSERT_THAT(host, IsOk());
  EXPECT_EQ(host->state(), Host::READY);
  EXPECT_EQ(host->units_size(), 2);
  EXPECT_EQ(host->device_count(), 4);
  EXPECT_EQ(host->free_device_count(), 4);
  EXPECT_EQ(host->labels().at("rack"), "r1");
  EXPECT_EQ(host->incarnation(), 1);
  EXPECT_EQ(host->agent_version(), "0.1.0");
  EXPECT_EQ(agent->welcome().protocol_version(), 1);
  EXPECT_EQ(agent->welcome().heartbeat_interval().seconds(), 1);
  EXPECT_NE(agent->welcome().epoch().store_uid(), "");
  EXPECT_THAT(client().GetHost("hosts/h2"), FailsWith(Reason::kNotFound));
}

TEST_F(HostTest, AnInventoryUpdateChangesWhatCanBePlaced) {
  const auto agent = AddHost({.inventory = MakeInventory({.devices_per_unit = 1})});
  auto queued = CreateOf("vm", 3);
  queued.mutable_assignment()->mutable_spec()->set_when_unavailable(v1::AssignmentSpec::QUEUE);
  ASSERT_THAT(client().Create(queued), IsOk());
  agent->SendInventory(MakeInventory({.devices_per_unit = 3}));
  client().AwaitObserved("assignments/vm", Assignment::PREPARED);
  EXPECT_EQ(client().GetHost("hosts/h1")->device_count(), 3);
}

TEST_F(HostTest, ABadInventoryExcludesThatHostOnlyAndNamesTheCulprit) {
  const auto good = AddHost({.host_id = "good", .host_uid = "u2"});
  const auto agent = AddHost();
  auto twice = MakeInventory();
  twice.mutable_devices(1)->set_id(twice.devices(0).id());
  agent->SendInventory(twice);
  const Host broken = client().AwaitHostState("hosts/h1", Host::BROKEN);
  ASSERT_EQ(broken.conditions_size(), 1);
  EXPECT_EQ(broken.conditions(0).type(), "InventoryValid");
  EXPECT_FALSE(broken.conditions(0).status());
  EXPECT_EQ(broken.conditions(0).reason(), "BAD_INVENTORY");
  EXPECT_THAT(broken.conditions(0).message(), HasSubstr("gpu0"));
  EXPECT_EQ(broken.device_count(), 2) << "the last good one stays for what stands on it";
  EXPECT_EQ(client().Create(CreateOf("vm"))->placement().host(), "hosts/good");

  auto unknown = MakeInventory();
  unknown.mutable_units(0)->set_profile(static_cast<v1::Unit::Profile>(99));
  agent->SendInventory(unknown);
  client().AwaitHost("hosts/h1", [](const Host& host) {
    return host.conditions_size() == 1 &&
           host.conditions(0).message().find("unit0") != std::string::npos;
  });
  agent->SendInventory(MakeInventory());
  client().AwaitHostState("hosts/h1", Host::READY);

  const auto refused = Connect({.host_id = "h3", .host_uid = "u3", .inventory = twice});
  EXPECT_THAT(refused->AwaitWelcome(), FailsWith(Reason::kBadInventory));
  EXPECT_THAT(client().GetHost("hosts/h3"), FailsWith(Reason::kNotFound));
}

TEST_F(HostTest, AHeartbeatThatNeedsNoAnswerIsASignOfLifeAllTheSame) {
  const auto agent = AddHost();
  clock.Advance(absl::Seconds(4));
  client().AwaitHostState("hosts/h1", Host::SUSPECT);
  agent::v1::AgentMessage message;
  message.mutable_heartbeat()->set_sequence(1'000'000);
  message.mutable_heartbeat()->set_needs_no_answer(true);
  agent->Send(message);
  client().AwaitHostState("hosts/h1", Host::READY);
  agent->Heartbeat();
  EXPECT_EQ(agent->answers(), 1) << "to the second";
}

TEST_F(HostTest, SilenceMakesItSuspectAndThenLostAndAHeartbeatBringsItBack) {
  const auto agent = AddHost();
  ASSERT_THAT(client().Create(CreateOf("vm")), IsOk());
  clock.Advance(absl::Seconds(4));
  client().AwaitHostState("hosts/h1", Host::SUSPECT);
  EXPECT_THAT(client().Create(CreateOf("new")), FailsWith(Reason::kNoCapacity));
  clock.Advance(absl::Seconds(57));
  client().AwaitHostState("hosts/h1", Host::LOST);
  EXPECT_EQ(client().Get("assignments/vm")->intent(), Assignment::PLACED) << "still charged";
  agent->Heartbeat();
  client().AwaitHostState("hosts/h1", Host::READY);
  EXPECT_THAT(client().Create(CreateOf("new")), IsOk());
}

TEST_F(HostTest, AssignmentsOfALostHostSaySoUntilItIsBack) {
  auto agent = AddHost();
  ASSERT_THAT(client().Create(CreateOf("vm")), IsOk());
  client().AwaitObserved("assignments/vm", Assignment::PREPARED);
  EXPECT_EQ(client().Get("assignments/vm")->conditions_size(), 0);
  const auto is_lost = [](const Assignment& assignment) {
    return assignment.conditions_size() == 1 &&
           assignment.conditions(0).type() == "HostReachable" && !assignment.conditions(0).status();
  };
  const auto is_found = [](const Assignment& assignment) {
    return assignment.conditions_size() == 0;
  };
  v1::WatchAssignmentsRequest request;
  request.set_name("assignments/vm");
  const auto watch = client().Watch(request);
  // The first change that the watch tells of, after the present state, that is so.
  const auto told = [&watch](const auto& is) {
    for (;;) {
      const auto message = watch->Next();
      if (!message.ok()) {
        ADD_FAILURE() << message.status();
        return Assignment();
      }
      for (const v1::AssignmentEvent& event : message->events()) {
        if (is(event.assignment())) return event.assignment();
      }
    }
  };
  told(is_found);
  clock.Advance(absl::Seconds(61));
  const Assignment lost = told(is_lost);
  EXPECT_EQ(lost.intent(), Assignment::PLACED) << "still charged";
  EXPECT_EQ(lost.observed(), Assignment::PREPARED) << "what it said last";
  EXPECT_EQ(lost.conditions(0).reason(), "HOST_NOT_READY");
  EXPECT_THAT(lost.conditions(0).message(), HasSubstr("nothing was heard from hosts/h1 since "));
  EXPECT_TRUE(lost.conditions(0).has_last_transition_time());
  agent->Heartbeat();
  told(is_found);

  // A controller that has never heard from it says the same.
  agent.reset();
  Restart();
  const auto unheard = client().Get("assignments/vm");
  ASSERT_THAT(unheard, IsOk());
  EXPECT_TRUE(is_lost(*unheard));
  EXPECT_EQ(unheard->observed(), Assignment::OBSERVED_UNSPECIFIED);
  EXPECT_THAT(unheard->conditions(0).message(), HasSubstr("since this controller started"));
  agent = AddHost();
  EXPECT_EQ(client().Await("assignments/vm", is_found).intent(), Assignment::PLACED);
}

TEST_F(HostTest, AnAgentThatReportsTroubleIsBrokenUntilItIsOver) {
  const auto agent = AddHost();
  auto inventory = MakeInventory();
  v1::Condition* condition = inventory.add_conditions();
  condition->set_type("KernelHealthy");
  condition->set_status(false);
  condition->set_reason("KERNEL_GONE");
  agent->SendInventory(inventory);
  const Host broken = client().AwaitHostState("hosts/h1", Host::BROKEN);
  EXPECT_EQ(broken.conditions(0).reason(), "KERNEL_GONE");
  EXPECT_THAT(client().Create(CreateOf("vm")), FailsWith(Reason::kNoCapacity));
  agent->SendInventory(MakeInventory());
  client().AwaitHostState("hosts/h1", Host::READY);
  EXPECT_THAT(client().Create(CreateOf("vm")), IsOk());
}

TEST_F(HostTest, TwoMachinesCannotHaveOneName) {
  const auto agent = AddHost();
  const auto other = Connect({.host_uid = "uid-of-another"});
  EXPECT_THAT(other->AwaitWelcome(), FailsWith(Reason::kHostNameTaken));
  agent->Heartbeat();
  EXPECT_EQ(client().GetHost("hosts/h1")->state(), Host::READY);
}

TEST_F(HostTest, AnOlderIncarnationIsFencedAndANewerOneTakesOver) {
  const auto agent = AddHost({.incarnation = 5});
  const auto older = Connect({.incarnation = 4});
  EXPECT_THAT(older->AwaitWelcome(), FailsWith(Reason::kFenced));
  const auto newer = AddHost({.incarnation = 6});
  EXPECT_THAT(agent->AwaitEnd(), FailsWith(Reason::kFenced)) << "its session is replaced";
  EXPECT_EQ(client().GetHost("hosts/h1")->incarnation(), 6);
  EXPECT_EQ(Fenced("incarnation"), "1");
  EXPECT_EQ(Fenced("session"), "1");
  EXPECT_EQ(Fenced("epoch"), "0");
  ASSERT_THAT(client().Create(CreateOf("vm")), IsOk());
  newer->AwaitDesired("assignments/vm", Assignment::PLACED);
}

TEST_F(HostTest, AnAgentThatHasObeyedALaterControllerIsNotCommanded) {
  const auto agent = AddHost();
  const auto epoch = agent->welcome().epoch();
  const auto ahead = Connect({.incarnation = 2, .edit_hello = [&](agent::v1::Hello* hello) {
                                *hello->mutable_highest_epoch() = epoch;
                                hello->mutable_highest_epoch()->set_term(epoch.term() + 1);
                              }});
  EXPECT_THAT(ahead->AwaitWelcome(), FailsWith(Reason::kFenced));
  EXPECT_EQ(Fenced("epoch"), "1");
}

TEST_F(HostTest, AHelloThatIsWrongIsRefusedByReason) {
  const auto refused = [&](const std::function<void(agent::v1::Hello*)>& edit) {
    return Connect({.edit_hello = edit})->AwaitWelcome();
  };
  EXPECT_THAT(refused([](auto* h) { h->set_protocol_version(9); }),
              FailsWith(Reason::kVersionSkew));
  EXPECT_THAT(refused([](auto* h) { h->set_host_id("No/Name"); }),
              FailsWith(Reason::kInvalidField));
  EXPECT_THAT(refused([](auto* h) { h->set_host_id(std::string(100'000, 'x')); }),
              FailsWith(Reason::kInvalidField));
  EXPECT_THAT(refused([](auto* h) { h->clear_host_id(); }), FailsWith(Reason::kMissingField));
  EXPECT_THAT(refused([](auto* h) { h->clear_host_uid(); }), FailsWith(Reason::kMissingField));
  EXPECT_THAT(
      refused([](auto* h) { h->mutable_inventory()->set_attach_endpoint(std::string(300, 'x')); }),
      FailsWith(Reason::kBadInventory));
  const auto agent = AddHost();
  agent->Send({});  // what a newer agent may say
  agent->Heartbeat();
  agent::v1::AgentMessage again;
  again.mutable_hello()->set_host_id("h1");
  agent->Send(again);
  EXPECT_THAT(agent->AwaitEnd(), FailsWith(Reason::kBadMessage));
}

TEST_F(HostTest, AMessageThatIsNotTheNextEndsTheSession) {
  const auto agent = AddHost();
  agent::v1::AgentMessage late;
  late.mutable_heartbeat()->set_sequence(1);
  late.set_number(2);
  agent->Send(late);
  EXPECT_THAT(agent->AwaitEnd(), FailsWith(Reason::kBadMessage));
}

TEST_F(HostTest, AReconnectStartsFromTheWholeTruth) {
  auto agent = AddHost();
  ASSERT_THAT(client().Create(CreateOf("vm")), IsOk());
  client().AwaitObserved("assignments/vm", Assignment::PREPARED);
  const auto desired = agent->AwaitDesired("assignments/vm", Assignment::PLACED);
  agent->Disconnect();
  agent = AddHost(
      {.manner = FakeAgent::Manner::kSilent, .grants = {StatusOf(desired, Assignment::ATTACHED)}});
  EXPECT_EQ(agent->welcome().desired_size(), 1);
  client().AwaitObserved("assignments/vm", Assignment::ATTACHED);
  agent = AddHost({.incarnation = 2, .manner = FakeAgent::Manner::kSilent});
  client().AwaitObserved("assignments/vm", Assignment::OBSERVED_UNSPECIFIED);
}

TEST_F(HostTest, AStreamThatWasReplacedIsNotBelieved) {
  const auto old = AddHost({.manner = FakeAgent::Manner::kSilent});
  ASSERT_THAT(client().Create(CreateOf("vm")), IsOk());
  const auto desired = old->AwaitDesired("assignments/vm", Assignment::PLACED);
  const auto fresh = AddHost({.manner = FakeAgent::Manner::kSilent});
  fresh->Report(StatusOf(desired, Assignment::PREPARED));
  client().AwaitObserved("assignments/vm", Assignment::PREPARED);
  old->Report(StatusOf(desired, Assignment::GONE));
  EXPECT_THAT(old->AwaitEnd(), FailsWith(Reason::kFenced));
  fresh->Heartbeat();
  EXPECT_EQ(client().Get("assignments/vm")->observed(), Assignment::PREPARED);
}

TEST_F(HostTest, AReportOfAnOlderGenerationIsNotBelievedButCounted) {
  const auto agent = AddHost();
  ASSERT_THAT(client().Create(CreateOf("vm")), IsOk());
  client().AwaitObserved("assignments/vm", Assignment::PREPARED);
  agent::v1::GrantStatus stale =
      StatusOf(agent->AwaitDesired("assignments/vm", Assignment::PLACED), Assignment::GONE);
  stale.set_generation(stale.generation() - 1);
  agent->Report(stale);
  agent->Heartbeat();
  EXPECT_EQ(client().Get("assignments/vm")->observed(), Assignment::PREPARED);
  EXPECT_EQ(Fenced("generation"), "1");
}

TEST_F(HostTest, AfterARestartOfTheControllerHostsAreKnownAndGrantsDesired) {
  auto agent = AddHost();
  const auto created = client().Create(CreateOf("vm"));
  ASSERT_THAT(created, IsOk());
  const int64_t term = agent->welcome().epoch().term();
  agent.reset();
  Restart();
  EXPECT_EQ(client().GetHost("hosts/h1")->state(), Host::LOST);
  EXPECT_EQ(client().GetHost("hosts/h1")->free_device_count(), 1);
  agent = AddHost();
  EXPECT_GT(agent->welcome().epoch().term(), term);
  const auto desired = agent->AwaitDesired("assignments/vm", Assignment::PLACED);
  EXPECT_EQ(desired.assignment_uid(), created->uid());
  client().AwaitObserved("assignments/vm", Assignment::PREPARED);
}

TEST_F(HostTest, AReleaseEndsWhenTheHostIsBackWhateverItStillKnows) {
  for (const bool knows : {true, false}) {
    auto agent = AddHost();
    const auto created = client().Create(CreateOf("vm"));
    ASSERT_THAT(created, IsOk());
    client().AwaitObserved("assignments/vm", Assignment::PREPARED);
    const auto desired = agent->AwaitDesired("assignments/vm", Assignment::PLACED);
    agent.reset();
    ASSERT_THAT(client().Delete("assignments/vm"), IsOk());
    EXPECT_EQ(client().Get("assignments/vm")->intent(), Assignment::RELEASING);
    FakeAgent::Options back;
    if (knows) back.grants = {StatusOf(desired, Assignment::PREPARED)};
    agent = AddHost(back);
    client().AwaitGone("assignments/vm");
    agent->AwaitForgotten(created->uid());
  }
}

TEST_F(HostTest, ACordonKeepsNewOnesAway) {
  const auto agent = AddHost();
  const auto cordoned = Do<v1::CordonHostRequest>("CordonHost", "hosts/h1");
  ASSERT_THAT(cordoned, IsOk());
  EXPECT_TRUE(cordoned->cordoned());
  const auto full = client().Create(CreateOf("vm"));
  EXPECT_THAT(full, FailsWith(Reason::kNoCapacity));
  EXPECT_THAT(std::string(full.status().message()), HasSubstr("cordoned"));
  auto queued = CreateOf("waits");
  queued.mutable_assignment()->mutable_spec()->set_when_unavailable(v1::AssignmentSpec::QUEUE);
  ASSERT_THAT(client().Create(queued), IsOk());
  EXPECT_THAT(Do<v1::UncordonHostRequest>("UncordonHost", "hosts/h1", "r0"),
              FailsWith(Reason::kEtagMismatch));
  ASSERT_THAT(Do<v1::UncordonHostRequest>("UncordonHost", "hosts/h1", cordoned->etag()), IsOk());
  client().AwaitObserved("assignments/waits", Assignment::PREPARED);
}

TEST_F(HostTest, ADrainAsksAndKillsNothing) {
  const auto agent = AddHost();
  ASSERT_THAT(client().Create(CreateOf("vm")), IsOk());
  const auto drained = Do<v1::DrainHostRequest>("DrainHost", "hosts/h1");
  ASSERT_THAT(drained, IsOk());
  EXPECT_TRUE(drained->draining());
  EXPECT_TRUE(client().Get("assignments/vm")->eviction_requested());
  EXPECT_EQ(client().Get("assignments/vm")->intent(), Assignment::PLACED);
  EXPECT_THAT(client().Create(CreateOf("new")), FailsWith(Reason::kNoCapacity));
  ASSERT_THAT(Do<v1::UncordonHostRequest>("UncordonHost", "hosts/h1"), IsOk());
  EXPECT_FALSE(client().Get("assignments/vm")->eviction_requested());
}

TEST_F(HostTest, AnUpdateChangesWhatItsMaskNames) {
  const auto agent = AddHost();
  v1::UpdateHostRequest request;
  request.mutable_host()->set_name("hosts/h1");
  request.mutable_host()->set_display_name("first");
  (*request.mutable_host()->mutable_labels())["rack"] = "r9";
  EXPECT_THAT(Update(request), FailsWith(Reason::kMissingField));
  request.mutable_update_mask()->add_paths("labels");
  request.set_validate_only(true);
  EXPECT_EQ(Update(request)->labels().at("rack"), "r9");
  EXPECT_EQ(client().GetHost("hosts/h1")->labels().size(), 0);
  request.set_validate_only(false);
  const auto updated = Update(request);
  ASSERT_THAT(updated, IsOk());
  EXPECT_EQ(updated->display_name(), "") << "not in the mask";
  EXPECT_EQ(updated->etag(), client().GetHost("hosts/h1")->etag());
  auto create = CreateOf("vm");
  v1::Requirement* rack = create.mutable_assignment()->mutable_spec()->add_host_selector();
  rack->set_key("rack");
  rack->set_operator_(v1::Requirement::IN);
  rack->add_values("r9");
  EXPECT_THAT(client().Create(create), IsOk());

  request.mutable_update_mask()->add_paths("taints");
  request.mutable_host()->add_taints()->set_key("broken-fan");
  EXPECT_THAT(Update(request), FailsWith(Reason::kInvalidField)) << "without an effect";
  request.mutable_host()->mutable_taints(0)->set_effect(v1::Taint::NO_NEW);
  ASSERT_THAT(Update(request), IsOk());
  EXPECT_THAT(client().Create(CreateOf("vm2")), FailsWith(Reason::kNoCapacity));
  create = CreateOf("vm3");
  create.mutable_assignment()->mutable_spec()->add_tolerations()->set_key("broken-fan");
  EXPECT_THAT(client().Create(create), IsOk());
  request.mutable_update_mask()->add_paths("state");
  EXPECT_THAT(Update(request), FailsWith(Reason::kInvalidField));
}

TEST_F(HostTest, LabelsOfAgentAndOperatorTogetherHaveALimit) {
  auto inventory = MakeInventory();
  for (int i = 0; i < 40; ++i) (*inventory.mutable_labels())[absl::StrCat("a", i)] = "x";
  const auto agent = AddHost({.inventory = inventory});
  v1::UpdateHostRequest request;
  request.mutable_host()->set_name("hosts/h1");
  request.mutable_update_mask()->add_paths("labels");
  for (int i = 0; i < 40; ++i) {
    (*request.mutable_host()->mutable_labels())[absl::StrCat("b", i)] = "x";
  }
  EXPECT_THAT(Update(request), FailsWith(Reason::kInvalidField));
  EXPECT_THAT(client().Create(CreateOf("vm")), IsOk()) << "the host is as it was";
}

TEST_F(HostTest, IsForgottenWhenNothingHangsOnIt) {
  auto agent = AddHost();
  EXPECT_THAT(Do<v1::DeleteHostRequest>("DeleteHost", "hosts/h1"),
              FailsWith(Reason::kStateConflict))
      << "connected";
  ASSERT_THAT(client().Create(CreateOf("vm")), IsOk());
  client().AwaitObserved("assignments/vm", Assignment::PREPARED);
  agent.reset();
  absl::StatusOr<Host> deleted = Do<v1::DeleteHostRequest>("DeleteHost", "hosts/h1");
  // The stream's end is noticed a moment later; what is charged then speaks.
  while (std::string(deleted.status().message()).find("connected") != std::string::npos) {
    deleted = Do<v1::DeleteHostRequest>("DeleteHost", "hosts/h1");
  }
  ASSERT_THAT(deleted, FailsWith(Reason::kStateConflict));
  EXPECT_THAT(std::string(deleted.status().message()), HasSubstr("1 assignments are charged"));
  agent = AddHost();
  ASSERT_THAT(client().Delete("assignments/vm"), IsOk());
  client().AwaitGone("assignments/vm");
  agent.reset();
  do {
    deleted = Do<v1::DeleteHostRequest>("DeleteHost", "hosts/h1");
  } while (ReasonOf(deleted.status()) == Reason::kStateConflict);
  ASSERT_THAT(deleted, IsOk());
  EXPECT_THAT(client().GetHost("hosts/h1"), FailsWith(Reason::kNotFound));
  EXPECT_THAT(client().Create(CreateOf("vm")), FailsWith(Reason::kNoCapacity));
  agent = AddHost({.host_uid = "another machine"});
  EXPECT_THAT(client().Create(CreateOf("vm")), IsOk());
}

TEST_F(HostTest, AStreamThatEndsBeforeItsWelcomeLeavesNoTrace) {
  for (int i = 0; i < 30; ++i) {
    const auto agent = Connect();
    agent->Disconnect();
  }
  auto agent = AddHost();
  agent.reset();
  absl::StatusOr<Host> deleted;
  do {
    deleted = Do<v1::DeleteHostRequest>("DeleteHost", "hosts/h1");
  } while (ReasonOf(deleted.status()) == Reason::kStateConflict);
  EXPECT_THAT(deleted, IsOk());
}

}  // namespace
}  // namespace berth::controller_test
