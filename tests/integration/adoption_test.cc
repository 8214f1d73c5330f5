// SPDX-License-Identifier: Apache-2.0
//
// An agent dies while a VMM is attached: the next one takes the context up again, and the VMM goes
// on as if nothing had been.
#include <gmock/gmock.h>
#include <signal.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/integration/clean_audit.h"
#include "tests/integration/cluster.h"
#include "tests/integration/continuous_guest.h"

namespace berth::testing {
namespace {

using v1::Assignment;

class AdoptionTest : public ::testing::Test {
 protected:
  AdoptionTest() : cluster_({Supervised()}), host_(cluster_.host("gh200")) {}

  static Host::Options Supervised() {
    Host::Options options = ExampleHosts({"gh200"})[0];
    options.parent = Host::Parent::kSupervise;
    return options;
  }

  void Create() {
    const absl::StatusOr<Assignment> created = cluster_.Create("vm", OneOf("gpu"));
    ASSERT_TRUE(created.ok()) << created.status();
    created_ = *created;
    ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
  }
  void StartVmm() {
    vmm_ = cluster_.StartVmm("holder", created_,
                             {"--hold", "--trace", SourceFile("tests/data/traces/boot")});
    WaitFor("the VMM's queues are live",
            [&] { return cluster_.OutputOf("holder").find("holding") != std::string::npos; });
  }
  void KillAgent() {
    const pid_t pid = host_.supervised_pid();
    ASSERT_GT(pid, 0);
    KillStranger(pid);
    WaitFor("the next agent is there",
            [&] { return host_.supervised_pid() != pid && host_.supervised_pid() > 0; });
  }
  void AwaitIncarnation(int64_t incarnation) {
    WaitFor("the new incarnation is known",
            [&] { return cluster_.GetHost("gh200").incarnation() == incarnation; });
  }
  [[nodiscard]] agent::v1::LocalGrant Grant() {
    const std::vector<agent::v1::LocalGrant> grants = host_.Grants();
    return grants.size() == 1 ? grants[0] : agent::v1::LocalGrant();
  }
  std::string Objects() {
    std::string text;
    for (const auto& object : host_.Objects(created_.uid())) {
      text += object.ShortDebugString() + "\n";
    }
    return text;
  }

  Cluster cluster_;
  Host& host_;
  Assignment created_;
  std::unique_ptr<Process> vmm_;
};

TEST_F(AdoptionTest, TheVmmKeepsAllItHasAndGoesOn) {
  Create();
  StartVmm();
  const std::string before = Objects();
  const int64_t incarnation = cluster_.GetHost("gh200").incarnation();
  for (int life = 1; life <= 3; ++life) {
    KillAgent();
    AwaitIncarnation(incarnation + life);
    ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::ATTACHED));
    EXPECT_EQ(Objects(), before);
    EXPECT_EQ(Grant().vmm_pid(), vmm_->pid());
    cluster_.ExpectRecordsAgree(1);
    EXPECT_TRUE(vmm_->running());
    const v1::Host host = cluster_.GetHost("gh200");
    for (const v1::Unit& unit : host.units()) EXPECT_EQ(unit.vintfs(), 63);
  }
  // It resets its guest and detaches, in the session that it began with.
  EXPECT_EQ(vmm_->Stop(), 0) << ReadFile(cluster_.folder() + "/holder.err");
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
  const Output other = cluster_.RunVmm(created_, {"--trace", SourceFile("tests/data/traces/boot")});
  EXPECT_EQ(other.code, 0) << other.err;
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
  cluster_.ExpectRecordsAgree(1);
}

TEST_F(AdoptionTest, AVmmThatDiedMeanwhileIsNoticed) {
  Create();
  StartVmm();
  // The parent stands still, so that no agent is there when the VMM dies.
  const pid_t pid = host_.supervised_pid();
  host_.agent().Signal(SIGSTOP);
  KillStranger(pid);
  vmm_->Kill();
  host_.agent().Signal(SIGCONT);
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
  cluster_.ExpectRecordsAgree(1);
}

TEST_F(AdoptionTest, AVmmThatDiesAfterwardsIsNoticed) {
  Create();
  StartVmm();
  const int64_t incarnation = cluster_.GetHost("gh200").incarnation();
  KillAgent();
  AwaitIncarnation(incarnation + 1);
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::ATTACHED));
  vmm_->Kill();
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
  cluster_.ExpectRecordsAgree(1);
}

TEST_F(AdoptionTest, WithoutItsJournalAGrantIsDegradedUntilTheVmmEnds) {
  Create();
  StartVmm();
  host_.agent().Signal(SIGSTOP);
  KillStranger(host_.supervised_pid());
  for (const char* part : {"", "-wal", "-shm"}) {
    std::filesystem::remove(host_.runtime_dir() + "/journal.db" + part);
  }
  host_.agent().Signal(SIGCONT);
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::DEGRADED));
  const absl::StatusOr<Assignment> now = cluster_.Get("vm");
  ASSERT_TRUE(now.ok() && now->conditions_size() > 0);
  EXPECT_EQ(now->conditions(0).type(), "Journaled");
  EXPECT_TRUE(vmm_->running());
  vmm_->Kill();
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
  cluster_.ExpectRecordsAgree(1);
}

TEST_F(AdoptionTest, WithoutItsFdsAGrantIsOrphanedUntilTheVmmEnds) {
  Create();
  StartVmm();
  // Stopped and started, not restarted: the parent has gone, and what it kept with it.
  host_.RestartAgent();
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::ORPHANED));
  WaitFor("it says who holds it", [&] {
    const absl::StatusOr<Assignment> now = cluster_.Get("vm");
    return now.ok() && now->conditions_size() > 0 &&
           now->conditions(0).message().find(std::to_string(vmm_->pid())) != std::string::npos;
  });
  EXPECT_TRUE(vmm_->running());
  vmm_->Kill();
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
  cluster_.ExpectRecordsAgree(1);
}

TEST_F(AdoptionTest, WithoutItsParentAnAgentGoesOnAndTakesVmms) {
  Create();
  StartVmm();
  const pid_t agent = host_.supervised_pid();
  host_.agent().Kill();
  // One that is attached leaves, and another comes.
  EXPECT_EQ(vmm_->Stop(), 0) << ReadFile(cluster_.folder() + "/holder.err");
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
  const Output other = cluster_.RunVmm(created_, {"--trace", SourceFile("tests/data/traces/boot")});
  EXPECT_EQ(other.code, 0) << other.err;
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
  cluster_.ExpectRecordsAgree(1);
  KillStranger(agent);
}

TEST_F(AdoptionTest, AnotherParentTakesTheAgentUpAndNoCommandIsLost) {
  Create();
  ContinuousGuest guest(cluster_, host_, created_);
  const int64_t incarnation = cluster_.GetHost("gh200").incarnation();
  for (int life = 1; life <= 2; ++life) {
    const pid_t agent = host_.supervised_pid();
    ASSERT_GT(agent, 0);
    const size_t logged = ReadFile(host_.log_file()).size();
    host_.agent().Kill();
    host_.StartAgent();
    WaitFor("the new parent has what the agent keeps", [&] {
      return ReadFile(host_.log_file()).find("stored a grant again", logged) != std::string::npos;
    });
    EXPECT_EQ(cluster_.GetHost("gh200").incarnation(), incarnation + life - 1) << "the same agent";
    KillStranger(agent);
    AwaitIncarnation(incarnation + life);
    ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::ATTACHED));
    EXPECT_EQ(Grant().vmm_pid(), guest.pid());
    cluster_.ExpectRecordsAgree(1);
    ExpectCleanAudit(cluster_);
  }
  guest.EndWithNothingLost();
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
}

TEST_F(AdoptionTest, AnAssignmentThatWasDeletedMeanwhileGoesWhenItsVmmHasLeft) {
  Create();
  StartVmm();
  const int64_t incarnation = cluster_.GetHost("gh200").incarnation();
  host_.agent().Signal(SIGSTOP);
  KillStranger(host_.supervised_pid());
  ASSERT_TRUE(cluster_.Delete("vm").ok());
  host_.agent().Signal(SIGCONT);
  AwaitIncarnation(incarnation + 1);
  WaitFor("it is ATTACHED, and going", [&] {
    const absl::StatusOr<Assignment> now = cluster_.Get("vm");
    return now.ok() && now->intent() == Assignment::RELEASING &&
           now->observed() == Assignment::ATTACHED;
  });
  EXPECT_EQ(vmm_->Stop(), 0) << ReadFile(cluster_.folder() + "/holder.err");
  WaitFor("it is gone", [&] { return absl::IsNotFound(cluster_.Get("vm").status()); });
  cluster_.ExpectRecordsAgree(0);
}

}  // namespace
}  // namespace berth::testing
