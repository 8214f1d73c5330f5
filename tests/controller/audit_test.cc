// SPDX-License-Identifier: Apache-2.0
//
// Audits of hosts: when agents are asked, what becomes of what they say, and of those who say
// nothing.
#include <future>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "berth/v1/audit_service.pb.h"
#include "ctl/controller/audit/auditor.h"
#include "tests/controller/controller_fixture.h"

namespace berth::controller_test {
namespace {

using agent::v1::AuditReport;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using v1::Assignment;
using v1::AuditDifference;
using v1::HostAudit;

constexpr absl::Duration kInterval = absl::Minutes(1);

class AuditTest : public ControllerTest {
 protected:
  AuditTest() {
    // Time goes in leaps here, and no host is to be lost by that.
    config.mutable_liveness()->mutable_suspect_after()->set_seconds(3600);
    config.mutable_liveness()->mutable_lost_after()->set_seconds(7200);
  }

  absl::StatusOr<v1::AuditResponse> Call(const v1::AuditRequest& request) {
    return client().Call<v1::AuditResponse>("AuditService/Audit", request);
  }
  HostAudit Audit(const std::string& host = "hosts/h1") {
    v1::AuditRequest request;
    request.set_host(host);
    const absl::StatusOr<v1::AuditResponse> response = Call(request);
    EXPECT_THAT(response, IsOk());
    if (!response.ok()) return {};
    EXPECT_EQ(response->hosts_size(), 1);
    return response->hosts_size() == 1 ? response->hosts(0) : HostAudit();
  }
  // To be answered when the test has seen to it.
  std::future<absl::StatusOr<v1::AuditResponse>> AuditLater() {
    return std::async(std::launch::async, [this] {
      v1::AuditRequest request;
      request.set_host("hosts/h1");
      return Call(request);
    });
  }
  void CreateAndPrepare(const std::string& id) {
    ASSERT_THAT(client().Create(CreateOf(id)), IsOk());
    client().AwaitObserved("assignments/" + id, Assignment::PREPARED);
  }
  double Metric(const std::string& series) const {
    const std::string text = metrics.Text();
    const size_t at = text.find("\n" + series + " ");
    if (at == std::string::npos) ADD_FAILURE() << series << " is not in\n" << text;
    return at == std::string::npos ? -1 : std::stod(text.substr(at + series.size() + 2));
  }
  double Drift() const { return Metric("berth_audit_drift"); }

  static void NameNothing(AuditReport* report) { report->clear_grants(); }
};

TEST_F(AuditTest, WhatAgreesHasNoDifferences) {
  const auto agent = AddHost();
  CreateAndPrepare("vm");
  const HostAudit audit = Audit();
  EXPECT_EQ(audit.outcome(), HostAudit::ANSWERED);
  EXPECT_EQ(audit.host(), "hosts/h1");
  EXPECT_THAT(audit.differences(), IsEmpty());
  ASSERT_EQ(audit.rows_size(), 1);
  EXPECT_EQ(audit.rows(0).assignment(), "assignments/vm");
  EXPECT_EQ(audit.rows(0).book().observed(), Assignment::PREPARED);
  EXPECT_EQ(audit.rows(0).agent().observed(), Assignment::PREPARED);
  const agent::v1::AuditRequest request = agent->AwaitAudits(1);
  EXPECT_EQ(request.epoch().store_uid(), agent->welcome().epoch().store_uid());
  EXPECT_FALSE(request.try_devices());
  EXPECT_EQ(Drift(), 0);
  EXPECT_EQ(Metric("berth_audit_hosts_total{outcome=\"answered\"}"), 1);
}

TEST_F(AuditTest, DevicesAreTriedOnlyForThoseWhoAskForIt) {
  const auto agent = AddHost({.edit_audit = [](AuditReport* report) {
    agent::v1::HeldDevice* held = report->add_held_devices();
    held->set_device("gpu0");
    held->set_message("EBUSY");
  }});
  v1::AuditRequest request;
  request.set_try_devices(true);
  const auto response = Call(request);
  ASSERT_THAT(response, IsOk());
  EXPECT_TRUE(agent->AwaitAudits(1).try_devices());
  ASSERT_EQ(response->hosts(0).differences_size(), 1);
  EXPECT_EQ(response->hosts(0).differences(0).kind(), AuditDifference::DEVICE_HELD);
  EXPECT_EQ(response->hosts(0).differences(0).device(), "gpu0");
}

TEST_F(AuditTest, WhatIsFoundTwiceIsDriftAndHealedByAFreshExchange) {
  auto agent = AddHost({.edit_audit = NameNothing});
  CreateAndPrepare("vm");
  HostAudit audit = Audit();
  ASSERT_EQ(audit.differences_size(), 1);
  EXPECT_EQ(audit.differences(0).kind(), AuditDifference::NOT_ON_HOST);
  EXPECT_FALSE(audit.differences(0).drift()) << "it may be a message on its way";
  EXPECT_EQ(audit.differences(0).healing(), AuditDifference::PLANNED);
  const auto first = audit.differences(0).first_seen_time();
  EXPECT_EQ(Drift(), 0);

  clock.Advance(Auditor::kSettle - absl::Seconds(1));
  EXPECT_FALSE(Audit().differences(0).drift());
  clock.Advance(absl::Seconds(1));
  audit = Audit();
  EXPECT_TRUE(audit.differences(0).drift());
  EXPECT_EQ(audit.differences(0).healing(), AuditDifference::TRIED);
  EXPECT_EQ(audit.differences(0).first_seen_time().seconds(), first.seconds());
  EXPECT_EQ(Drift(), 1);
  EXPECT_THAT(agent->AwaitEnd(), FailsWith(Reason::kUnavailable));

  // It dials again, and tells the truth: it does not have it.
  agent = AddHost();
  agent->AwaitDesired("assignments/vm", Assignment::PLACED);
  client().AwaitObserved("assignments/vm", Assignment::PREPARED);
  EXPECT_THAT(Audit().differences(), IsEmpty());
  EXPECT_EQ(Drift(), 0);
  EXPECT_EQ(Metric("berth_audit_healed_total"), 1);
}

TEST_F(AuditTest, HealingIsTriedOnce) {
  auto agent = AddHost({.edit_audit = NameNothing});
  CreateAndPrepare("vm");
  Audit();
  clock.Advance(Auditor::kSettle);
  Audit();
  agent->AwaitEnd().IgnoreError();
  agent = AddHost({.edit_audit = NameNothing});
  client().AwaitObserved("assignments/vm", Assignment::PREPARED);
  clock.Advance(Auditor::kSettle);
  const HostAudit audit = Audit();
  EXPECT_EQ(audit.differences(0).healing(), AuditDifference::TRIED);
  EXPECT_EQ(Drift(), 1);
  EXPECT_EQ(Metric("berth_audit_healed_total"), 0);
  // The session stands.
  agent->Heartbeat();
  Stop();
  EXPECT_THAT(LogText(), HasSubstr("NOT_ON_HOST"));
}

TEST_F(AuditTest, WhatCannotBeHealedIsListedAndCounted) {
  const auto agent = AddHost();
  CreateAndPrepare("vm");
  auto status =
      StatusOf(agent->AwaitDesired("assignments/vm", Assignment::PLACED), Assignment::ATTACHED);
  agent->Report(status);
  status.set_observed(Assignment::DEGRADED);
  agent->Report(status);
  client().AwaitObserved("assignments/vm", Assignment::DEGRADED);
  Audit();
  clock.Advance(Auditor::kSettle);
  const HostAudit audit = Audit();
  ASSERT_EQ(audit.differences_size(), 1);
  EXPECT_EQ(audit.differences(0).kind(), AuditDifference::DEGRADED);
  EXPECT_TRUE(audit.differences(0).drift());
  EXPECT_EQ(audit.differences(0).healing(), AuditDifference::HEALING_UNSPECIFIED);
  EXPECT_EQ(Drift(), 1);
  agent->Heartbeat();
}

TEST_F(AuditTest, AGrantThatNobodyClaimsIsCalledOrphanedWhileAVmmHasIt) {
  agent::v1::GrantStatus stranger;
  stranger.set_assignment_uid("stranger");
  stranger.set_observed(Assignment::ATTACHED);
  v1::UnitPlacement* unit = stranger.add_units();
  unit->set_unit("unit0");
  unit->add_devices()->set_device("gpu0");
  const auto agent = AddHost({.grants = {stranger}});
  const HostAudit audit = Audit();
  ASSERT_EQ(audit.differences_size(), 1);
  EXPECT_EQ(audit.differences(0).kind(), AuditDifference::ORPHANED);
  EXPECT_EQ(audit.differences(0).assignment_uid(), "stranger");
  EXPECT_TRUE(audit.rows(0).book().unclaimed());
  EXPECT_THAT(audit.rows(0).book().devices(), ElementsAre("gpu0"));
}

TEST_F(AuditTest, EachHostIsAskedOnceInAnInterval) {
  std::vector<std::unique_ptr<FakeAgent>> agents;
  for (int i = 1; i <= 3; ++i) {
    agents.push_back(AddHost({.host_id = absl::StrCat("h", i), .host_uid = absl::StrCat("u", i)}));
  }
  for (int round = 1; round <= 2; ++round) {
    for (int host = 0; host < 3; ++host) {
      clock.Advance(kInterval / 3);
      // One after the other, in the order of their ids.
      agents[host]->AwaitAudits(round);
      for (int other = host + 1; other < 3; ++other) {
        EXPECT_EQ(agents[other]->audits(), round - 1);
      }
    }
  }
  // After a pause each is asked once, too.
  clock.Advance(10 * kInterval);
  for (const auto& agent : agents) agent->AwaitAudits(3);
  for (const auto& agent : agents) {
    agent->Heartbeat();
    EXPECT_EQ(agent->audits(), 3);
  }
}

TEST_F(AuditTest, ByItselfItTriesNoDevicesAndCountsDrift) {
  const auto agent = AddHost({.edit_audit = [](AuditReport* report) {
    agent::v1::StrayRecord* stray = report->add_strays();
    stray->set_assignment_uid("old");
    stray->add_kept_fds("context");
  }});
  for (int i = 1; i <= 2; ++i) {
    clock.Advance(kInterval);
    EXPECT_FALSE(agent->AwaitAudits(i).try_devices());
    // Its answer came before this.
    agent->Heartbeat();
    EXPECT_EQ(Drift(), i - 1);
  }
}

TEST_F(AuditTest, AnAgentOfTheReleaseBeforeDoesNotAnswer) {
  const auto agent = AddHost({.answers_audits = false});
  CreateAndPrepare("vm");
  auto later = AuditLater();
  agent->AwaitAudits(1);
  clock.Advance(Auditor::Options().answer_timeout);
  const absl::StatusOr<v1::AuditResponse> response = later.get();
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->hosts(0).outcome(), HostAudit::NO_ANSWER);
  EXPECT_TRUE(response->hosts(0).rows(0).has_book());
  EXPECT_THAT(response->hosts(0).differences(), IsEmpty());
  EXPECT_EQ(Metric("berth_audit_hosts_total{outcome=\"unanswered\"}"), 1);
  agent->Heartbeat();
  Stop();
  EXPECT_THAT(LogText(), HasSubstr("agent does not answer audits"));
}

TEST_F(AuditTest, AHostThatIsNotConnectedHasTheBookAlone) {
  auto agent = AddHost();
  CreateAndPrepare("vm");
  agent->Disconnect();
  agent->AwaitEnd().IgnoreError();
  // Whether the controller knows already or learns it now.
  const HostAudit audit = Audit();
  EXPECT_EQ(audit.outcome(), HostAudit::NOT_CONNECTED);
  ASSERT_EQ(audit.rows_size(), 1);
  EXPECT_TRUE(audit.rows(0).has_book());
}

TEST_F(AuditTest, TheEndOfASessionEndsTheWait) {
  const auto agent = AddHost({.answers_audits = false});
  auto later = AuditLater();
  agent->AwaitAudits(1);
  agent->Disconnect();
  const absl::StatusOr<v1::AuditResponse> response = later.get();
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->hosts(0).outcome(), HostAudit::NOT_CONNECTED);
}

TEST_F(AuditTest, OnlyTheAnswerToTheLastRequestCounts) {
  const auto agent = AddHost({.answers_audits = false});
  auto first = AuditLater();
  const int64_t sequence = agent->AwaitAudits(1).sequence();
  auto second = AuditLater();
  EXPECT_GT(agent->AwaitAudits(2).sequence(), sequence);
  agent::v1::AgentMessage message;
  message.mutable_audit()->set_sequence(sequence);
  message.mutable_audit()->add_held_devices()->set_device("an old answer");
  agent->Send(message);
  message.mutable_audit()->set_sequence(agent->AwaitAudits(2).sequence());
  message.mutable_audit()->clear_held_devices();
  agent->Send(message);
  for (auto* call : {&first, &second}) {
    const absl::StatusOr<v1::AuditResponse> response = call->get();
    ASSERT_THAT(response, IsOk());
    EXPECT_EQ(response->hosts(0).outcome(), HostAudit::ANSWERED);
    EXPECT_THAT(response->hosts(0).differences(), IsEmpty());
  }
}

TEST_F(AuditTest, AllHostsComeInPages) {
  const auto one = AddHost();
  const auto two = AddHost({.host_id = "h2", .host_uid = "u2"});
  v1::AuditRequest request;
  request.set_page_size(1);
  std::vector<std::string> hosts;
  do {
    const auto response = Call(request);
    ASSERT_THAT(response, IsOk());
    ASSERT_EQ(response->hosts_size(), 1);
    hosts.push_back(response->hosts(0).host());
    request.set_page_token(response->next_page_token());
  } while (!request.page_token().empty());
  EXPECT_THAT(hosts, ElementsAre("hosts/h1", "hosts/h2"));
  EXPECT_EQ(Call({})->hosts_size(), 2);
  request.set_page_token("none of ours");
  EXPECT_THAT(Call(request), FailsWith(Reason::kInvalidPageToken));
}

TEST_F(AuditTest, AFleetWithoutHostsAgrees) {
  const auto response = Call({});
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->hosts_size(), 0);
}

TEST_F(AuditTest, AHostThatIsNotThereIsAnError) {
  v1::AuditRequest request;
  request.set_host("hosts/none");
  EXPECT_THAT(Call(request), FailsWith(Reason::kNotFound));
  request.set_host("assignments/vm");
  EXPECT_THAT(Call(request), FailsWith(Reason::kInvalidField));
}

TEST_F(AuditTest, TooManyAtOnceAreRefusedAndAStopEndsThem) {
  const auto agent = AddHost({.answers_audits = false});
  std::vector<std::future<absl::StatusOr<v1::AuditResponse>>> calls;
  const auto most = static_cast<int>(Auditor::Options().max_calls);
  for (int i = 0; i < most; ++i) calls.push_back(AuditLater());
  agent->AwaitAuditSequence(most);
  v1::AuditRequest request;
  request.set_host("hosts/h1");
  EXPECT_THAT(Call(request), FailsWith(Reason::kOverloaded));
  daemon.reset();
  for (auto& call : calls) {
    EXPECT_THAT(call.get(), FailsWith(Reason::kShuttingDown));
  }
}

}  // namespace
}  // namespace berth::controller_test
