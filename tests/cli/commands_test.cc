// SPDX-License-Identifier: Apache-2.0
//
// The smaller commands.
#include "lib/base/reason.h"
#include "lib/base/status.h"
#include "tests/cli/cli_test_base.h"

namespace berth::cli {
namespace {

using testing::HasSubstr;

class CommandsTest : public CliTest {};

TEST_F(CommandsTest, CordonsUncordonsAndDrains) {
  server_.Put(MakeHost("a"));
  server_.Put(MakeHost("b"));
  EXPECT_EQ(Run({"cordon", "a", "hosts/b"}).out, "host/a cordoned\nhost/b cordoned\n");
  EXPECT_EQ(Run({"uncordon", "ho/a"}).out, "host/a uncordoned\n");
  EXPECT_EQ(Run({"drain", "a", "--deadline", "10m"}).out, "host/a draining\n");
  EXPECT_EQ(server_.Received<v1::DrainHostRequest>().at(0).deadline().seconds(), 600);
  const auto cordons = server_.Received<v1::CordonHostRequest>();
  EXPECT_EQ(cordons.at(1).name(), "hosts/b");
  EXPECT_NE(cordons.at(0).request_id(), cordons.at(1).request_id());
  EXPECT_EQ(Run({"cordon", "gone"}).exit_code, kExitNotFound);
  EXPECT_EQ(Run({"cordon", "asg/a"}).exit_code, kExitUsage);
  EXPECT_EQ(Run({"drain", "a", "--deadline", "soon"}).exit_code, kExitUsage);
}

TEST_F(CommandsTest, RenewsLeases) {
  server_.Put(MakeAssignment("web"));
  server_.Put(MakeAssignment("db"));
  const CliResult result = Run({"renew", "web", "none", "asg/db"});
  EXPECT_EQ(result.out,
            "assignment/web renewed until 2026-01-02T12:00:30Z (in 30s)\n"
            "assignment/db renewed until 2026-01-02T12:00:30Z (in 30s)\n");
  EXPECT_EQ(result.exit_code, kExitNotFound);
  const auto requests = server_.Received<v1::RenewAssignmentRequest>();
  EXPECT_EQ(requests.at(0).name(), "assignments/web");
  EXPECT_NE(requests.at(0).request_id(), requests.at(2).request_id());
  EXPECT_EQ(Run({"renew", "web", "db", "--request-id", "r1"}).exit_code, kExitUsage);
}

TEST_F(CommandsTest, ShowsCapacity) {
  server_.Set(FromYaml<v1::Capacity>(R"(
hosts: {total: 3, free: 2}
vintfs: {total: 190, free: 100}
classes: [{class: gpu, devices: {total: 8, free: 7}, reachable: 6}]
stranded_device_ratio: 0.125
units: [{host: hosts/a, unit: smmu3.0x1, vintfs: {total: 63, free: 62}, devices: {total: 4, free: 3}}]
)"));
  EXPECT_EQ(Run({"capacity", "--units", "--host", "a"}).out,
            "RESOURCE  TOTAL  FREE  REACHABLE\n"
            "hosts     3      2     <none>\n"
            "vintfs    190    100   <none>\n"
            "gpu       8      7     6\n"
            "\n12.5% of the free devices are behind units without a free VINTF\n"
            "\n"
            "UNIT       HOST  VINTFS  DEVICES\n"
            "smmu3.0x1  a     62/63   3/4\n");
  const auto request = server_.Received<v1::GetCapacityRequest>().at(0);
  EXPECT_EQ(request.host(), "hosts/a");
  EXPECT_TRUE(request.include_units());
}

TEST_F(CommandsTest, ExplainsWhereItWouldGo) {
  v1::ExplainPlacementResponse explanation;
  *explanation.mutable_placement() = MakeAssignment("web").placement();
  explanation.set_hosts_considered(3);
  server_.Set(explanation);
  const std::string out = Run({"explain", "-f", "-"}, "name: web\nspec: {priority: 1}\n").out;
  EXPECT_THAT(out, HasSubstr("assignment/web:     fits on gh200-a\nPlacement:\n"));
  EXPECT_EQ(server_.Received<v1::ExplainPlacementRequest>().at(0).spec().priority(), 1);
}

TEST_F(CommandsTest, ExplainsWhyNothingFits) {
  server_.Set(FromYaml<v1::ExplainPlacementResponse>(R"(
hosts_considered: 3
failures: [{constraint: vintfs, hosts: 2, message: no free VINTF}, {constraint: class, hosts: 1}]
nearest_host: hosts/b
nearest_host_lacks: 1 VINTF of smmu3.0x1
)"));
  EXPECT_EQ(Run({"explain-placement", "-f", "-"}, "spec: {}").out,
            "document 1:         fits on none of 3 hosts now\n"
            "Hosts that fail:\n"
            "  CONSTRAINT  HOSTS  MESSAGE\n"
            "  vintfs      2      no free VINTF\n"
            "  class       1      <none>\n"
            "Nearest host:       b\n"
            "It lacks:           1 VINTF of smmu3.0x1\n");
}

TEST_F(CommandsTest, KnowsItsVersion) {
  EXPECT_EQ(RunPlain({"version", "--client"}).out.find("berthctl 0."), 0u);
  EXPECT_THAT(Run({"version"}).out, HasSubstr("controller at " + server_.address() + ": answers"));
}

TEST_F(CommandsTest, ListsEveryReason) {
  const std::string out = RunPlain({"errors"}).out;
#define BERTH_EXPECT_LISTED(number, enumerator, name, code, meaning) \
  EXPECT_THAT(out, HasSubstr("\n" #name " "));                       \
  EXPECT_THAT(out, HasSubstr(meaning));
  BERTH_REASONS(BERTH_EXPECT_LISTED)
#undef BERTH_EXPECT_LISTED
  EXPECT_EQ(RunPlain({"errors", "no_capacity"}).out,
            "REASON       CODE                EXIT  MEANING\n"
            "NO_CAPACITY  RESOURCE_EXHAUSTED  8     no host can take the assignment now\n");
  EXPECT_EQ(RunPlain({"errors", "nonsense"}).exit_code, kExitNotFound);
}

TEST_F(CommandsTest, CompletionKnowsCommandsTypesAndFlags) {
  const std::string script = RunPlain({"completion", "bash"}).out;
  EXPECT_THAT(script, HasSubstr("config) words=\" get-contexts current-context use-context"));
  EXPECT_THAT(script, HasSubstr("wait) words=\" assignment assignments host hosts"));
  EXPECT_THAT(script, HasSubstr("--token-file"));
  EXPECT_THAT(script, HasSubstr("complete -o default -F _berthctl berthctl\n"));
}

TEST_F(CommandsTest, HelpNamesEveryExitCode) {
  const CliResult result = RunPlain({"--help"});
  EXPECT_EQ(result.exit_code, kExitOk);
  for (const ExitCode code :
       {kExitOk, kExitFailed, kExitUsage, kExitNotFound, kExitConflict, kExitUnavailable,
        kExitPermission, kExitExhausted, kExitInterrupted}) {
    EXPECT_THAT(result.out, HasSubstr("\n  " + std::to_string(code) + " "));
  }
}

}  // namespace
}  // namespace berth::cli
