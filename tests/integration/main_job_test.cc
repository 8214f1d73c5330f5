// SPDX-License-Identifier: Apache-2.0
//
// The main job: an operator assigns, a VM drives its queues, an operator releases.
#include <gmock/gmock.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include "tests/integration/assignment_watch.h"
#include "tests/integration/cluster.h"

namespace berth::testing {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using Counts = std::map<std::string, uint64_t>;

google::protobuf::Struct ParseJson(const std::string& text) {
  google::protobuf::Struct parsed;
  EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(text, &parsed).ok()) << text;
  return parsed;
}

Counts ToCounts(const google::protobuf::Struct& numbers) {
  Counts counts;
  for (const auto& [name, value] : numbers.fields()) {
    if (value.number_value() != 0) counts[name] = static_cast<uint64_t>(value.number_value());
  }
  return counts;
}

// What the hardware has executed from vCMDQs, and from the queue that the host's kernel drives.
struct Executed {
  Counts direct;
  uint64_t trapped = 0;
};
Executed ExecutedBy(Host& host) {
  Executed executed;
  const internal::v1::EmulatorStats stats = host.Stats();
  for (const internal::v1::UnitStats& unit : stats.units()) {
    for (const auto& [name, count] : unit.vcmdq_commands()) {
      if (count != 0) executed.direct[name] += count;
    }
    for (const auto& [name, count] : unit.trapped_commands()) {
      if (name != "CMD_SYNC") executed.trapped += count;
    }
  }
  return executed;
}

v1::Assignment ReadAssignment(Cluster& cluster, const std::string& id, const std::string& token) {
  v1::Assignment assignment = *cluster.Get(id);
  assignment.set_attach_token(token.substr(0, token.find('\n')));
  return assignment;
}

TEST(MainJob, OneAssignmentFromCreateToRelease) {
  Cluster cluster({"gh200", "sriov", "small"});
  const std::string free = cluster.GetCapacity().DebugString();
  AssignmentWatch watch(cluster, "training-vm");

  const std::string token_file = cluster.folder() + "/token";
  const Output created =
      cluster.Berthctl({"create", "-f", SourceFile("deploy/examples/assignment.yaml"),
                        "--token-file", token_file, "--wait"});
  ASSERT_EQ(created.code, 0) << created.err;
  EXPECT_EQ(created.out, "assignment/training-vm created\nassignment/training-vm prepared\n");
  cluster.ExpectRecordsAgree(1);
  const v1::Assignment assignment = ReadAssignment(cluster, "training-vm", ReadFile(token_file));
  EXPECT_EQ(assignment.placement().host(), "hosts/gh200");
  EXPECT_EQ(assignment.placement().units_size(), 1) << "the GPU and the NIC share a unit";

  const Output described = cluster.Berthctl({"describe", "assignment", "training-vm"});
  EXPECT_EQ(described.code, 0);
  EXPECT_THAT(described.out, ContainsRegex("Observed: +PREPARED"));
  EXPECT_THAT(described.out, HasSubstr(cluster.host("gh200").vmm_socket()));
  EXPECT_EQ(described.out.find(assignment.attach_token()), std::string::npos);

  const Output vmm = cluster.RunVmm(
      assignment, {"--json", "--trace", SourceFile("tests/data/traces/map_unmap_ats"), "--trace",
                   SourceFile("tests/data/traces/domain_switch_ats"), "--trace",
                   SourceFile("tests/data/traces/scatter_gather_norange")});
  ASSERT_EQ(vmm.code, 0) << vmm.err;
  const google::protobuf::Struct report = ParseJson(vmm.out);
  const Executed executed = ExecutedBy(cluster.host("gh200"));
  EXPECT_EQ(executed.direct, ToCounts(report.fields().at("executed").struct_value()));
  EXPECT_GT(executed.direct.at("TLBI_NH_VA"), 0U);
  EXPECT_GT(executed.direct.at("ATC_INV"), 0U);
  EXPECT_EQ(static_cast<double>(executed.trapped),
            report.fields().at("trapped_commands").number_value());
  EXPECT_GT(executed.trapped, 0U);
  EXPECT_TRUE(report.fields().at("recovery").struct_value().fields().at("recovered").bool_value());
  EXPECT_TRUE(report.fields().at("detached").bool_value());

  // The VMM has left, so a fresh context waits for the next.
  EXPECT_EQ(cluster.Berthctl({"wait", "assignment/training-vm", "--for", "prepared"}).code, 0);
  const Output deleted = cluster.Berthctl({"delete", "assignment", "training-vm"});
  EXPECT_EQ(deleted.code, 0) << deleted.err;
  EXPECT_EQ(cluster.Berthctl({"wait", "assignment/training-vm", "--for", "deleted"}).code, 0);
  const Output gone = cluster.Berthctl({"get", "assignment", "training-vm"});
  EXPECT_EQ(gone.code, 4);
  EXPECT_THAT(gone.err, HasSubstr("NOT_FOUND"));
  cluster.ExpectRecordsAgree(0);
  EXPECT_EQ(cluster.GetCapacity().DebugString(), free);
  WaitFor("the watch has seen the end", [&] { return watch.deleted(); });
  EXPECT_THAT(watch.observed(),
              ::testing::IsSupersetOf({v1::Assignment::PREPARED, v1::Assignment::ATTACHED}));
}

TEST(MainJob, ManyVmsOnOneHostDoNotMeet) {
  Cluster cluster({"gh200"});
  std::vector<std::unique_ptr<Process>> vmms;
  for (int i = 0; i < 4; ++i) {
    const std::string id = "vm-" + std::to_string(i);
    const absl::StatusOr<v1::Assignment> assignment = cluster.Create(id, OneOf("gpu"));
    ASSERT_TRUE(assignment.ok()) << assignment.status();
    cluster.AwaitObserved(id, v1::Assignment::PREPARED);
    vmms.push_back(cluster.StartVmm(
        id, *assignment, {"--json", "--trace", SourceFile("tests/data/traces/map_unmap_ats")}));
  }
  Counts total;
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(vmms[static_cast<size_t>(i)]->Wait(), 0);
    const google::protobuf::Struct report = ParseJson(cluster.OutputOf("vm-" + std::to_string(i)));
    for (const auto& [name, count] : ToCounts(report.fields().at("executed").struct_value())) {
      total[name] += count;
    }
  }
  EXPECT_EQ(ExecutedBy(cluster.host("gh200")).direct, total);
  cluster.ExpectRecordsAgree(4);
}

}  // namespace
}  // namespace berth::testing
