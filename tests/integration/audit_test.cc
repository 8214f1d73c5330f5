// SPDX-License-Identifier: Apache-2.0
//
// Something is broken on purpose, and the audit names it; what can be healed is.
#include <gmock/gmock.h>

#include <memory>
#include <optional>
#include <string>

#include "lib/emulator/emulator_client.h"
#include "lib/store/sqlite.h"
#include "tests/agent/grants/held_device.h"
#include "tests/integration/cluster.h"
#include "tests/integration/middleman.h"

namespace berth::testing {
namespace {

using ::testing::HasSubstr;
using v1::Assignment;

// kExitDiffers of berthctl.
constexpr int kDiffers = 9;

// A supervised agent behind a middleman; hosts are asked every second.
class AuditTest : public ::testing::Test {
 protected:
  AuditTest() {
    const std::string controller = "unix:" + cluster_.folder() + "/link.sock";
    const std::string middle = "unix:" + cluster_.folder() + "/middle.sock";
    WriteFile(cluster_.folder() + "/controller.yaml",
              "api: {address: \"127.0.0.1:0\"}\nagent_link: {address: \"" + controller +
                  "\"}\nstore: {memory: {}}\naudit: {interval: 1s}\ncluster_key_file: " +
                  cluster_.folder() + "/cluster.key\n");
    cluster_.StartController();
    middleman_ = std::make_unique<Middleman>(middle, controller);
    Host::Options options = ExampleHosts({"gh200"})[0];
    options.parent = Host::Parent::kSupervise;
    cluster_.AddHosts({options}, {middle});
    cluster_.AwaitReady("gh200");
  }

  Host& host() { return cluster_.host("gh200"); }
  void Create() {
    const absl::StatusOr<Assignment> created = cluster_.Create("vm", OneOf("gpu"));
    ASSERT_TRUE(created.ok()) << created.status();
    created_ = *created;
  }
  void Attach() {
    Create();
    ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
    vmm_ = cluster_.StartVmm("holder", created_,
                             {"--hold", "--trace", SourceFile("tests/data/traces/boot")});
    ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::ATTACHED));
    // Each of its calls until then is journaled.
    WaitFor("the VMM's queues are live",
            [&] { return cluster_.OutputOf("holder").find("holding") != std::string::npos; });
  }
  // Waits until an audit says so; messages may be on their way.
  Output AwaitAudit(int code, const std::string& part, std::vector<std::string> args = {}) {
    args.insert(args.begin(), "audit");
    Output last;
    const bool said = WaitFor("an audit says " + part, [&] {
      last = cluster_.Berthctl(args);
      return last.code == code && last.out.find(part) != std::string::npos;
    });
    EXPECT_TRUE(said) << last.code << "\n" << last.out << last.err;
    return last;
  }
  std::string ControllerLog() const { return ReadFile(cluster_.folder() + "/controller.log"); }

  Cluster cluster_;
  std::unique_ptr<Middleman> middleman_;
  Assignment created_;
  std::unique_ptr<Process> vmm_;
};

TEST_F(AuditTest, AllKnowTheSameOfAnAttachedVmm) {
  Attach();
  const Output audit = AwaitAudit(0, "PLACED/ATTACHED@1");
  EXPECT_THAT(audit.out, HasSubstr("@1"));
  EXPECT_THAT(audit.out, HasSubstr("-fds"));
  EXPECT_THAT(audit.out, HasSubstr("1/1"));
  EXPECT_THAT(audit.err, HasSubstr("0 differences on 1 host"));
}

TEST_F(AuditTest, WhatAnAgentWasNeverToldIsFoundAndHealed) {
  middleman_->LoseDeltas(true);
  Create();
  WaitFor("the message is lost", [&] { return middleman_->lost() > 0; });
  middleman_->LoseDeltas(false);
  // Nothing else would ever tell it again.
  AwaitAudit(kDiffers, "NOT_ON_HOST", {"gh200"});
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
  AwaitAudit(0, "PLACED/PREPARED@1");
  EXPECT_THAT(ControllerLog(), HasSubstr("NOT_ON_HOST"));
  WaitFor("the controller has seen it healed",
          [this] { return ControllerLog().find("drift healed") != std::string::npos; });
  cluster_.ExpectRecordsAgree(1);
}

TEST_F(AuditTest, AReleaseThatWasLostIsHealedToo) {
  Create();
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
  middleman_->LoseDeltas(true);
  ASSERT_TRUE(cluster_.Delete("vm").ok());
  WaitFor("the message is lost", [&] { return middleman_->lost() > 0; });
  middleman_->LoseDeltas(false);
  AwaitAudit(kDiffers, "INTENT");
  ASSERT_TRUE(cluster_.AwaitGone("vm"));
  cluster_.ExpectRecordsAgree(0);
}

TEST_F(AuditTest, AJournalThatForgotAVmmIsNamedUntilItLeaves) {
  Attach();
  {
    auto journal = SqliteDatabase::Open(host().runtime_dir() + "/journal.db",
                                        SqliteDatabase::Mode::kReadWrite);
    ASSERT_TRUE(journal.ok()) << journal.status();
    const absl::Status deleted = journal->Execute("DELETE FROM grants");
    ASSERT_TRUE(deleted.ok()) << deleted;
  }
  AwaitAudit(kDiffers, "NOT_IN_JOURNAL");
  // Nothing mends it, and the session stays.
  EXPECT_TRUE(vmm_->running());
  vmm_->Kill();
  AwaitAudit(0, "PLACED/PREPARED@1");
}

TEST_F(AuditTest, ADeviceThatAStrangerHoldsIsNamedToThoseWhoAskForIt) {
  emulator::EmulatorClient kernel(host().emulator_socket());
  std::optional<HeldDevice> stranger(std::in_place, &kernel, "vfio0");
  AwaitAudit(kDiffers, "DEVICE_HELD", {"gh200", "--try-devices"});
  EXPECT_EQ(cluster_.Berthctl({"audit"}).code, 0) << "by itself the audit resets no devices";
  stranger.reset();
  AwaitAudit(0, "", {"gh200", "--try-devices"});
}

}  // namespace
}  // namespace berth::testing
