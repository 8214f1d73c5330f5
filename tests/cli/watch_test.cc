// SPDX-License-Identifier: Apache-2.0
//
// watch and wait: streams that break, positions that are lost, and when to stop.
#include "lib/base/status.h"
#include "tests/cli/cli_test_base.h"

namespace berth::cli {
namespace {

using testing::HasSubstr;

absl::Status Compacted() { return Error(Reason::kRevisionCompacted, "too old"); }

class WatchTest : public CliTest {
 protected:
  // The next watch of assignments is told nothing and ends.
  void ExpectEnd(const absl::Status& end) {
    server_.Expect(Script<v1::WatchAssignmentsResponse>{.messages = {}, .end = end});
  }
  std::vector<v1::WatchAssignmentsRequest> Watches() const {
    return server_.Received<v1::WatchAssignmentsRequest>();
  }
};

TEST_F(WatchTest, PrintsALinePerChange) {
  v1::Assignment web = MakeAssignment("web");
  server_.Expect({.messages = {PutEvent(web, "s/1"), DeleteEvent(web, "s/2")}, .end = Compacted()});
  const CliResult result = Run({"watch", "assignments"});
  EXPECT_EQ(result.out,
            "EVENT   NAME  INTENT  OBSERVED  HOST     DEVICES  VCMDQS  AGE\n"
            "PUT     web   PLACED  PREPARED  gh200-a  3        4       3m\n"
            "DELETE  web   PLACED  PREPARED  gh200-a  3        4       3m\n");
}

TEST_F(WatchTest, PrintsAnObjectPerLine) {
  const auto web = FromYaml<v1::Assignment>("name: assignments/web");
  server_.Expect({.messages = {PutEvent(web, "s/1"), DeleteEvent(web, "s/2")}, .end = Compacted()});
  EXPECT_EQ(Run({"get", "asg", "-w", "-o", "json"}).out,
            "{\"type\":\"PUT\",\"assignment\":{\"name\":\"assignments/web\"}}\n"
            "{\"type\":\"DELETE\",\"assignment\":{\"name\":\"assignments/web\"}}\n");
}

TEST_F(WatchTest, ResumesWhereItWas) {
  server_.Expect({.messages = {PutEvent(MakeAssignment("a"), "s/1")},
                  .end = Error(Reason::kShuttingDown, "stopping")});
  server_.Expect({.messages = {PutEvent(MakeAssignment("b"), "s/2")}, .end = absl::OkStatus()});
  server_.Expect({.messages = {PutEvent(MakeAssignment("c"), "s/3")}, .end = Compacted()});
  const CliResult result = Run({"watch", "asg", "-o", "name"});
  EXPECT_EQ(result.out, "assignments/a\nassignments/b\nassignments/c\n");
  EXPECT_THAT(result.err, HasSubstr("watch interrupted (stopping); resuming\n"));
  ASSERT_EQ(Watches().size(), 3u);
  EXPECT_EQ(Watches()[0].watch_token(), "");
  EXPECT_EQ(Watches()[1].watch_token(), "s/1");
  EXPECT_EQ(Watches()[2].watch_token(), "s/2");
}

TEST_F(WatchTest, SaysThatChangesWereMissed) {
  ExpectEnd(Compacted());
  const CliResult result = Run({"watch", "asg"});
  EXPECT_EQ(result.exit_code, kExitConflict);
  EXPECT_THAT(result.err, HasSubstr("(REVISION_COMPACTED)\nHint: changes were missed"));
}

TEST_F(WatchTest, GivesUpOnAControllerThatKeepsHangingUp) {
  for (int i = 0; i < 20; ++i) ExpectEnd(absl::OkStatus());
  const CliResult result = Run({"watch", "asg"});
  EXPECT_EQ(result.exit_code, kExitUnavailable);
  EXPECT_EQ(Watches().size(), 10u);
}

TEST_F(WatchTest, FollowsOnlyWhatIsSelected) {
  v1::Assignment mine = MakeAssignment("mine");
  v1::Assignment other = MakeAssignment("other");
  (*other.mutable_labels())["team"] = "ml";
  v1::Assignment moved = mine;
  (*moved.mutable_labels())["team"] = "ml";
  server_.Expect({.messages = {PutEvent(mine, "1"), PutEvent(other, "2"), PutEvent(moved, "3"),
                               DeleteEvent(moved, "4")},
                  .end = Compacted()});
  const CliResult result = Run({"watch", "asg", "-l", "team=hpc", "--no-headers"});
  EXPECT_EQ(result.out,
            "PUT     mine  PLACED  PREPARED  gh200-a  3  4  3m\n"
            "DELETE  mine  PLACED  PREPARED  gh200-a  3  4  3m\n");
}

TEST_F(WatchTest, ANameMustExist) {
  EXPECT_EQ(Run({"watch", "asg/gone"}).exit_code, kExitNotFound);
  EXPECT_TRUE(Watches().empty());
}

TEST_F(WatchTest, EndsAfterItsTime) {
  server_.Expect(Script<v1::WatchAssignmentsResponse>{});
  const CliResult result = Run({"watch", "asg", "--timeout", "50ms"});
  EXPECT_EQ(result.exit_code, kExitUnavailable);
  // Of this clock no time has passed.
  EXPECT_THAT(result.err, HasSubstr("no answer from the controller"));
  EXPECT_THAT(result.err, HasSubstr(" within 1ms (DEADLINE_EXCEEDED)"));
}

TEST_F(WatchTest, TheEndOfItsTimeIsNotTheControllersSilence) {
  server_.Expect({.messages = {PutEvent(MakeAssignment("web"), "s/1")},
                  .end = Error(Reason::kDeadlineExceeded, "too late")});
  const CliResult result = Run({"get", "asg", "-w", "-o", "name", "--timeout", "90m"});
  EXPECT_EQ(result.exit_code, kExitUnavailable);
  EXPECT_EQ(result.out, "assignments/web\n");
  EXPECT_EQ(result.err, "Error: watch ended after 1h30m (--timeout) (DEADLINE_EXCEEDED)\n");
}

class WaitTest : public WatchTest {
 protected:
  WaitTest() {
    web_.set_observed(v1::Assignment::PREPARING);
    server_.Put(web_);
  }

  v1::Assignment With(v1::Assignment::Observed observed) const {
    v1::Assignment assignment = web_;
    assignment.set_observed(observed);
    return assignment;
  }

  v1::Assignment web_ = MakeAssignment("web");
};

TEST_F(WaitTest, ReturnsAtOnceWhenItIsSo) {
  EXPECT_EQ(Run({"wait", "asg/web", "--for=observed=preparing"}).out,
            "assignment/web observed=preparing\n");
  EXPECT_TRUE(Watches().empty());
}

TEST_F(WaitTest, WatchesUntilItIsSo) {
  server_.Expect({.messages = {PutEvent(MakeAssignment("other"), "s/8"),
                               PutEvent(With(v1::Assignment::PREPARED), "s/9")},
                  .end = {}});
  const CliResult result = Run({"wait", "asg/web", "--for", "prepared"});
  EXPECT_EQ(result.exit_code, kExitOk) << result.err;
  EXPECT_EQ(result.out, "assignment/web prepared\n");
  EXPECT_EQ(Watches().at(0).watch_token(), "store/7");
}

TEST_F(WaitTest, WhoIsAttachedWasPrepared) {
  server_.Put(With(v1::Assignment::ATTACHED));
  EXPECT_EQ(Run({"wait", "asg/web", "--for=prepared"}).exit_code, kExitOk);
  EXPECT_EQ(Run({"wait", "asg/web", "--for=attached"}).exit_code, kExitOk);
}

TEST_F(WaitTest, WhatIsOnALostHostIsNotPreparedUntilTheHostIsBack) {
  v1::Assignment lost = With(v1::Assignment::PREPARED);
  lost.add_conditions()->set_type("HostReachable");
  server_.Put(lost);
  for (const char* goal : {"--for=prepared", "--for=attached"}) {
    if (std::string(goal) == "--for=attached") {
      lost.set_observed(v1::Assignment::ATTACHED);
      server_.Put(lost);
    }
    const CliResult result = Run({"wait", "asg/web", goal, "--timeout=50ms"});
    EXPECT_EQ(result.exit_code, kExitUnavailable) << goal;
    EXPECT_THAT(result.err, HasSubstr("ED,HOST_LOST (DEADLINE_EXCEEDED)")) << goal;
  }
  server_.Expect({.messages = {PutEvent(With(v1::Assignment::ATTACHED), "s/9")}, .end = {}});
  EXPECT_EQ(Run({"wait", "asg/web", "--for=prepared"}).out, "assignment/web prepared\n");
}

TEST_F(WaitTest, FailsEarlyWithTheReason) {
  v1::Assignment failed = web_;
  failed.set_intent(v1::Assignment::FAILED);
  failed.mutable_failure()->set_reason("VINTF_EXHAUSTED");
  failed.mutable_failure()->set_message("no free VINTF on 3 hosts");
  server_.Expect({.messages = {PutEvent(failed, "s/8")}, .end = {}});
  const CliResult result = Run({"wait", "asg/web", "--for=prepared"});
  EXPECT_EQ(result.exit_code, kExitExhausted);
  EXPECT_EQ(result.err,
            "Error: assignment/web has failed: no free VINTF on 3 hosts (VINTF_EXHAUSTED)\n");
}

TEST_F(WaitTest, AFailureCanBeWhatIsWaitedFor) {
  web_.set_intent(v1::Assignment::FAILED);
  server_.Put(web_);
  EXPECT_EQ(Run({"wait", "asg/web", "--for=intent=FAILED"}).exit_code, kExitOk);
  EXPECT_EQ(Run({"wait", "asg/web", "--for=intent=PLACED"}).exit_code, kExitConflict);
}

TEST_F(WaitTest, NobodyIsPreparedWhileReleasing) {
  web_.set_intent(v1::Assignment::RELEASING);
  server_.Put(web_);
  const CliResult result = Run({"wait", "asg/web", "--for=prepared"});
  EXPECT_EQ(result.exit_code, kExitConflict);
  EXPECT_THAT(result.err, HasSubstr("is being released (STATE_CONFLICT)"));
}

TEST_F(WaitTest, DeletionEndsEveryWait) {
  server_.Expect({.messages = {DeleteEvent(web_, "s/8")}, .end = {}});
  EXPECT_EQ(Run({"wait", "asg/web", "--for=prepared"}).exit_code, kExitNotFound);
  server_.Expect({.messages = {DeleteEvent(web_, "s/8")}, .end = {}});
  EXPECT_EQ(Run({"wait", "asg/web", "--for=deleted"}).out, "assignment/web deleted\n");
  EXPECT_EQ(Run({"wait", "asg/gone", "--for=deleted"}).exit_code, kExitOk);
  EXPECT_EQ(Run({"wait", "asg/gone", "--for=prepared"}).exit_code, kExitNotFound);
}

TEST_F(WaitTest, ANewOneOfTheSameNameIsAnother) {
  v1::Assignment next = With(v1::Assignment::PREPARED);
  next.set_uid("another");
  server_.Expect({.messages = {PutEvent(next, "s/8")}, .end = {}});
  EXPECT_EQ(Run({"wait", "asg/web", "--for=deleted"}).exit_code, kExitOk);
}

TEST_F(WaitTest, StartsAgainWhenItsPositionIsLost) {
  ExpectEnd(Compacted());
  server_.Expect({.messages = {PutEvent(With(v1::Assignment::PREPARED), "s/9")}, .end = {}});
  EXPECT_EQ(Run({"wait", "asg/web", "--for=prepared"}).exit_code, kExitOk);
  EXPECT_EQ(Watches().size(), 2u);
}

TEST_F(WaitTest, TimesOutWithTheState) {
  const CliResult result = Run({"wait", "asg/web", "--for=prepared", "--timeout=50ms"});
  EXPECT_EQ(result.exit_code, kExitUnavailable);
  EXPECT_EQ(result.err,
            "Error: timed out waiting for assignment/web to become prepared; it is PLACED, "
            "PREPARING (DEADLINE_EXCEEDED)\n");
}

TEST_F(WaitTest, WaitsForHosts) {
  v1::Host host = MakeHost("gh200-a");
  host.set_state(v1::Host::LOST);
  server_.Put(host);
  host.set_state(v1::Host::READY);
  v1::WatchHostsResponse response;
  response.add_events()->set_type(v1::HostEvent::PUT);
  *response.mutable_events(0)->mutable_host() = host;
  server_.Expect(Script<v1::WatchHostsResponse>{.messages = {response}, .end = {}});
  EXPECT_EQ(Run({"wait", "host/gh200-a", "--for=ready"}).out, "host/gh200-a ready\n");
  EXPECT_EQ(Run({"wait", "host/gh200-a", "--for=state=lost"}).exit_code, kExitOk);
}

TEST_F(WaitTest, WaitsForTheEndOfADrain) {
  v1::Host host = MakeHost("gh200-a");
  server_.Put(host);
  EXPECT_EQ(Run({"wait", "host/gh200-a", "--for=drained"}).exit_code, kExitConflict);
  host.set_draining(true);
  host.mutable_drain()->set_assignments_left(1);
  server_.Put(host);
  host.mutable_drain()->clear_assignments_left();
  v1::WatchHostsResponse response;
  response.add_events()->set_type(v1::HostEvent::PUT);
  *response.mutable_events(0)->mutable_host() = host;
  server_.Expect(Script<v1::WatchHostsResponse>{.messages = {response}, .end = {}});
  EXPECT_EQ(Run({"wait", "host/gh200-a", "--for=drained"}).out, "host/gh200-a drained\n");
}

TEST_F(WaitTest, KnowsWhatCanBeWaitedFor) {
  for (const char* goal : {"happy", "intent=", "intent=GONE", "observed=PLACED", "ready"}) {
    EXPECT_EQ(Run({"wait", "asg/web", "--for", goal}).exit_code, kExitUsage) << goal;
  }
  for (const char* goal : {"prepared", "state=", "state=NICE", ""}) {
    EXPECT_EQ(Run({"wait", "host/x", "--for", goal}).exit_code, kExitUsage) << goal;
  }
}

}  // namespace
}  // namespace berth::cli
