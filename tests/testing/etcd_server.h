// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_TESTING_ETCD_SERVER_H_
#define BERTH_TESTS_TESTING_ETCD_SERVER_H_

#include <signal.h>

#include <memory>
#include <string>

#include "lib/store/etcd/client.h"
#include "tests/integration/process.h"

namespace berth::testing {

// A real etcd of one member (Debian's package etcd-server), with its data in a folder of its own
// under /tmp, on a free port of 127.0.0.1. It ends with the object or the process. Where etcd is
// not installed the test program ends, saying so: nothing of it can be shown.
class EtcdServer {
 public:
  // With `tls`, clients must use it and show a certificate that descends from its ca_file.
  explicit EtcdServer(TlsOptions tls = {});
  ~EtcdServer();
  EtcdServer(const EtcdServer&) = delete;
  EtcdServer& operator=(const EtcdServer&) = delete;

  // SIGKILL.
  void Kill() { process_->Kill(); }
  // After Kill(): the same data at the same address. Returns when it answers.
  void Start();
  // SIGSTOP and SIGCONT, for one that is there and does not answer.
  void Pause();
  void Resume() { process_->Signal(SIGCONT); }

  // "127.0.0.1:port"
  [[nodiscard]] const std::string& address() const { return address_; }
  // To dial it as a test does: patiently.
  [[nodiscard]] EtcdClientOptions ClientOptions(const TlsOptions& tls = {}) const;
  [[nodiscard]] std::shared_ptr<EtcdClient> Client(const TlsOptions& tls = {}) const;

 private:
  const TlsOptions tls_;
  std::string folder_;
  std::string address_ = "127.0.0.1:0";
  std::unique_ptr<Process> process_;
};

// Writes `value` under `key`, as somebody who knows nothing of Berth.
void PutInEtcd(EtcdClient& client, const std::string& key, const std::string& value);
// What is there; fails the test when nothing is.
mvccpb::KeyValue GetFromEtcd(EtcdClient& client, const std::string& key);

}  // namespace berth::testing

#endif  // BERTH_TESTS_TESTING_ETCD_SERVER_H_
