// SPDX-License-Identifier: Apache-2.0
#include "tests/testing/etcd_server.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "etcd/rpc.grpc.pb.h"
#include "lib/rpc/channel.h"
#include "tests/testing/poll_until.h"

namespace berth::testing {
namespace {

constexpr char kProgram[] = "/usr/bin/etcd";

[[noreturn]] void GiveUp(const std::string& why) {
  std::fprintf(stderr, "%s\n", why.c_str());
  std::abort();
}

// From a line of the log, {"msg":"serving client traffic ...","address":"127.0.0.1:4711"}.
std::string FindAddress(const std::string& log) {
  const size_t line = log.find("\"serving client traffic ");
  const std::string mark = "\"address\":\"";
  const size_t at = line == std::string::npos ? line : log.find(mark, line);
  const size_t end = at == std::string::npos ? at : log.find('"', at + mark.size());
  return end == std::string::npos ? "" : log.substr(at + mark.size(), end - at - mark.size());
}

// A call of etcd's Auth service that Berth does not use. Those that add users and give roles take
// the two strings that Authenticate takes, under the same numbers.
void Administer(const std::shared_ptr<grpc::Channel>& server, const std::string& method,
                const std::string& first, const std::string& second) {
  etcdserverpb::AuthenticateRequest request;
  request.set_name(first);
  request.set_password(second);
  etcdserverpb::AuthenticateResponse response;
  grpc::TemplatedGenericStub<etcdserverpb::AuthenticateRequest, etcdserverpb::AuthenticateResponse>
      stub(server);
  grpc::ClientContext context;
  absl::Notification done;
  stub.UnaryCall(&context, "/etcdserverpb.Auth/" + method, {}, &request, &response,
                 [&](const grpc::Status& status) {
                   EXPECT_TRUE(status.ok()) << method << ": " << status.error_message();
                   done.Notify();
                 });
  done.WaitForNotification();
}

}  // namespace

EtcdServer::EtcdServer(TlsOptions tls) : tls_(std::move(tls)) {
  MakeFolder();
  Start();
}

EtcdServer::EtcdServer(Member member) : member_(std::move(member)), address_(member_.address) {
  MakeFolder();
}

void EtcdServer::MakeFolder() {
  if (::access(kProgram, X_OK) != 0) {
    GiveUp(absl::StrCat(kProgram, " is not there: run deploy/install-dependencies test"));
  }
  std::string folder = "/tmp/berth-etcd.XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) GiveUp("no folder can be made in /tmp");
  folder_ = folder;
}

EtcdServer::~EtcdServer() {
  process_.reset();
  std::filesystem::remove_all(folder_);
}

void EtcdServer::Start() {
  Launch();
  AwaitServing();
}

void EtcdServer::Launch() {
  const std::string log = folder_ + "/log";
  std::filesystem::remove(log);
  const std::string url = absl::StrCat(tls_.empty() ? "http" : "https", "://", address_);
  Process::Options options = {
      .program = kProgram,
      .args = {"--data-dir", folder_ + "/data", "--logger", "zap", "--unsafe-no-fsync",
               "--listen-client-urls", url, "--advertise-client-urls", url},
      .out = log,
      .err = ""};
  const auto add = [&options](const std::vector<std::string>& args) {
    options.args.insert(options.args.end(), args.begin(), args.end());
  };
  if (member_.name.empty()) {
    add({"--listen-peer-urls", "http://127.0.0.1:0"});
  } else {
    const std::string peer = "http://" + member_.peer_address;
    add({"--name", member_.name, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
         "--initial-cluster", member_.cluster});
  }
  if (!tls_.empty()) {
    add({"--cert-file", tls_.certificate_file, "--key-file", tls_.key_file, "--client-cert-auth",
         "--trusted-ca-file", tls_.ca_file});
  }
  process_ = std::make_unique<Process>(options);
}

void EtcdServer::AwaitServing() {
  const std::string log = folder_ + "/log";
  PollUntil([&] {
    const std::string found = FindAddress(ReadFile(log));
    if (!found.empty()) address_ = found;
    if (found.empty() && !process_->running()) GiveUp("etcd has ended: " + ReadFile(log));
    return !found.empty();
  });
}

void EtcdServer::Pause() {
  process_->Signal(SIGSTOP);
  // Its threads stop one after the other; this returns after the last.
  siginfo_t info = {};
  EXPECT_EQ(::waitid(P_PID, static_cast<id_t>(process_->pid()), &info, WSTOPPED), 0);
}

void EtcdServer::RequirePasswords(const TlsOptions& tls) const {
  const auto channel = MakeChannel({.address = address_, .tls = tls});
  if (!channel.ok()) GiveUp(channel.status().ToString());
  Administer(*channel, "UserAdd", "root", "secret");
  Administer(*channel, "RoleAdd", "root", "");
  Administer(*channel, "UserGrantRole", "root", "root");
  Administer(*channel, "AuthEnable", "", "");
}

EtcdClientOptions EtcdServer::ClientOptions(const TlsOptions& tls) const {
  return {.endpoints = {address_}, .tls = tls, .attempt_timeout = absl::Seconds(20)};
}

std::shared_ptr<EtcdClient> EtcdServer::Client(const TlsOptions& tls) const {
  absl::StatusOr<std::shared_ptr<EtcdClient>> client = EtcdClient::Make(ClientOptions(tls));
  if (!client.ok()) GiveUp(client.status().ToString());
  return *std::move(client);
}

EtcdCluster::EtcdCluster() {
  // Two test programs that run at the same time have process ids that are closer to each other than
  // this repeats.
  const pid_t pid = ::getpid();
  const std::string network = absl::StrCat("127.", 1 + pid / 256 % 254, ".", pid % 256, ".");
  constexpr int kMembers = 3;
  std::string cluster;
  for (int i = 1; i <= kMembers; ++i) {
    absl::StrAppend(&cluster, i == 1 ? "" : ",", "m", i, "=http://", network, i, ":2380");
  }
  for (int i = 1; i <= kMembers; ++i) {
    members_.push_back(std::make_unique<EtcdServer>(
        EtcdServer::Member{.name = absl::StrCat("m", i),
                           .address = absl::StrCat(network, i, ":2379"),
                           .peer_address = absl::StrCat(network, i, ":2380"),
                           .cluster = cluster}));
  }
  for (const auto& member : members_) member->Launch();
  for (const auto& member : members_) member->AwaitServing();
}

std::vector<std::string> EtcdCluster::addresses() const {
  std::vector<std::string> addresses;
  for (const auto& member : members_) addresses.push_back(member->address());
  return addresses;
}

void PutInEtcd(EtcdClient& client, const std::string& key, const std::string& value) {
  etcdserverpb::TxnRequest txn;
  txn.add_success()->mutable_request_put()->set_key(key);
  txn.mutable_success(0)->mutable_request_put()->set_value(value);
  const auto response = client.RepeatTxn(txn);
  EXPECT_TRUE(response.ok()) << response.status();
}

mvccpb::KeyValue GetFromEtcd(EtcdClient& client, const std::string& key) {
  etcdserverpb::RangeRequest range;
  range.set_key(key);
  const auto response = client.Range(range);
  EXPECT_TRUE(response.ok()) << response.status();
  if (!response.ok() || response->kvs().empty()) {
    ADD_FAILURE() << "etcd has no " << key;
    return {};
  }
  return response->kvs(0);
}

}  // namespace berth::testing
