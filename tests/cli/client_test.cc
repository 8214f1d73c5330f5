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
