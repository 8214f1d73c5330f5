// SPDX-License-Identifier: Apache-2.0
//
// Controller and agent come and go between any two steps; the assignment goes on.
#include <gmock/gmock.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "tests/integration/cluster.h"

namespace berth::testing {
namespace {

using ::testing::HasSubstr;
using v1::Assignment;

// What is restarted.
struct Who {
  const char* name;
  void (*restart)(Cluster& cluster);
};
void PrintTo(const Who& who, std::ostream* out) { *out << who.name; }

void RestartAgent(Cluster& cluster) { cluster.host("gh200").RestartAgent(); }
void RestartController(Cluster& cluster) { cluster.RestartController(); }
void CrashAgent(Cluster& cluster) {
  cluster.host("gh200").agent().Kill();
  cluster.host("gh200").StartAgent();
}
void CrashController(Cluster& cluster) {
  cluster.KillController();
  cluster.StartController();
}
void RestartBoth(Cluster& cluster) {
  RestartAgent(cluster);
  RestartController(cluster);
}

class RestartTest : public ::testing::TestWithParam<Who> {
 protected:
  void Restart() {
    GetParam().restart(cluster_);
    cluster_.AwaitReady("gh200");
  }
  // A VM works with what it gets.
  void ExpectUsable(const Assignment& assignment) {
    const Output vmm =
        cluster_.RunVmm(assignment, {"--trace", SourceFile("tests/data/traces/boot")});
    EXPECT_EQ(vmm.code, 0) << vmm.err;
    cluster_.AwaitObserved("vm", Assignment::PREPARED);
  }

  Cluster cluster_{std::vector<std::string>{"gh200"}};
};

INSTANTIATE_TEST_SUITE_P(, RestartTest,
                         ::testing::Values(Who{"Controller", RestartController},
                                           Who{"Agent", RestartAgent}, Who{"Both", RestartBoth},
                                           Who{"ControllerCrash", CrashController},
                                           Who{"AgentCrash", CrashAgent}),
                         ::testing::PrintToStringParamName());

TEST_P(RestartTest, BetweenTheStepsOfAnAssignment) {
  const absl::StatusOr<Assignment> created = cluster_.Create("vm", OneOf("gpu"));
  ASSERT_TRUE(created.ok()) << created.status();
  Restart();  // right after Create
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
  cluster_.ExpectRecordsAgree(1);

  Restart();  // after prepare
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
  cluster_.ExpectRecordsAgree(1);
  const absl::StatusOr<Assignment> now = cluster_.Get("vm");
  EXPECT_EQ(now->uid(), created->uid());
  EXPECT_EQ(now->generation(), created->generation());
  EXPECT_EQ(now->placement().DebugString(), created->placement().DebugString());
  ExpectUsable(*created);

  Restart();  // after a VMM has left
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
  cluster_.ExpectRecordsAgree(1);
  ExpectUsable(*created);

  ASSERT_TRUE(cluster_.Delete("vm").ok());
  Restart();  // during the release
  EXPECT_TRUE(cluster_.AwaitGone("vm"));
  cluster_.ExpectRecordsAgree(0);

  Restart();  // after it
  EXPECT_TRUE(absl::IsNotFound(cluster_.Get("vm").status()));
  cluster_.ExpectRecordsAgree(0);
}

TEST_P(RestartTest, WithOneThatWaitsForCapacity) {
  for (const char* id : {"a", "b", "c", "vm"}) ASSERT_TRUE(cluster_.Create(id, OneOf("gpu")).ok());
  const absl::StatusOr<Assignment> waiting =
      cluster_.Create("waiting", OneOf("gpu") + " when_unavailable: QUEUE");
  ASSERT_TRUE(waiting.ok()) << waiting.status();
  EXPECT_EQ(waiting->intent(), Assignment::PENDING);
  Restart();
  EXPECT_EQ(cluster_.Get("waiting")->intent(), Assignment::PENDING);
  cluster_.ExpectRecordsAgree(4);

  ASSERT_TRUE(cluster_.Delete("a").ok());
  EXPECT_TRUE(cluster_.AwaitGone("a"));
  ASSERT_TRUE(cluster_.AwaitObserved("waiting", Assignment::PREPARED));
  cluster_.ExpectRecordsAgree(4);
}

TEST(ControllerCrash, RightAfterCreateLosesNothing) {
  Cluster cluster({"gh200"});
  v1::CreateAssignmentRequest request = MakeRequest("vm", OneOf("gpu"));
  request.set_request_id("b1c6f7f5-6f0c-4f6b-9d8c-2f2f0f3f8a11");
  const absl::StatusOr<Assignment> answered = cluster.Create(request);
  cluster.KillController();
  ASSERT_TRUE(answered.ok()) << answered.status();

  cluster.StartController();
  const absl::StatusOr<Assignment> again = cluster.Create(request);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->uid(), answered->uid());
  EXPECT_EQ(again->attach_token(), answered->attach_token());
  EXPECT_EQ(again->placement().DebugString(), answered->placement().DebugString());

  v1::CreateAssignmentRequest other = request;
  other.mutable_assignment()->set_display_name("another");
  EXPECT_TRUE(absl::IsAlreadyExists(cluster.Create(other).status()));

  cluster.AwaitReady("gh200");
  ASSERT_TRUE(cluster.AwaitObserved("vm", Assignment::PREPARED));
  cluster.ExpectRecordsAgree(1);
}

TEST(AgentRestart, BesideAVmmKeepsThePlacementUntilTheVmmEnds) {
  Cluster cluster({"gh200"});
  const absl::StatusOr<Assignment> created = cluster.Create("vm", OneOf("gpu"));
  ASSERT_TRUE(created.ok()) << created.status();
  ASSERT_TRUE(cluster.AwaitObserved("vm", Assignment::PREPARED));
  const std::unique_ptr<Process> vmm = cluster.StartVmm(
      "holder", *created, {"--hold", "--trace", SourceFile("tests/data/traces/boot")});
  WaitFor("the VMM is attached",
          [&] { return cluster.OutputOf("holder").find("holding") != std::string::npos; });

  cluster.host("gh200").agent().Kill();
  cluster.host("gh200").StartAgent();
  WaitFor("the agent waits for the device", [&] {
    const absl::StatusOr<Assignment> now = cluster.Get("vm");
    return now.ok() && now->conditions_size() > 0 && now->conditions(0).reason() == "DEVICE_BUSY";
  });
  EXPECT_EQ(cluster.Get("vm")->observed(), Assignment::ORPHANED);
  const v1::Host host = cluster.GetHost("gh200");
  for (const v1::Unit& unit : host.units()) EXPECT_EQ(unit.vintfs(), 63);

  vmm->Kill();
  ASSERT_TRUE(cluster.AwaitObserved("vm", Assignment::PREPARED));
  const absl::StatusOr<Assignment> now = cluster.Get("vm");
  EXPECT_EQ(now->generation(), created->generation());
  EXPECT_EQ(now->placement().DebugString(), created->placement().DebugString());
  cluster.ExpectRecordsAgree(1);
}

// A VMM as far as its connection.
UniqueFd Connect(const std::string& path) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  const int connected =
      ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  EXPECT_EQ(connected, 0) << std::strerror(errno);
  return fd;
}

TEST(AgentRestart, UnderSuperviseTurnsNoVmmAway) {
  Host::Options options = ExampleHosts({"gh200"})[0];
  options.parent = Host::Parent::kSupervise;
  Cluster cluster(std::vector<Host::Options>{options});
  Host& host = cluster.host("gh200");
  const absl::StatusOr<Assignment> created = cluster.Create("vm", OneOf("gpu"));
  ASSERT_TRUE(created.ok()) << created.status();
  ASSERT_TRUE(cluster.AwaitObserved("vm", Assignment::PREPARED));
  for (int life = 0; life < 3; ++life) {
    const v1::Host before = cluster.GetHost("gh200");
    const pid_t pid = host.supervised_pid();
    ASSERT_GT(pid, 0);
    KillStranger(pid);
    // Nobody is there, but the socket is; what is sent waits for the next agent.
    const UniqueFd vmm = Connect(host.vmm_socket());
    ASSERT_EQ(::send(vmm.get(), "?", 1, MSG_NOSIGNAL), 1);
    pollfd answered = {.fd = vmm.get(), .events = POLLIN, .revents = 0};
    EXPECT_TRUE(WaitFor("the next agent answers", [&] { return ::poll(&answered, 1, 0) == 1; }));
    EXPECT_EQ(answered.revents, POLLIN);
    EXPECT_NE(host.supervised_pid(), pid);
    WaitFor("the new incarnation is known",
            [&] { return cluster.GetHost("gh200").incarnation() == before.incarnation() + 1; });
  }
  ASSERT_TRUE(cluster.AwaitObserved("vm", Assignment::PREPARED));
  const Output vmm = cluster.RunVmm(*created, {"--trace", SourceFile("tests/data/traces/boot")});
  EXPECT_EQ(vmm.code, 0) << vmm.err;

  const pid_t last = host.supervised_pid();
  EXPECT_EQ(host.agent().Stop(), 0);
  EXPECT_NE(::kill(last, 0), 0) << "the agent goes before its parent";
  // Nothing is left that listens, or that nobody reads.
  EXPECT_EQ(ListenerOf(host.vmm_socket(), SOCK_SEQPACKET), 0);
}

TEST(AgentRestart, IsANewIncarnationOfTheSameHost) {
  Cluster cluster({"gh200"});
  const v1::Host before = cluster.GetHost("gh200");
  cluster.host("gh200").RestartAgent();
  WaitFor("the new incarnation is known",
          [&] { return cluster.GetHost("gh200").incarnation() == before.incarnation() + 1; });
  EXPECT_EQ(cluster.GetHost("gh200").uid(), before.uid());
  EXPECT_EQ(cluster.GetHost("gh200").units_size(), before.units_size());
}

// ---- A host that was given up, and comes back

// What assignments with these names are given.
std::set<std::string> GpusOf(Cluster& cluster, const std::vector<std::string>& ids) {
  std::set<std::string> given;
  for (const std::string& id : ids) {
    const auto created = cluster.Create(id, OneOf("gpu"));
    EXPECT_TRUE(created.ok()) << created.status();
    if (created.ok()) given.insert(created->placement().units(0).devices(0).device());
  }
  return given;
}

TEST(GoneHost, WhatItBroughtBackIsDroppedOrChargedUntilItsVmmLeaves) {
  Cluster cluster({"gh200"});
  const auto attached = cluster.Create("attached", OneOf("gpu"));
  const auto prepared = cluster.Create("prepared", OneOf("gpu"));
  ASSERT_TRUE(attached.ok() && prepared.ok()) << attached.status() << prepared.status();
  for (const char* id : {"attached", "prepared"}) {
    ASSERT_TRUE(cluster.AwaitObserved(id, Assignment::PREPARED));
  }
  const std::unique_ptr<Process> vmm = cluster.StartVmm(
      "holder", *attached, {"--hold", "--trace", SourceFile("tests/data/traces/boot")});
  ASSERT_TRUE(cluster.AwaitObserved("attached", Assignment::ATTACHED));
  WaitFor("the queues are live",
          [&] { return cluster.OutputOf("holder").find("holding") != std::string::npos; });

  // A controller that has just begun has heard of nobody yet.
  Process& agent = cluster.host("gh200").agent();
  agent.Signal(SIGSTOP);
  cluster.RestartController();
  const Output refused = cluster.Berthctl({"delete", "host", "gh200"});
  EXPECT_NE(refused.code, 0);
  EXPECT_THAT(refused.err, HasSubstr("say that it is gone"));
  const Output given_up = cluster.Berthctl({"delete", "host", "gh200", "--gone", "--wait"});
  ASSERT_EQ(given_up.code, 0) << given_up.err;
  for (const char* id : {"attached", "prepared"}) {
    const auto failed = cluster.Get(id);
    ASSERT_TRUE(failed.ok()) << failed.status();
    EXPECT_EQ(failed->intent(), Assignment::FAILED);
    EXPECT_TRUE(cluster.Delete(id).ok());
  }

  agent.Signal(SIGCONT);
  cluster.AwaitReady("gh200");
  WaitFor("one is dropped and the other is orphaned", [&] {
    const auto grants = cluster.host("gh200").Grants();
    return grants.size() == 1 && grants[0].status().observed() == Assignment::ORPHANED;
  });
  EXPECT_EQ(cluster.host("gh200").Grants()[0].status().assignment_uid(), attached->uid());
  EXPECT_TRUE(vmm->running());
  WaitFor("the controller says so", [&] {
    const Output shown = cluster.Berthctl({"describe", "host", "gh200"});
    return shown.out.find(attached->uid() + " (ORPHANED)") != std::string::npos &&
           shown.out.find(prepared->uid()) == std::string::npos;
  });
  // Charged: of four GPUs three are left.
  const std::set<std::string> given = GpusOf(cluster, {"one", "two", "three"});
  EXPECT_EQ(given.count(attached->placement().units(0).devices(0).device()), 0U);
  EXPECT_FALSE(cluster.Create("four", OneOf("gpu")).ok());

  vmm->Kill();
  WaitFor("nothing of it is left", [&] {
    const v1::Host now = cluster.GetHost("gh200");
    return std::none_of(now.conditions().begin(), now.conditions().end(),
                        [](const auto& condition) { return condition.type() == "GrantsClaimed"; });
  });
  EXPECT_TRUE(cluster.Create("four", OneOf("gpu")).ok());
  cluster.ExpectRecordsAgree(4);
}

}  // namespace
}  // namespace berth::testing
