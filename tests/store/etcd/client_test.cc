// SPDX-License-Identifier: Apache-2.0
#include "lib/store/etcd/client.h"

#include <gtest/gtest.h>

#include "lib/base/status.h"
#include "tests/rpc/certificates.h"
#include "tests/testing/etcd_server.h"

namespace berth {
namespace {

namespace pb = etcdserverpb;
using ::berth::testing::EtcdServer;
using ::berth::testing::GetFromEtcd;
using ::berth::testing::PutInEtcd;

std::shared_ptr<EtcdClient> ClientOf(const EtcdServer& server, const std::string& password) {
  EtcdClientOptions options = server.ClientOptions();
  options.user = "root";
  options.password = password;
  return *EtcdClient::Make(options);
}

pb::RangeRequest AnyKey() {
  pb::RangeRequest range;
  range.set_key("a");
  return range;
}

TEST(EtcdClient, CallsWithAUserAndPassword) {
  EtcdServer server;
  server.RequirePasswords();
  const absl::Status anonymous = server.Client()->Range(AnyKey()).status();
  EXPECT_TRUE(WasRefused(anonymous)) << anonymous;
  const absl::Status wrong = ClientOf(server, "guess")->Range(AnyKey()).status();
  EXPECT_TRUE(WasRefused(wrong)) << wrong;

  const auto client = ClientOf(server, "secret");
  PutInEtcd(*client, "a", "1");
  EXPECT_EQ(GetFromEtcd(*client, "a").value(), "1");
  // A member that restarts has forgotten the tokens that it gave.
  server.Kill();
  server.Start();
  EXPECT_EQ(GetFromEtcd(*client, "a").value(), "1");
}

TEST(EtcdClient, CallsOverMutualTls) {
  TestAuthority authority;
  EtcdServer server(authority.Issue("etcd", "IP:127.0.0.1"));
  const auto client = server.Client(authority.Issue("controller", "DNS:controller"));
  PutInEtcd(*client, "a", "1");
  EXPECT_EQ(GetFromEtcd(*client, "a").value(), "1");

  TestAuthority stranger;
  EtcdClientOptions options = server.ClientOptions(stranger.Issue("controller", "DNS:controller"));
  options.attempts = 1;
  const auto status = (*EtcdClient::Make(options))->Status();
  EXPECT_FALSE(status.ok());
}

TEST(EtcdClient, SaysWhichMemberDoesNotAnswer) {
  // Nobody listens on port 1.
  const auto client = *EtcdClient::Make({.endpoints = {"127.0.0.1:1"}, .attempts = 1});
  const absl::Status status = client->Status().status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_EQ(std::string(status.message()), "etcd at 127.0.0.1:1, Status: connection refused");
}

TEST(EtcdClient, DialsWithoutTlsOnThisMachineOnly) {
  EXPECT_EQ(ReasonOf(EtcdClient::Make({.endpoints = {"192.0.2.1:2379"}}).status()),
            Reason::kPermissionDenied);
  EXPECT_EQ(ReasonOf(EtcdClient::Make({}).status()), Reason::kMissingField);
}

TEST(EtcdClient, AServerThatDoesNotAnswerIsGivenUpInTime) {
  EtcdServer server;
  EtcdClientOptions options = server.ClientOptions();
  options.attempt_timeout = absl::Milliseconds(100);
  options.attempts = 2;
  const auto client = *EtcdClient::Make(options);
  server.Pause();
  const absl::Status status = client->Range(AnyKey()).status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(status) || absl::IsUnavailable(status)) << status;
  server.Resume();
}

TEST(EtcdClient, HearsOfADeletionThatHasHappenedAlready) {
  EtcdServer server;
  const auto client = server.Client();
  const auto lease = client->GrantLease(absl::Minutes(10));
  ASSERT_TRUE(lease.ok()) << lease.status();
  pb::TxnRequest txn;
  txn.add_success()->mutable_request_put()->set_key("a");
  txn.mutable_success(0)->mutable_request_put()->set_lease(lease->id());
  const auto put = client->Txn(txn);
  ASSERT_TRUE(put.ok()) << put.status();
  ASSERT_TRUE(client->RevokeLease(lease->id()).ok());
  EXPECT_TRUE(client->AwaitDeletion("a", put->header().revision() + 1, absl::Hours(1)).ok());
  EXPECT_FALSE(
      client->AwaitDeletion("a", put->header().revision() + 2, absl::Milliseconds(50)).ok());
  EXPECT_EQ(*client->KeepAlive(lease->id(), absl::Minutes(1)), absl::ZeroDuration());
}

}  // namespace
}  // namespace berth
