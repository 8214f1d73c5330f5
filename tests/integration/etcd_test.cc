// SPDX-License-Identifier: Apache-2.0
//
// The controller with its book in etcd.
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/stat.h>

#include "absl/strings/str_cat.h"
#include "lib/store/etcd/client.h"
#include "tests/integration/cluster.h"
#include "tests/rpc/certificates.h"
#include "tests/testing/etcd_server.h"

namespace berth::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using v1::Assignment;

class EtcdTest : public ::testing::Test {
 protected:
  // A lease that lives longer than any test is held up, so that nothing happens by time; EndLease()
  // does what etcd does when it is over.
  std::string Store() const {
    return absl::StrCat("etcd: {endpoints: [\"", etcd_.address(), "\"], lease_ttl: 600s}");
  }
  void EndLease() {
    const std::shared_ptr<EtcdClient> client = etcd_.Client();
    const absl::Status ended = client->RevokeLease(GetFromEtcd(*client, "/berth/leader").lease());
    EXPECT_TRUE(ended.ok()) << ended;
  }
  // The configuration of another controller of the same cluster.
  std::string AnotherConfig() {
    std::string file = cluster_.folder() + "/another.yaml";
    WriteFile(file, absl::StrCat("api: {address: \"127.0.0.1:0\"}\nagent_link: {address: \"unix:",
                                 cluster_.folder(), "/another.sock\"}\nstore: {", Store(),
                                 "}\ncluster_key_file: ", cluster_.folder(), "/cluster.key\n"));
    return file;
  }
  void CreateAndAwait() {
    const absl::StatusOr<Assignment> created = cluster_.Create("vm", OneOf("gpu"));
    ASSERT_TRUE(created.ok()) << created.status();
    uid_ = created->uid();
    ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
  }
  void ExpectStillThere() {
    cluster_.AwaitReady("gh200");
    const absl::StatusOr<Assignment> now = cluster_.Get("vm");
    ASSERT_TRUE(now.ok()) << now.status();
    EXPECT_EQ(now->uid(), uid_);
    ASSERT_TRUE(cluster_.AwaitObserved("vm", Assignment::PREPARED));
    cluster_.ExpectRecordsAgree(1);
  }

  EtcdServer etcd_;
  Cluster cluster_{std::vector<std::string>{"gh200"}, Store()};
  std::string uid_;
};

TEST_F(EtcdTest, ARestartedControllerFindsTheStateAndGoesOn) {
  CreateAndAwait();
  cluster_.RestartController();
  ExpectStillThere();

  cluster_.KillController();
  EndLease();
  cluster_.StartController();
  ExpectStillThere();

  etcd_.Kill();
  etcd_.Start();
  ASSERT_TRUE(cluster_.Delete("vm").ok());
  EXPECT_TRUE(cluster_.AwaitGone("vm"));
  cluster_.ExpectRecordsAgree(0);
}

TEST_F(EtcdTest, ALeaderThatWasPausedCommitsNothingAndEnds) {
  CreateAndAwait();
  cluster_.controller().Signal(SIGSTOP);
  EndLease();
  const std::string log = cluster_.folder() + "/another.log";
  Process next({.program = ProgramFile("berth-controller"),
                .args = {"--config", AnotherConfig()},
                .out = log,
                .err = ""});
  std::string address;
  WaitFor("the next controller leads", [&] {
    const std::string mark = " serving api=";
    const std::string text = ReadFile(log);
    const size_t at = text.find(mark);
    const size_t end = at == std::string::npos ? at : text.find(' ', at + mark.size());
    if (end != std::string::npos) address = text.substr(at + mark.size(), end - at - mark.size());
    return !address.empty();
  });

  cluster_.controller().Signal(SIGCONT);
  EXPECT_FALSE(cluster_.Create("late", OneOf("gpu")).ok());
  EXPECT_EQ(cluster_.controller().Wait(), 1) << "for its service manager to start it again";

  const Output shown =
      cluster_.Run(ProgramFile("berthctl"), {"--server", address, "get", "assignments"});
  EXPECT_THAT(shown.out, HasSubstr("vm"));
  EXPECT_THAT(shown.out, Not(HasSubstr("late")));
}

// One that asks for certificates and passwords.
TEST(EtcdWithLocks, TheControllerShowsItsCertificateAndItsPassword) {
  const TestAuthority authority;
  const EtcdServer etcd(authority.Issue("etcd", "IP:127.0.0.1"));
  const TlsOptions tls = authority.Issue("controller", "DNS:controller");
  etcd.RequirePasswords(tls);
  const std::string password = authority.folder() + "/password";
  WriteFile(password, "secret\n");
  ASSERT_EQ(::chmod(password.c_str(), 0600), 0);
  Cluster cluster(std::vector<std::string>{"gh200"},
                  absl::StrCat("etcd: {endpoints: [\"", etcd.address(), "\"], lease_ttl: 600s, ",
                               "tls: {certificate_file: ", tls.certificate_file,
                               ", key_file: ", tls.key_file, ", ca_file: ", tls.ca_file,
                               "}, user: {name: root, password_file: ", password, "}}"));
  const absl::StatusOr<Assignment> created = cluster.Create("vm", OneOf("gpu"));
  ASSERT_TRUE(created.ok()) << created.status();
  cluster.RestartController();
  const absl::StatusOr<Assignment> now = cluster.Get("vm");
  ASSERT_TRUE(now.ok()) << now.status();
  EXPECT_EQ(now->uid(), created->uid());

  EXPECT_EQ(cluster.controller().Stop(), 0);
  WriteFile(password, "guess\n");
  const Output refused = cluster.Run(ProgramFile("berth-controller"),
                                     {"--config", cluster.folder() + "/controller.yaml"});
  EXPECT_NE(refused.code, 0);
  EXPECT_THAT(refused.out + refused.err, HasSubstr("authentication failed"));
}

}  // namespace
}  // namespace berth::testing
