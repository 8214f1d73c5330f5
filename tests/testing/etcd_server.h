// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_TESTING_ETCD_SERVER_H_
#define BERTH_TESTS_TESTING_ETCD_SERVER_H_

#include <signal.h>

#include <memory>
#include <string>
#include <vector>

#include "lib/store/etcd/client.h"
#include "tests/integration/process.h"

namespace berth::testing {

// A real etcd (Debian's package etcd-server), with its data in a folder of its own under /tmp. It
// ends with the object or the process. Where etcd is not installed the test program ends, saying
// so: nothing of it can be shown.
class EtcdServer {
 public:
  // One of several members; see EtcdCluster.
  struct Member {
    std::string name;
    std::string address;       // for clients
    std::string peer_address;  // for the other members
    std::string cluster;       // --initial-cluster
  };

  // A cluster of one, on a free port of 127.0.0.1. With `tls`, clients must use it and show a
  // certificate that descends from its ca_file.
  explicit EtcdServer(TlsOptions tls = {});
  // Not started yet.
  explicit EtcdServer(Member member);
  ~EtcdServer();
  EtcdServer(const EtcdServer&) = delete;
  EtcdServer& operator=(const EtcdServer&) = delete;

  // SIGKILL.
  void Kill() { process_->Kill(); }
  // After Kill(): the same data at the same address. Returns when it answers.
  void Start();
  // The two halves of Start(): a member answers when a majority is there.
  void Launch();
  void AwaitServing();
  // SIGSTOP and SIGCONT, for one that is there and does not answer.
  void Pause();
  void Resume() { process_->Signal(SIGCONT); }

  // From now on it answers those who show a password; that of "root", who may do all, is "secret".
  void RequirePasswords(const TlsOptions& tls = {}) const;

  // "127.0.0.1:port"
  [[nodiscard]] const std::string& address() const { return address_; }
  // To dial it as a test does: patiently.
  [[nodiscard]] EtcdClientOptions ClientOptions(const TlsOptions& tls = {}) const;
  [[nodiscard]] std::shared_ptr<EtcdClient> Client(const TlsOptions& tls = {}) const;

 private:
  void MakeFolder();

  const TlsOptions tls_;
  const Member member_;  // all empty: a cluster of one
  std::string folder_;
  std::string address_ = "127.0.0.1:0";
  std::unique_ptr<Process> process_;
};

// A cluster of three on loopback addresses of its own (127.x.y.1 to .3), which answers when the
// constructor returns.
class EtcdCluster {
 public:
  EtcdCluster();

  EtcdServer& member(size_t index) { return *members_.at(index); }
  [[nodiscard]] size_t size() const { return members_.size(); }
  // "127.x.y.1:2379", "127.x.y.2:2379", ...
  [[nodiscard]] std::vector<std::string> addresses() const;

 private:
  std::vector<std::unique_ptr<EtcdServer>> members_;
};

// Writes `value` under `key`, as somebody who knows nothing of Berth.
void PutInEtcd(EtcdClient& client, const std::string& key, const std::string& value);
// What is there; fails the test when nothing is.
mvccpb::KeyValue GetFromEtcd(EtcdClient& client, const std::string& key);

}  // namespace berth::testing

#endif  // BERTH_TESTS_TESTING_ETCD_SERVER_H_
