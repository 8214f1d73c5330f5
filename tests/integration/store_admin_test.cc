// SPDX-License-Identifier: Apache-2.0
//
// What an administrator does to a store, and what the fleet makes of it.
#include <gmock/gmock.h>

#include "absl/strings/str_replace.h"
#include "tests/integration/cluster.h"
#include "tests/testing/etcd_server.h"

namespace berth::testing {
namespace {

using ::testing::HasSubstr;
using v1::Assignment;

class StoreAdminTest : public ::testing::Test {
 protected:
  Output Store(std::vector<std::string> args) {
    args.insert(args.begin(), "store");
    args.insert(args.end(), {"--config", cluster_.folder() + "/controller.yaml"});
    return cluster_.Run(ProgramFile("berth-controller"), args);
  }
  std::string BackupFile() const { return cluster_.folder() + "/backup"; }
  void StopController() { EXPECT_EQ(cluster_.controller().Stop(), 0); }
  void Create(const std::string& id) {
    const absl::StatusOr<Assignment> created = cluster_.Create(id, OneOf("gpu"));
    ASSERT_TRUE(created.ok()) << created.status();
    ASSERT_TRUE(cluster_.AwaitObserved(id, Assignment::PREPARED));
  }

  Cluster cluster_{std::vector<std::string>{"gh200"}};
};

TEST_F(StoreAdminTest, CheckReadsTheStoreOfARunningController) {
  Create("vm");
  const Output check = Store({"check"});
  EXPECT_EQ(check.code, 0) << check.err;
  EXPECT_THAT(check.out, HasSubstr("assignments: 1\n"));
  EXPECT_THAT(check.out, HasSubstr("hosts:       1\n"));
  EXPECT_THAT(check.out, HasSubstr("restored 0 times"));
  EXPECT_THAT(check.out, ::testing::EndsWith("ok\n"));
}

TEST_F(StoreAdminTest, ABackupBringsTheBookBackAndTheAgentsFollow) {
  Create("kept");
  const Output backup = Store({"backup", BackupFile()});
  ASSERT_EQ(backup.code, 0) << backup.err;
  EXPECT_EQ(Store({"backup", BackupFile()}).code, 1) << "it is there already";
  const std::string uid = cluster_.Get("kept")->uid();
  ASSERT_TRUE(cluster_.Delete("kept").ok());
  ASSERT_TRUE(cluster_.AwaitGone("kept"));
  Create("later");

  const Output running = Store({"restore", BackupFile(), "--replace"});
  EXPECT_EQ(running.code, 1);
  EXPECT_THAT(running.err, HasSubstr("is held by process"));
  StopController();
  const Output refused = Store({"restore", BackupFile()});
  EXPECT_EQ(refused.code, 1);
  EXPECT_THAT(refused.err, HasSubstr("--replace"));
  const Output restored = Store({"restore", BackupFile(), "--replace"});
  ASSERT_EQ(restored.code, 0) << restored.err;
  EXPECT_THAT(restored.out, HasSubstr("restored 1 times"));

  cluster_.StartController();
  cluster_.AwaitReady("gh200");
  ASSERT_TRUE(cluster_.AwaitObserved("kept", Assignment::PREPARED));
  EXPECT_EQ(cluster_.Get("kept")->uid(), uid);
  EXPECT_TRUE(absl::IsNotFound(cluster_.Get("later").status()));
  cluster_.ExpectRecordsAgree(1);
  EXPECT_EQ(cluster_.host("gh200").Status().epoch().restore_count(), 1);
}

TEST_F(StoreAdminTest, ABrokenBackupIsRefusedAndNothingIsTouched) {
  Create("vm");
  ASSERT_EQ(Store({"backup", BackupFile()}).code, 0);
  StopController();
  const std::string whole = ReadFile(BackupFile());
  WriteFile(BackupFile(), whole.substr(0, whole.size() / 2));
  const Output refused = Store({"restore", BackupFile(), "--replace"});
  EXPECT_EQ(refused.code, 1);
  EXPECT_THAT(refused.err, HasSubstr("cut off"));
  EXPECT_THAT(Store({"check"}).out, HasSubstr("assignments: 1\n"));
}

TEST_F(StoreAdminTest, AStoreMovesToEtcdAndItsOldControllerIsFenced) {
  EtcdServer etcd;
  Create("vm");
  const std::string config = cluster_.folder() + "/controller.yaml";
  const std::string before = ReadFile(config);
  const std::string after =
      absl::StrReplaceAll(before, {{"sqlite: {path: " + cluster_.folder() + "/store.db}",
                                    "etcd: {endpoints: [\"" + etcd.address() + "\"]}"}});
  ASSERT_NE(after, before);
  const std::string to = cluster_.folder() + "/etcd.yaml";
  WriteFile(to, after);
  EXPECT_EQ(Store({"migrate", "--to", to}).code, 1) << "the controller runs";
  StopController();
  const Output migrated = Store({"migrate", "--to", to});
  ASSERT_EQ(migrated.code, 0) << migrated.err;
  EXPECT_THAT(migrated.out, HasSubstr("etcd at"));

  WriteFile(config, after);
  cluster_.StartController();
  cluster_.AwaitReady("gh200");
  ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
  cluster_.ExpectRecordsAgree(1);
  Create("more");
  cluster_.ExpectRecordsAgree(2);

  // Somebody starts the old one by mistake.
  StopController();
  WriteFile(config, before);
  cluster_.StartController();
  Host& host = cluster_.host("gh200");
  WaitFor("the agent refuses the old book", [&] {
    const agent::v1::AgentStatus status = host.Status();
    return !status.connected() &&
           status.last_error().find("has obeyed a later controller") != std::string::npos;
  });
  EXPECT_EQ(host.Grants().size(), 2U) << "it keeps what the newer book has said";
}

}  // namespace
}  // namespace berth::testing
