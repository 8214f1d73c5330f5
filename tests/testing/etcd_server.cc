// SPDX-License-Identifier: Apache-2.0
#include "tests/testing/etcd_server.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_cat.h"
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

}  // namespace

EtcdServer::EtcdServer(TlsOptions tls) : tls_(std::move(tls)) {
  if (::access(kProgram, X_OK) != 0) {
    GiveUp(absl::StrCat(kProgram, " is not there: run deploy/install-dependencies test"));
  }
  std::string folder = "/tmp/berth-etcd.XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) GiveUp("no folder can be made in /tmp");
  folder_ = folder;
  Start();
}

EtcdServer::~EtcdServer() {
  process_.reset();
  std::filesystem::remove_all(folder_);
}

void EtcdServer::Start() {
  const std::string log = folder_ + "/log";
  std::filesystem::remove(log);
  const std::string url = absl::StrCat(tls_.empty() ? "http" : "https", "://", address_);
  Process::Options options = {
      .program = kProgram,
      .args = {"--data-dir", folder_ + "/data", "--logger", "zap", "--unsafe-no-fsync",
               "--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls",
               "http://127.0.0.1:0"},
      .out = log,
      .err = ""};
  if (!tls_.empty()) {
    for (const std::string& arg :
         {std::string("--cert-file"), tls_.certificate_file, std::string("--key-file"),
          tls_.key_file, std::string("--client-cert-auth"), std::string("--trusted-ca-file"),
          tls_.ca_file}) {
      options.args.push_back(arg);
    }
  }
  process_ = std::make_unique<Process>(options);
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

EtcdClientOptions EtcdServer::ClientOptions(const TlsOptions& tls) const {
  return {.endpoints = {address_}, .tls = tls, .attempt_timeout = absl::Seconds(20)};
}

std::shared_ptr<EtcdClient> EtcdServer::Client(const TlsOptions& tls) const {
  absl::StatusOr<std::shared_ptr<EtcdClient>> client = EtcdClient::Make(ClientOptions(tls));
  if (!client.ok()) GiveUp(client.status().ToString());
  return *std::move(client);
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
