// SPDX-License-Identifier: Apache-2.0
#include "agent/link/controller_link.h"

#include <gmock/gmock.h>
#include <grpcpp/channel.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <filesystem>

#include "absl/synchronization/notification.h"
#include "lib/base/status.h"
#include "lib/base/unique_fd.h"
#include "lib/rpc/channel.h"
#include "tests/agent/link/controller_link_fixture.h"
#include "tests/agent/link/fake_controller.h"

namespace berth {
namespace {

using agent::v1::AgentMessage;
using agent::v1::ControllerMessage;
using ::testing::ElementsAre;
using testing::FakeController;
using ::testing::HasSubstr;

TEST_F(ControllerLinkTest, SaysHelloFirstAndTellsTheDelegateWhatComes) {
  StartController();
  StartLink();
  const AgentMessage first = controller().Await([](const AgentMessage&) { return true; });
  ASSERT_TRUE(first.has_hello()) << first.DebugString();
  EXPECT_EQ(first.hello().host_id(), "left");
  AwaitConnected();
  controller().Send(DeltaForgetting("u1"));
  controller().Send(DeltaForgetting("u2"));
  EXPECT_THAT(delegate_.AwaitTold(3), ElementsAre("welcome store", "delta u1", "delta u2"));
  EXPECT_EQ(link().status().sessions, 1);
  EXPECT_EQ(link().status().last_error, "");
}

TEST_F(ControllerLinkTest, AnAuditIsAskedForAndAnsweredBehindTheNewsOfGrants) {
  StartController();
  StartLink();
  AwaitConnected();
  ControllerMessage request;
  request.mutable_audit()->set_sequence(7);
  controller().Send(request);
  EXPECT_THAT(delegate_.AwaitTold(2), ElementsAre("welcome store", "audit 7"));
  agent::v1::AuditReport report;
  report.set_sequence(7);
  link().TellGrant(Grant("u1", 1));
  link().TellAudit(report);
  EXPECT_EQ(controller().AwaitKind(AgentMessage::kGrants).grants().grants(0).generation(), 1);
  EXPECT_EQ(controller().AwaitKind(AgentMessage::kAudit).audit().sequence(), 7);
}

TEST_F(ControllerLinkTest, AnAuditThatIsRefusedEndsTheSession) {
  StartController();
  StartLink();
  AwaitConnected();
  delegate_.AnswerWith(Error(Reason::kFenced, "an older epoch"));
  ControllerMessage request;
  request.mutable_audit()->set_sequence(1);
  controller().Send(request);
  AwaitError("an older epoch");
}

TEST_F(ControllerLinkTest, HeartbeatsComeAsOftenAsAskedAndAreNumbered) {
  StartController();
  controller().Greet(WelcomeEvery(10));
  StartLink();
  for (int64_t sequence = 1; sequence <= 20; ++sequence) {
    EXPECT_EQ(controller().AwaitKind(AgentMessage::kHeartbeat).heartbeat().sequence(), sequence);
  }
}

TEST_F(ControllerLinkTest, HeartbeatsComeNoMoreOftenThanAsked) {
  FakeClock& clock = UseFakeClock();
  StartController();
  controller().Greet(WelcomeEvery(60'000));
  StartLink();
  AwaitConnected();
  const absl::Time start = clock.Now();
  AdvanceUntil(absl::Seconds(5), absl::Milliseconds(2),
               [this] { return controller().Has(AgentMessage::kHeartbeat); });
  EXPECT_GE(clock.Now() - start, absl::Minutes(1));
}

TEST_F(ControllerLinkTest, AsksForAnAnswerOnlyAfterASilence) {
  FakeClock& clock = UseFakeClock();
  StartController();
  StartLink();
  AwaitConnected();
  const absl::Time start = clock.Now();
  const auto sends_one = [this](bool that_asks) {
    while (controller().Has(AgentMessage::kHeartbeat)) {
      const auto heartbeat = controller().AwaitKind(AgentMessage::kHeartbeat).heartbeat();
      if (heartbeat.needs_no_answer() != that_asks) return true;
    }
    return false;
  };
  const auto asks = [&] { return sends_one(true); };
  AdvanceUntil(absl::Milliseconds(200), absl::Milliseconds(2), asks);
  EXPECT_GE(clock.Now() - start, options_.silence_max / 2);
  // The answer is as good as any.
  const auto is_content = [&] { return sends_one(false); };
  AdvanceUntil(absl::Milliseconds(200), absl::Milliseconds(2), is_content);
}

TEST_F(ControllerLinkTest, TheFirstHeartbeatDoesNotWaitForTheIntervalOfBefore) {
  UseFakeClock();
  StartController();
  controller().Greet(WelcomeEvery(10));
  StartLink();
  AwaitConnected();
  const absl::Duration waited =
      AdvanceUntil(absl::Milliseconds(10), absl::Milliseconds(20),
                   [this] { return controller().Has(AgentMessage::kHeartbeat); });
  EXPECT_LT(waited, absl::Milliseconds(900)) << "a second is what it waits without being asked";
}

TEST_F(ControllerLinkTest, OnlyTheLastStatusOfAGrantIsReported) {
  StartController();
  controller().BeSilent();
  StartLink();
  controller().AwaitHello();
  link().TellGrant(Grant("u1", 1));
  link().TellGrant(Grant("u2", 1));
  link().TellGrant(Grant("u1", 2));
  link().TellGrant(Grant("u1", 3));
  controller().SendWelcome(FakeController::DefaultWelcome());
  const agent::v1::GrantReport report = controller().AwaitKind(AgentMessage::kGrants).grants();
  ASSERT_EQ(report.grants_size(), 2);
  EXPECT_EQ(report.grants(0).assignment_uid(), "u1");
  EXPECT_EQ(report.grants(0).generation(), 3);
  EXPECT_EQ(report.grants(1).assignment_uid(), "u2");
  link().TellGrant(Grant("u2", 2));
  const agent::v1::GrantReport next = controller().AwaitKind(AgentMessage::kGrants).grants();
  ASSERT_EQ(next.grants_size(), 1) << "what has been told is not told again";
  EXPECT_EQ(next.grants(0).generation(), 2);
}

TEST_F(ControllerLinkTest, LongReportsAreCut) {
  StartController();
  controller().BeSilent();
  StartLink();
  controller().AwaitHello();
  for (int i = 0; i < 1500; ++i) link().TellGrant(Grant("u" + std::to_string(i), 1));
  controller().SendWelcome(FakeController::DefaultWelcome());
  EXPECT_EQ(controller().AwaitKind(AgentMessage::kGrants).grants().grants_size(), 1024);
  EXPECT_EQ(controller().AwaitKind(AgentMessage::kGrants).grants().grants_size(), 476);
}

TEST_F(ControllerLinkTest, OnlyTheLastInventoryIsTold) {
  StartController();
  controller().BeSilent();
  StartLink();
  controller().AwaitHello();
  for (const char* endpoint : {"/first", "/second"}) {
    agent::v1::Inventory inventory;
    inventory.set_attach_endpoint(endpoint);
    link().TellInventory(inventory);
  }
  link().TellGrant(Grant("u1", 1));
  controller().SendWelcome(FakeController::DefaultWelcome());
  const AgentMessage next = controller().Await([](const AgentMessage&) { return true; });
  ASSERT_TRUE(next.has_inventory()) << "before the grants that may stand on it";
  EXPECT_EQ(next.inventory().attach_endpoint(), "/second");
}

TEST_F(ControllerLinkTest, WhateverEndsASessionTheNextBeginsFromTheBeginning) {
  StartController();
  StartLink();
  EXPECT_EQ(controller().AwaitHello().incarnation(), 1);
  AwaitConnected();
  // An error is shown until the next Welcome, which the test holds back.
  controller().BeSilent();
  controller().EndSession(absl::OkStatus());
  EXPECT_THAT(AwaitError("ended"), HasSubstr(Socket("a") + ": the controller ended the session"));
  EXPECT_EQ(controller().AwaitHello().incarnation(), 2) << "a Hello of its own";
  controller().SendWelcome(FakeController::DefaultWelcome());
  AwaitConnected();
  controller().EndSession(Error(Reason::kHostNameTaken, "another agent is \"left\""));
  AwaitError("another agent is \"left\"");
  controller().AwaitHello();
  controller().SendWelcome(FakeController::DefaultWelcome());
  AwaitStatus([](const ControllerLink::Status& status) { return status.sessions == 3; });
}

TEST_F(ControllerLinkTest, WhatChangedWhileNobodyListenedIsInTheNextHello) {
  // What changes after a Hello was made and before it is answered is told once more. So that there
  // is no such Hello on its way, nobody dials again until the change is made.
  absl::Notification changed;
  options_.channel = [&, dial = options_.channel](const std::string& address) {
    if (!attempts().empty()) changed.WaitForNotification();
    return dial(address);
  };
  StartController();
  StartLink();
  controller().AwaitHello();
  AwaitConnected();
  StopController();
  AwaitStatus([](const ControllerLink::Status& status) { return !status.connected; });
  link().TellGrant(Grant("u1", 1));
  StartController();
  changed.Notify();
  controller().AwaitHello();
  AwaitStatus([](const ControllerLink::Status& status) { return status.sessions == 2; });
  link().TellGrant(Grant("u2", 1));
  const agent::v1::GrantReport report = controller().AwaitKind(AgentMessage::kGrants).grants();
  ASSERT_EQ(report.grants_size(), 1);
  EXPECT_EQ(report.grants(0).assignment_uid(), "u2") << "Hello is whole, nothing comes after it";
}

TEST_F(ControllerLinkTest, AddressesAreDialledInTurn) {
  options_.addresses = {"unix:" + Socket("x"), "unix:" + Socket("y"), "unix:" + Socket("a")};
  StartLink();
  const std::vector<Attempt> all = AwaitAttempts(6);
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(all[i].address, options_.addresses[i % 3]);
  StartController();
  controller().AwaitHello();
  AwaitConnected();
  EXPECT_EQ(attempts().back().address, options_.addresses[2]) << "and there it stays";
}

absl::Status SendOnTo(const std::string& leader) {
  return Error(Reason::kNotLeader, "this controller stands by", {{"leader", leader}});
}

TEST_F(ControllerLinkTest, OneThatStandsBySendsItToTheLeaderAtOnce) {
  UseFakeClock();  // a wait would never end
  FakeController leader(Socket("leader"));
  StartController();
  controller().Refuse(SendOnTo(leader.address()));
  StartLink();
  leader.AwaitHello();
  AwaitConnected();
  EXPECT_EQ(attempts().size(), 2U);
}

TEST_F(ControllerLinkTest, ControllersThatSendItToAndFroDoNotKeepItFromTheOthers) {
  FakeController other(Socket("other"));
  FakeController third(Socket("third"));
  StartController();
  controller().Refuse(SendOnTo(other.address()));
  other.Refuse(SendOnTo(controller().address()));
  options_.addresses = {controller().address(), third.address()};
  StartLink();
  third.AwaitHello();
  AwaitConnected();
}

TEST_F(ControllerLinkTest, OneThatStandsByWithoutALeaderIsAskedAgainLater) {
  StartController();
  controller().Refuse(Error(Reason::kNotLeader, "none leads now"));
  StartLink();
  AwaitAttempts(5);
  controller().Refuse(absl::OkStatus());
  AwaitConnected();
}

TEST_F(ControllerLinkTest, FailureMakesItWaitLongerUpToALimit) {
  UseFakeClock();
  options_.backoff_min = absl::Milliseconds(100);
  options_.backoff_max = absl::Milliseconds(800);
  options_.channel = [this](const std::string& address) {
    NoteAttempt(address);
    return Error(Reason::kInvalidField, "no certificate");
  };
  StartLink();
  const absl::Duration all = AdvanceUntil(absl::Milliseconds(50), absl::Milliseconds(1),
                                          [this] { return attempts().size() >= 12; });
  const std::vector<Attempt> made = attempts();
  const int64_t expected_ms[] = {200, 400, 800, 800, 800};
  for (size_t i = 0; i < std::size(expected_ms); ++i) {
    EXPECT_GE(made[i + 1].time - made[i].time, absl::Milliseconds(expected_ms[i])) << i;
  }
  EXPECT_LT(all, absl::Seconds(100)) << "twelve attempts without a limit take 400 s";
  EXPECT_THAT(AwaitError("certificate"), HasSubstr(options_.addresses[0] + ": no certificate"));
}

TEST_F(ControllerLinkTest, ARefusedWelcomeEndsTheSessionAndIsShown) {
  StartController();
  delegate_.AnswerWith(Error(Reason::kFenced, "the controller is older"));
  StartLink();
  AwaitError("the controller is older");
  EXPECT_EQ(link().status().sessions, 0) << "that was no session";
  EXPECT_FALSE(link().status().connected);
  delegate_.AnswerWith(absl::OkStatus());
  AwaitConnected();
  EXPECT_EQ(link().status().last_error, "");
}

TEST_F(ControllerLinkTest, ARefusedDeltaEndsTheSession) {
  StartController();
  StartLink();
  AwaitConnected();
  delegate_.AnswerWith(Error(Reason::kFenced, "the controller is older"));
  controller().Send(DeltaForgetting("u1"));
  AwaitError("the controller is older");
}

TEST_F(ControllerLinkTest, ASecondWelcomeEndsTheSession) {
  StartController();
  options_.backoff_min = options_.backoff_max = absl::Hours(1);
  StartLink();
  AwaitConnected();
  controller().SendWelcome(FakeController::DefaultWelcome());
  AwaitError("broke the protocol");
  EXPECT_THAT(delegate_.AwaitTold(1), ElementsAre("welcome store")) << "nobody heard of the second";
}

TEST_F(ControllerLinkTest, ADeltaBeforeWelcomeEndsTheSession) {
  StartController();
  controller().BeSilent();
  options_.backoff_min = options_.backoff_max = absl::Hours(1);
  StartLink();
  controller().AwaitHello();
  controller().Send(DeltaForgetting("u1"));
  AwaitError("broke the protocol");
  EXPECT_EQ(delegate_.AwaitTold(0).size(), 0U);
}

TEST_F(ControllerLinkTest, AMessageThatIsNotTheNextEndsTheSession) {
  StartController();
  agent::v1::ControllerMessage late = DeltaForgetting("u1");
  late.set_number(3);
  options_.backoff_min = options_.backoff_max = absl::Hours(1);
  StartLink();
  AwaitConnected();
  controller().Send(late);
  AwaitError("message 3 came where 1 is due");
  EXPECT_THAT(delegate_.AwaitTold(1), ElementsAre("welcome store")) << "it was not taken";
}

TEST_F(ControllerLinkTest, ItsMessagesAreNumbered) {
  StartController();
  StartLink();
  EXPECT_EQ(controller().AwaitKind(agent::v1::AgentMessage::kHello).number(), 1);
  EXPECT_EQ(controller().AwaitKind(agent::v1::AgentMessage::kHeartbeat).number(), 2);
}

TEST_F(ControllerLinkTest, WhatANewerControllerSaysIsPassedOver) {
  StartController();
  StartLink();
  AwaitConnected();
  controller().Send(ControllerMessage());
  controller().Send(DeltaForgetting("u1"));
  EXPECT_THAT(delegate_.AwaitTold(2), ElementsAre("welcome store", "delta u1"));
  EXPECT_EQ(link().status().sessions, 1);
}

TEST_F(ControllerLinkTest, SilenceEndsASession) {
  FakeClock& clock = UseFakeClock();
  StartController();
  StartLink();
  controller().AwaitHello();
  AwaitConnected();
  controller().BeSilent();
  const absl::Time start = clock.Now();
  AdvanceUntil(absl::Milliseconds(500), absl::Milliseconds(2), [this] {
    return link().status().last_error.find("said nothing for") != std::string::npos;
  });
  EXPECT_GE(clock.Now() - start, options_.silence_max);
}

TEST_F(ControllerLinkTest, AControllerThatNeverGreetsIsGivenUp) {
  UseFakeClock();
  StartController();
  controller().BeSilent();
  StartLink();
  controller().AwaitHello();
  AdvanceUntil(absl::Milliseconds(500), absl::Milliseconds(2),
               [this] { return attempts().size() >= 2; });
  EXPECT_THAT(link().status().last_error, HasSubstr("said nothing for"));
  EXPECT_FALSE(controller().Has(AgentMessage::kHeartbeat)) << "not before Welcome";
}

TEST_F(ControllerLinkTest, StopsWhileConnected) {
  StartController();
  controller().Greet(WelcomeEvery(60'000));
  StartLink();
  AwaitConnected();
  link().Stop();
  EXPECT_FALSE(link().status().connected);
  EXPECT_EQ(link().status().last_error, "") << "that was no failure";
  link().Stop();
  link().TellGrant(Grant("u1", 1));
}

TEST_F(ControllerLinkTest, StopsWhileItWaitsForWelcome) {
  StartController();
  controller().BeSilent();
  StartLink();
  controller().AwaitHello();
  link().Stop();
}

TEST_F(ControllerLinkTest, StopsWhileItConnects) {
  // Something that listens, and never says a word.
  UniqueFd mute(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, Socket("a").c_str(), sizeof(address.sun_path) - 1);
  ASSERT_EQ(::bind(mute.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(::listen(mute.get(), 8), 0);
  StartLink();
  AwaitAttempts(1);
  link().Stop();
}

TEST_F(ControllerLinkTest, StopsWhileItBacksOff) {
  options_.backoff_min = options_.backoff_max = absl::Hours(1);
  StartLink();
  AwaitStatus([](const ControllerLink::Status& status) { return !status.last_error.empty(); });
  link().Stop();
}

TEST_F(ControllerLinkTest, StopsAtAnyMoment) {
  StartController();
  controller().Greet(WelcomeEvery(10));
  for (int i = 0; i < 50; ++i) {
    StartLink();
    if (i % 2 == 0) AwaitAttempts(static_cast<size_t>(i) / 2 + 1);
    link().TellGrant(Grant("u1", i));
    link().Stop();
  }
}

TEST_F(ControllerLinkTest, ManyTellersAndManyEndsDoNotDisturbEachOther) {
  StartController();
  controller().Greet(WelcomeEvery(10));
  StartLink();
  std::vector<std::thread> tellers;
  for (int t = 0; t < 3; ++t) {
    tellers.emplace_back([this, t] {
      for (int64_t i = 1; i <= 300; ++i) link().TellGrant(Grant("u" + std::to_string(t), i));
    });
  }
  for (int i = 0; i < 10; ++i) {
    controller().AwaitHello();
    controller().EndSession(absl::OkStatus());
  }
  for (std::thread& teller : tellers) teller.join();
  controller().AwaitHello();
  AwaitConnected();
  link().TellGrant(Grant("last", 1));
  controller().Await([](const AgentMessage& message) {
    for (const auto& grant : message.grants().grants()) {
      if (grant.assignment_uid() == "last") return true;
    }
    return false;
  });
}

}  // namespace
}  // namespace berth
