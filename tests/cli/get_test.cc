// SPDX-License-Identifier: Apache-2.0
//
// get and describe: what is fetched, and how it looks.
#include "lib/base/status.h"
#include "tests/cli/cli_test_base.h"

namespace berth::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

class GetTest : public CliTest {};

TEST_F(GetTest, ShowsAssignmentsAsATable) {
  server_.Put(MakeAssignment("web"));
  v1::Assignment waiting = MakeAssignment("a-longer-name");
  waiting.set_intent(v1::Assignment::PENDING);
  waiting.clear_observed();
  waiting.clear_placement();
  waiting.clear_create_time();
  server_.Put(waiting);

  const CliResult result = Run({"get", "assignments"});

  EXPECT_EQ(result.exit_code, kExitOk) << result.err;
  EXPECT_EQ(result.out,
            "NAME           INTENT   OBSERVED   HOST     DEVICES  VCMDQS  AGE\n"
            "a-longer-name  PENDING  <unknown>  <none>   <none>   <none>  <unknown>\n"
            "web            PLACED   PREPARED   gh200-a  3        4       3m\n");
  EXPECT_EQ(result.err, "");
}

TEST_F(GetTest, WideTablesHaveMoreColumns) {
  server_.Put(MakeAssignment("web"));
  EXPECT_EQ(Run({"get", "a", "-o", "wide", "--no-headers"}).out,
            "web  PLACED  PREPARED  gh200-a  3  4  smmu3.0x11000000,smmu3.0x12000000  alice  "
            "6ba7b810-9dad-11d1-80b4-00c04fd430c8  2  3m\n");
  v1::Host host = MakeHost("gh200-a");
  host.clear_units();
  host.add_taints()->set_key("fan");
  v1::Unit* unit = host.add_units();
  unit->set_id("smmu3.0");
  unit->add_taints()->set_key("slow");
  server_.Put(host);
  EXPECT_EQ(Run({"get", "ho", "-o", "wide"}).out,
            "NAME     STATE  DEVICES  VINTFS  UNITS  VERSION  INCARNATION  HEARTBEAT  LABELS   "
            "TAINTS            UID       AGE\n"
            "gh200-a  READY  1/3      0/0     1      0.1.0    3            2s         rack=r1  "
            "fan,smmu3.0:slow  host-uid  2d\n");
}

TEST_F(GetTest, ShowsHostsAsATable) {
  server_.Put(MakeHost("gh200-a"));
  v1::Host cordoned = MakeHost("gh200-b");
  cordoned.set_cordoned(true);
  cordoned.clear_agent_version();
  server_.Put(cordoned);
  EXPECT_EQ(Run({"get", "hosts"}).out,
            "NAME     STATE           DEVICES  VINTFS  UNITS  VERSION    AGE\n"
            "gh200-a  READY           1/3      62/63   1      0.1.0      2d\n"
            "gh200-b  READY,CORDONED  1/3      62/63   1      <unknown>  2d\n");
}

TEST_F(GetTest, AcceptsKubectlsWaysToNameThings) {
  server_.Put(MakeAssignment("web"));
  server_.Put(MakeAssignment("db"));
  const std::vector<std::vector<std::string>> ways = {{"assignment", "web", "db"},
                                                      {"asg", "assignments/web", "db"},
                                                      {"assignments/web", "a/db"},
                                                      {"asg/web", "assignment/db"}};
  for (const auto& way : ways) {
    std::vector<std::string> args = {"get", "-o", "name"};
    args.insert(args.end(), way.begin(), way.end());
    EXPECT_EQ(Run(args).out, "assignments/web\nassignments/db\n") << way[0];
  }
}

TEST_F(GetTest, ShowsSeveralTypesAtOnce) {
  server_.Put(MakeAssignment("web"));
  server_.Put(MakeHost("gh200-a"));
  EXPECT_EQ(Run({"get", "asg,hosts", "-o", "name"}).out, "assignments/web\nhosts/gh200-a\n");
  EXPECT_THAT(Run({"get", "ho,asg"}).out,
              testing::MatchesRegex("NAME +STATE(.|\n)*\n\nNAME +INTENT(.|\n)*"));
  EXPECT_EQ(Run({"get", "asg,pods"}).exit_code, kExitUsage);
  EXPECT_EQ(Run({"get", "asg,"}).exit_code, kExitUsage);
  EXPECT_EQ(Run({"watch", "asg,hosts"}).exit_code, kExitUsage);
}

TEST_F(GetTest, RefusesWhatIsNoNoun) {
  for (const std::vector<std::string>& args :
       std::vector<std::vector<std::string>>{{"get"},
                                             {"get", "pods"},
                                             {"get", "pod/x"},
                                             {"get", "asg", "hosts/x"},
                                             {"get", "asg/x", "y"},
                                             {"get", "asg/"},
                                             {"get", "asg", "-o", "xml"},
                                             {"get", "asg", "-l", "novalue"},
                                             {"get", "asg", "--timeout", "soon"},
                                             {"describe", "asg", "a/b/c"},
                                             {"frobnicate"}}) {
    const CliResult result = Run(args);
    EXPECT_EQ(result.exit_code, kExitUsage) << testing::PrintToString(args);
    EXPECT_THAT(result.err, testing::StartsWith("Error: ")) << testing::PrintToString(args);
    EXPECT_EQ(result.out, "");
  }
}

TEST_F(GetTest, ReadsAllPages) {
  server_.LimitPages(2);
  for (const char* id : {"a", "b", "c", "d", "e"}) server_.Put(MakeAssignment(id));
  EXPECT_EQ(Run({"get", "asg", "-o", "name"}).out,
            "assignments/a\nassignments/b\nassignments/c\nassignments/d\nassignments/e\n");
  EXPECT_EQ(server_.Received<v1::ListAssignmentsRequest>().size(), 3u);
}

TEST_F(GetTest, SelectsByLabelAndHost) {
  EXPECT_EQ(Run({"get", "asg", "-l", "team=hpc,app=web", "--host", "gh200-a"}).exit_code, kExitOk);
  const auto request = server_.Received<v1::ListAssignmentsRequest>().at(0);
  EXPECT_EQ(request.host(), "hosts/gh200-a");
  EXPECT_EQ(request.label_selector().at("team"), "hpc");
  EXPECT_EQ(request.label_selector().at("app"), "web");
}

TEST_F(GetTest, OneIsAnObjectAndSeveralAreItems) {
  server_.Put(FromYaml<v1::Assignment>("{name: assignments/web, intent: PLACED}"));
  EXPECT_EQ(Run({"get", "asg/web", "-o", "json"}).out,
            "{\n  \"name\": \"assignments/web\",\n  \"intent\": \"PLACED\"\n}\n");
  EXPECT_EQ(Run({"get", "asg", "-o", "json"}).out,
            "{\n  \"items\": [\n    {\n      \"name\": \"assignments/web\",\n"
            "      \"intent\": \"PLACED\"\n    }\n  ]\n}\n");
  EXPECT_EQ(Run({"get", "asg/web", "-o", "yaml"}).out, "name: assignments/web\nintent: PLACED\n");
}

TEST_F(GetTest, DataOfHostsHasTheirDevices) {
  Run({"get", "hosts"});
  Run({"get", "hosts", "-o", "json"});
  const auto requests = server_.Received<v1::ListHostsRequest>();
  EXPECT_EQ(requests.at(0).view(), v1::BASIC);
  EXPECT_EQ(requests.at(1).view(), v1::FULL);
}

TEST_F(GetTest, NothingIsSaidOnStderr) {
  const CliResult result = Run({"get", "asg"});
  EXPECT_EQ(result.exit_code, kExitOk);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err, "No assignments found.\n");
}

TEST_F(GetTest, GoesOnAfterWhatIsMissing) {
  server_.Put(MakeAssignment("web"));
  const CliResult result = Run({"get", "asg", "gone", "web", "-o", "name"});
  EXPECT_EQ(result.exit_code, kExitNotFound);
  EXPECT_EQ(result.out, "assignments/web\n");
  EXPECT_EQ(result.err, "Error: assignments/gone does not exist (NOT_FOUND)\n");
}

TEST_F(GetTest, KeepsTerminalsSafe) {
  v1::Assignment assignment = MakeAssignment("web");
  assignment.set_owner("a\x1b[2Jb c\nd");
  server_.Put(assignment);
  EXPECT_THAT(Run({"get", "asg", "-o", "wide"}).out, HasSubstr("  a?[2Jb_c_d  "));
  EXPECT_THAT(Run({"describe", "asg/web"}).out, HasSubstr("a?[2Jb c d\n"));
}

TEST_F(GetTest, ShowsCallsWhenAsked) {
  const CliResult result = Run({"get", "hosts", "-v"});
  EXPECT_THAT(result.err, HasSubstr("rpc ListHosts " + server_.address()));
  EXPECT_THAT(result.out, Not(HasSubstr("rpc")));
}

TEST_F(GetTest, DescribesAnAssignment) {
  v1::Assignment assignment = MakeAssignment("web");
  *assignment.mutable_failure() = FromYaml<v1::Failure>(
      "{reason: PREPARE_FAILED, message: VIOMMU_ALLOC failed, metadata: {step: viommu}, attempts: "
      "2}");
  server_.Put(assignment);
  EXPECT_EQ(Run({"describe", "asg", "web"}).out,
            R"(Name:               web
UID:                6ba7b810-9dad-11d1-80b4-00c04fd430c8
Owner:              alice
Labels:             app=web,team=hpc
Intent:             PLACED
Observed:           PREPARED
Generation:         2
Token version:      1
Age:                3m
Created:            2026-01-02T11:57:00Z (3m ago)
Requests:
  gpu: 1 x gpu, queues REQUIRED, memory_mib GT 1024
  nic: 1 x nic, queues PREFERRED
Constraints:
  same unit for gpu
Isolation:          TRUSTED
Attach mode:        BROKERED
Placement:
  Host:             gh200-a
  Attach endpoint:  /run/berth/vmm.sock
  Unit smmu3.0x11000000:
    Profile:        TEGRA241_CMDQV
    vCMDQs:         2
    Devices:
      ADDRESS       REQUEST  DEVICE
      0000:01:00.0  gpu      d1
  Unit smmu3.0x12000000:
    Profile:        TEGRA241_CMDQV
    vCMDQs:         2
    Devices:
      ADDRESS       REQUEST  DEVICE
      0000:02:00.0  nic      d2
      0000:02:00.1  <group>  d3
Failure:
  Reason:           PREPARE_FAILED
  Message:          VIOMMU_ALLOC failed
  Details:          step=viommu
  Hosts tried:      2
Conditions:         <none>
)");
}

TEST_F(GetTest, DescribesWhatIsLeftOfTheTime) {
  v1::Assignment assignment = MakeAssignment("web");
  assignment.MergeFrom(FromYaml<v1::Assignment>(R"(
expire_time: 2026-01-02T12:00:45Z
attach_expire_time: 2026-01-02T12:05:00Z
eviction_requested: true
evict_time: 2026-01-02T13:00:00Z
spec: {lease_duration: 60s, attach_timeout: 600s, evictable: true}
)"));
  server_.Put(assignment);
  const std::string out = Run({"describe", "asg", "web"}).out;
  EXPECT_THAT(out, HasSubstr("Expires:            2026-01-02T12:00:45Z (in 45s)\n"));
  EXPECT_THAT(out, HasSubstr("Attach until:       2026-01-02T12:05:00Z (in 5m)\n"));
  EXPECT_THAT(
      out, HasSubstr("Eviction:           requested: released at 2026-01-02T13:00:00Z (in 1h)\n"));
  EXPECT_THAT(out, HasSubstr("Lease:              1m\n"));
}

TEST_F(GetTest, DescribesADrain) {
  v1::Host host = MakeHost("gh200-a");
  host.MergeFrom(FromYaml<v1::Host>(R"(
draining: true
drain: {start_time: 2026-01-02T11:55:00Z, deadline: 2026-01-02T12:10:00Z, assignments_left: 3,
        assignments_leaving: 2}
)"));
  server_.Put(host);
  EXPECT_THAT(Run({"describe", "host/gh200-a"}).out, HasSubstr(R"(Drain:
  Since:            2026-01-02T11:55:00Z (5m ago)
  Deadline:         2026-01-02T12:10:00Z (in 10m)
  Assignments left: 3
  Will leave:       2
)"));
  EXPECT_THAT(Run({"get", "hosts"}).out, HasSubstr("READY,DRAINING "));
  host.mutable_drain()->clear_assignments_left();
  host.mutable_drain()->clear_deadline();
  server_.Put(host);
  EXPECT_THAT(Run({"get", "hosts"}).out, HasSubstr("READY,DRAINED "));
  EXPECT_THAT(Run({"describe", "host/gh200-a"}).out, HasSubstr("none: nothing is released\n"));
}

TEST_F(GetTest, WhatIsWrongWithUnitsAndDevicesIsAmongTheHostsConditions) {
  v1::Host host = MakeHost("gh200-a");
  v1::Taint* taint = host.mutable_units(0)->add_taints();
  taint->set_key("berth/hardware-timeout");
  taint->set_effect(v1::Taint::NO_NEW);
  v1::Condition* condition = host.mutable_units(0)->add_conditions();
  condition->set_type("Responding");
  condition->set_reason("HARDWARE_TIMEOUT");
  condition->set_message("VIOMMU_ALLOC: ETIMEDOUT");
  *condition->mutable_last_transition_time() = host.create_time();
  host.mutable_devices(0)->add_conditions()->set_type("FaultFree");
  server_.Put(host);

  const std::string out = Run({"describe", "host/gh200-a"}).out;

  EXPECT_THAT(out, HasSubstr("unit smmu3.0x11000000: berth/hardware-timeout:NO_NEW"));
  EXPECT_THAT(out, HasSubstr("smmu3.0x11000000:Responding  false   HARDWARE_TIMEOUT  "));
  EXPECT_THAT(out, HasSubstr("VIOMMU_ALLOC: ETIMEDOUT\n"));
  EXPECT_THAT(out, HasSubstr("0000:01:00.0:FaultFree       false   <none>"));
  EXPECT_THAT(out, HasSubstr("Ready                        true"));
}

TEST_F(GetTest, DescribesAHost) {
  server_.Put(MakeHost("gh200-a"));
  const std::string out = Run({"describe", "host/gh200-a"}).out;
  EXPECT_THAT(out, HasSubstr("Heartbeat:          2026-01-02T11:59:58Z (2s ago)\n"));
  EXPECT_THAT(out, HasSubstr(R"(Units:
  UNIT              PROFILE         VINTFS  SOURCE    VCMDQS/VINTF  SIDS/VINTF  NUMA
  smmu3.0x11000000  TEGRA241_CMDQV  62/63   OBSERVED  2             16          <none>
Devices:
  ADDRESS       CLASS  UNIT              GROUP  STATUS
  0000:01:00.0  gpu    smmu3.0x11000000  4      assignments/web
  0000:02:00.0  gpu    smmu3.0x11000000  5      free
  0000:03:00.0  nic    smmu3.0x11000000  6      unassignable: no reset
)"));
  EXPECT_THAT(out, HasSubstr("Ready  true    <none>  1h     <none>\n"));
}

}  // namespace
}  // namespace berth::cli
