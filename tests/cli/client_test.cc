// SPDX-License-Identifier: Apache-2.0
#include "ctl/cli/client.h"

#include "lib/base/status.h"
#include "tests/cli/cli_test_base.h"

namespace berth::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

class ClientTest : public CliTest {};

TEST_F(ClientTest, GoesToTheNextControllerWhenOneIsAway) {
  FakeServer standby;
  server_.FailNext("CordonHost", Error(Reason::kUnavailable, "not the leader"));
  standby.Put(MakeHost("a"));
  EXPECT_EQ(RunPlain({"cordon", "a", "--server", server_.address() + "," + standby.address()}).out,
            "host/a cordoned\n");
  const auto first = server_.Received<v1::CordonHostRequest>();
  const auto second = standby.Received<v1::CordonHostRequest>();
  ASSERT_EQ(first.size(), 1u);
  ASSERT_EQ(second.size(), 1u);
  EXPECT_EQ(first[0].request_id(), second[0].request_id());
}

absl::Status SendOnTo(const std::string& leader) {
  return Error(Reason::kNotLeader, "this controller stands by", {{"leader", leader}});
}

TEST_F(ClientTest, AStandbySendsItToTheLeaderThatNobodyHasNamed) {
  FakeServer leader;
  server_.FailNext("CordonHost", SendOnTo(leader.address()));
  leader.Put(MakeHost("a"));
  EXPECT_EQ(RunPlain({"cordon", "a", "--server", server_.address()}).out, "host/a cordoned\n");
  EXPECT_EQ(leader.Received<v1::CordonHostRequest>().size(), 1U);
}

TEST_F(ClientTest, AWatchFollowsTheLeaderToo) {
  FakeServer leader;
  v1::WatchHostsResponse bookmark;
  bookmark.set_watch_token("s/1");
  server_.Expect(
      Script<v1::WatchHostsResponse>{.messages = {bookmark}, .end = SendOnTo(leader.address())});
  leader.Expect(Script<v1::WatchHostsResponse>{
      .messages = {}, .end = Error(Reason::kRevisionCompacted, "too late")});
  const CliResult result = RunPlain({"watch", "hosts", "--server", server_.address()});
  EXPECT_THAT(result.err, HasSubstr("too late"));
  const auto watches = leader.Received<v1::WatchHostsRequest>();
  ASSERT_EQ(watches.size(), 1U);
  EXPECT_EQ(watches[0].watch_token(), "s/1");
}

TEST_F(ClientTest, StandbysThatPointAtEachOtherAreLeftAfterSomeRounds) {
  FakeServer other;
  for (int i = 0; i < 20; ++i) {
    server_.FailNext("CordonHost", SendOnTo(other.address()));
    other.FailNext("CordonHost", SendOnTo(server_.address()));
  }
  const CliResult result = RunPlain({"cordon", "a", "--server", server_.address()});
  EXPECT_EQ(result.exit_code, kExitUnavailable);
  EXPECT_THAT(result.err, HasSubstr("stands by"));
}

TEST_F(ClientTest, ALeaderThatCannotBeDialledLeavesTheOtherAddresses) {
  FakeServer other;
  other.Put(MakeHost("a"));
  server_.FailNext("CordonHost", SendOnTo("controller.example:7440"));
  EXPECT_EQ(RunPlain({"cordon", "a", "--server", server_.address() + "," + other.address()}).out,
            "host/a cordoned\n");
}

TEST_F(ClientTest, OtherErrorsAreNotTriedElsewhere) {
  FakeServer other;
  server_.FailNext("CordonHost", Error(Reason::kStateConflict, "no"));
  const CliResult result =
      RunPlain({"cordon", "a", "--server", server_.address(), "--server", other.address()});
  EXPECT_EQ(result.exit_code, kExitConflict);
  EXPECT_TRUE(other.Received<v1::CordonHostRequest>().empty());
}

TEST_F(ClientTest, SaysWhoCannotBeReached) {
  const std::string address = server_.address();
  server_.Stop();
  const CliResult result = RunPlain({"cordon", "a", "--server", address});
  EXPECT_EQ(result.exit_code, kExitUnavailable);
  EXPECT_THAT(result.err, HasSubstr("Error: cannot reach the controller at " + address +
                                    ": connection refused"));
  EXPECT_THAT(result.err, HasSubstr("\nHint: is berth-controller running there?"));
  EXPECT_THAT(result.err, Not(HasSubstr("failed to connect to all addresses")));
}

TEST_F(ClientTest, NamesAllThatCannotBeReached) {
  FakeServer other;
  const std::string first = server_.address();
  const std::string second = other.address();
  server_.Stop();
  other.Stop();
  const CliResult result = RunPlain({"cordon", "a", "--server", first + "," + second});
  EXPECT_THAT(result.err, HasSubstr("none of " + first + ", " + second + " answers"));
}

TEST_F(ClientTest, PlaintextStaysOnThisMachine) {
  const CliResult result = RunPlain({"get", "hosts", "--server", "controller.example:7440"});
  EXPECT_EQ(result.exit_code, kExitPermission);
}

}  // namespace
}  // namespace berth::cli
