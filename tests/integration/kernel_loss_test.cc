// SPDX-License-Identifier: Apache-2.0
//
// The emulated kernel ends under the agent. The host is BROKEN and says why, and serves again when
// the kernel is back.
#include <gmock/gmock.h>

#include "tests/integration/cluster.h"

namespace berth::testing {
namespace {

using v1::Assignment;

const v1::Condition* FindCondition(const v1::Host& host, const std::string& type) {
  for (const v1::Condition& condition : host.conditions()) {
    if (condition.type() == type) return &condition;
  }
  return nullptr;
}

Host::Options Gh200(Host::Emulator emulator) {
  return {.id = "gh200",
          .host_file = SourceFile("deploy/examples/hosts/gh200.yaml"),
          .emulator = emulator};
}

TEST(KernelLoss, AHostWithoutItsKernelIsBrokenUntilItIsBack) {
  Cluster cluster(std::vector<Host::Options>{Gh200(Host::Emulator::kExternal)});
  Host& host = cluster.host("gh200");
  const absl::StatusOr<Assignment> assignment = cluster.Create("vm", OneOf("gpu"));
  ASSERT_TRUE(assignment.ok()) << assignment.status();
  ASSERT_TRUE(cluster.AwaitObserved("vm", Assignment::PREPARED));

  host.KillEmulator();
  WaitFor("the host is BROKEN",
          [&] { return cluster.GetHost("gh200").state() == v1::Host::BROKEN; });
  const v1::Host broken = cluster.GetHost("gh200");
  const v1::Condition* condition = FindCondition(broken, "KernelHealthy");
  ASSERT_NE(condition, nullptr) << broken.DebugString();
  EXPECT_FALSE(condition->status());
  EXPECT_EQ(condition->reason(), "KERNEL_GONE");
  EXPECT_THAT(condition->message(), ::testing::Not(::testing::IsEmpty()));
  EXPECT_FALSE(host.Status().kernel_healthy());
  EXPECT_TRUE(host.Status().connected());
  // Nothing is placed there, nobody can attach, and what was there stays charged.
  EXPECT_TRUE(absl::IsResourceExhausted(cluster.Create("other", OneOf("gpu")).status()));
  ASSERT_TRUE(cluster.AwaitObserved("vm", Assignment::PREPARING));
  EXPECT_EQ(cluster.Get("vm")->intent(), Assignment::PLACED);
  EXPECT_EQ(cluster.RunVmm(*assignment, {"--json"}).code, 3);

  host.StartEmulator();
  cluster.AwaitReady("gh200");
  ASSERT_TRUE(cluster.AwaitObserved("vm", Assignment::PREPARED));
  EXPECT_TRUE(FindCondition(cluster.GetHost("gh200"), "KernelHealthy")->status());
  cluster.ExpectRecordsAgree(1);
  const Output vmm = cluster.RunVmm(*assignment, {"--trace", SourceFile("tests/data/traces/boot")});
  EXPECT_EQ(vmm.code, 0) << vmm.err;
}

TEST(KernelLoss, AnAgentThatStartsWithoutItsKernelKeepsWhatWasPlaced) {
  // There is another host that would do.
  Host::Options other = Gh200(Host::Emulator::kExternal);
  other.id = "other";
  Cluster cluster({Gh200(Host::Emulator::kExternal), other});
  const absl::StatusOr<Assignment> created = cluster.Create("vm", OneOf("gpu"));
  ASSERT_TRUE(created.ok()) << created.status();
  ASSERT_TRUE(cluster.AwaitObserved("vm", Assignment::PREPARED));
  const std::string id = created->placement().host().substr(std::string("hosts/").size());
  Host& host = cluster.host(id);

  host.agent().Kill();
  host.KillEmulator();
  host.StartAgent();
  WaitFor("the agent waits for its kernel", [&] {
    const absl::StatusOr<Assignment> now = cluster.Get("vm");
    return now.ok() && now->observed() == Assignment::PREPARING && now->conditions_size() > 0;
  });
  EXPECT_EQ(cluster.Get("vm")->conditions(0).reason(), "KERNEL_GONE");
  EXPECT_EQ(cluster.GetHost(id).state(), v1::Host::BROKEN);

  host.StartEmulator();
  cluster.AwaitReady(id);
  ASSERT_TRUE(cluster.AwaitObserved("vm", Assignment::PREPARED));
  const absl::StatusOr<Assignment> now = cluster.Get("vm");
  EXPECT_EQ(now->uid(), created->uid());
  EXPECT_EQ(now->generation(), created->generation());
  EXPECT_EQ(now->placement().DebugString(), created->placement().DebugString());
  EXPECT_FALSE(now->has_failure());
  cluster.ExpectRecordsAgree(1);
}

TEST(KernelLoss, TheAgentStartsItsOwnEmulatorAgain) {
  Cluster cluster(std::vector<Host::Options>{Gh200(Host::Emulator::kOfTheAgent)});
  Host& host = cluster.host("gh200");
  ASSERT_TRUE(cluster.Create("a", OneOf("gpu")).ok());
  ASSERT_TRUE(cluster.Create("b", OneOf("nic")).ok());
  ASSERT_TRUE(cluster.AwaitObserved("a", Assignment::PREPARED));
  ASSERT_TRUE(cluster.AwaitObserved("b", Assignment::PREPARED));

  const pid_t first = host.emulator_pid();
  host.KillEmulator();
  WaitFor("another emulator listens",
          [&] { return host.emulator_pid() != 0 && host.emulator_pid() != first; });
  cluster.ExpectRecordsAgree(2);
  cluster.AwaitReady("gh200");
  EXPECT_TRUE(cluster.AwaitObserved("a", Assignment::PREPARED));
  EXPECT_TRUE(cluster.AwaitObserved("b", Assignment::PREPARED));
}

TEST(KernelLoss, AVmThatLosesItsKernelLosesItsSession) {
  Cluster cluster(std::vector<Host::Options>{Gh200(Host::Emulator::kOfTheAgent)});
  const absl::StatusOr<Assignment> assignment = cluster.Create("vm", OneOf("gpu"));
  ASSERT_TRUE(assignment.ok()) << assignment.status();
  ASSERT_TRUE(cluster.AwaitObserved("vm", Assignment::PREPARED));
  const std::unique_ptr<Process> vmm = cluster.StartVmm(
      "holder", *assignment, {"--hold", "--trace", SourceFile("tests/data/traces/boot")});
  WaitFor("the VMM is attached",
          [&] { return cluster.OutputOf("holder").find("holding") != std::string::npos; });

  cluster.host("gh200").KillEmulator();
  ASSERT_TRUE(cluster.AwaitObserved("vm", Assignment::PREPARED));
  cluster.ExpectRecordsAgree(1);
  // What it still asks for is refused: its session is over.
  vmm->CloseStdin();
  EXPECT_NE(vmm->Wait(), 0);
  EXPECT_EQ(cluster.Get("vm")->observed(), Assignment::PREPARED);
}

}  // namespace
}  // namespace berth::testing
