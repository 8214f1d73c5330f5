// SPDX-License-Identifier: Apache-2.0
//
// A VMM that dies takes nothing with it and leaves nothing behind.
#include <gmock/gmock.h>
#include <signal.h>

#include "tests/integration/assignment_watch.h"
#include "tests/integration/cluster.h"

namespace berth::testing {
namespace {

using v1::Assignment;

struct Mapped {
  int queues = 0;
  int vsids = 0;
};
Mapped MappedOn(Host& host) {
  Mapped mapped;
  const internal::v1::EmulatorStats stats = host.Stats();
  for (const auto& unit : stats.units()) {
    for (const auto& vintf : unit.allocated()) {
      mapped.vsids += static_cast<int>(vintf.sid_slots_used());
      for (const auto& queue : vintf.lvcmdqs()) mapped.queues += queue.mapped() ? 1 : 0;
    }
  }
  return mapped;
}

std::map<std::string, uint32_t> LiveObjects(Host& host) {
  const internal::v1::EmulatorStats stats = host.Stats();
  return {stats.objects().begin(), stats.objects().end()};
}

std::vector<std::string> HoldingArgs() {
  return {"--hold", "--trace", SourceFile("tests/data/traces/boot")};
}

TEST(VmmDeath, AKilledVmmGivesWayToAFreshContext) {
  Cluster cluster({"gh200"});
  Host& host = cluster.host("gh200");
  const absl::StatusOr<Assignment> assignment = cluster.Create(
      "vm",
      "device_requests { name: 'gpu' class: 'gpu' queues { need: REQUIRED count: 2 } }"
      "device_requests { name: 'nic' class: 'nic' }"
      "constraints { same_unit {} }");
  ASSERT_TRUE(assignment.ok()) << assignment.status();
  ASSERT_TRUE(cluster.AwaitObserved("vm", Assignment::PREPARED));
  cluster.ExpectRecordsAgree(1);
  const auto prepared = LiveObjects(host);
  AssignmentWatch watch(cluster, "vm");

  const std::unique_ptr<Process> vmm = cluster.StartVmm("holder", *assignment, HoldingArgs());
  WaitFor("the VMM has attached and its queues are live",
          [&] { return cluster.OutputOf("holder").find("holding") != std::string::npos; });
  EXPECT_EQ(MappedOn(host).queues, 2);
  EXPECT_GT(MappedOn(host).vsids, 0);
  EXPECT_NE(LiveObjects(host), prepared);
  WaitFor("the watch shows it ATTACHED",
          [&] { return watch.observed().back() == Assignment::ATTACHED; });

  vmm->Signal(SIGKILL);
  EXPECT_EQ(vmm->Wait(), -SIGKILL);
  WaitFor("the watch shows a fresh context", [&] {
    const auto seen = watch.observed();
    return seen.back() == Assignment::PREPARED &&
           std::find(seen.begin(), seen.end(), Assignment::ATTACHED) != seen.end();
  });
  // Reports are coalesced, so that the steps between may or may not show; no other may.
  for (const Assignment::Observed observed : watch.observed()) {
    EXPECT_THAT(observed, ::testing::AnyOf(Assignment::PREPARED, Assignment::ATTACHED,
                                           Assignment::RECYCLING, Assignment::PREPARING));
  }
  cluster.ExpectRecordsAgree(1);
  EXPECT_EQ(LiveObjects(host), prepared);
  EXPECT_EQ(MappedOn(host).queues, 0);
  EXPECT_EQ(MappedOn(host).vsids, 0);
  EXPECT_EQ(host.Stats().pinned_contexts(), 0U);

  EXPECT_EQ(cluster.RunVmm(*assignment, {"--trace", SourceFile("tests/data/traces/boot")}).code, 0);
}

TEST(VmmDeath, AReleaseWaitsForTheVmmAndGoesOnWhenItDies) {
  Cluster cluster({"gh200"});
  const absl::StatusOr<Assignment> assignment = cluster.Create("vm", OneOf("gpu"));
  ASSERT_TRUE(assignment.ok()) << assignment.status();
  ASSERT_TRUE(cluster.AwaitObserved("vm", Assignment::PREPARED));
  const std::unique_ptr<Process> vmm = cluster.StartVmm("holder", *assignment, HoldingArgs());
  ASSERT_TRUE(cluster.AwaitObserved("vm", Assignment::ATTACHED));
  WaitFor("the queues are live",
          [&] { return cluster.OutputOf("holder").find("holding") != std::string::npos; });

  const absl::StatusOr<Assignment> releasing = cluster.Delete("vm");
  ASSERT_TRUE(releasing.ok()) << releasing.status();
  EXPECT_EQ(releasing->intent(), Assignment::RELEASING);
  // Nothing is taken from a VM that runs.
  WaitFor("the agent has heard of it",
          [&] { return cluster.host("gh200").Grants().at(0).intent() == Assignment::RELEASING; });
  EXPECT_EQ(cluster.Get("vm")->observed(), Assignment::ATTACHED);
  EXPECT_GT(MappedOn(cluster.host("gh200")).queues, 0);

  vmm->Kill();
  EXPECT_TRUE(cluster.AwaitGone("vm"));
  cluster.ExpectRecordsAgree(0);
}

}  // namespace
}  // namespace berth::testing
