// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_STORE_ETCD_CLIENT_H_
#define BERTH_LIB_STORE_ETCD_CLIENT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "etcd/rpc.pb.h"
#include "lib/rpc/credentials.h"

namespace berth {

struct EtcdClientOptions {
  // "10.0.0.1:2379", one per member of the cluster; at least one. The next is taken when one does
  // not answer.
  std::vector<std::string> endpoints = {};
  // Without TLS only loopback addresses are dialled.
  TlsOptions tls = {};
  // Empty: no authentication.
  std::string user = {};
  std::string password = {};
  // How long a member has to answer.
  absl::Duration attempt_timeout = absl::Seconds(2);
  // How often a call that may be repeated is made, at most.
  int attempts = 5;
};

// etcd's API over the generated stubs: connections, authentication, repetition. Calls block.
// Thread-safe. Errors have the canonical code that etcd or gRPC gave, and name member and method.
class EtcdClient {
 public:
  // Dials nobody yet. kMissingField without endpoints, and the errors of MakeChannel().
  static absl::StatusOr<std::shared_ptr<EtcdClient>> Make(EtcdClientOptions options);
  ~EtcdClient();
  EtcdClient(const EtcdClient&) = delete;
  EtcdClient& operator=(const EtcdClient&) = delete;

  // Repeated until a member has answered, or `attempts` have failed.
  absl::StatusOr<etcdserverpb::StatusResponse> Status();
  absl::StatusOr<etcdserverpb::RangeResponse> Range(const etcdserverpb::RangeRequest& request);
  // For a Txn that does no harm when it is done twice: one that only reads, for example.
  absl::StatusOr<etcdserverpb::TxnResponse> RepeatTxn(const etcdserverpb::TxnRequest& request);

  // Made once: what was sent may be done although no answer came. WasRefused() tells.
  absl::StatusOr<etcdserverpb::TxnResponse> Txn(const etcdserverpb::TxnRequest& request);
  // The answer has the time that the server has made of `ttl` (whole seconds, at least a few).
  absl::StatusOr<etcdserverpb::LeaseGrantResponse> GrantLease(absl::Duration ttl);
  absl::Status RevokeLease(int64_t id);
  // The time that the lease has from now on; zero when there is no such lease. Gives up after
  // `limit`.
  absl::StatusOr<absl::Duration> KeepAlive(int64_t id, absl::Duration limit);

  // Waits until `key` is deleted at revision `from` of etcd or later. Not OK: `limit` is over, or
  // the watch has ended; only looking tells what is there.
  absl::Status AwaitDeletion(const std::string& key, int64_t from, absl::Duration limit);

  // Waits until the member whose turn it is can be reached, for attempt_timeout at most.
  void AwaitConnection();

 private:
  class Impl;
  explicit EtcdClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Whether etcd itself has said, with this error, that it has not done and will not do what was
// asked. Everything else leaves that open: no answer, but also RESOURCE_EXHAUSTED (etcd
// server/etcdserver/apply.go, quotaApplierV3.Txn: applied, then answered "no space").
bool WasRefused(const absl::Status& status);

}  // namespace berth

#endif  // BERTH_LIB_STORE_ETCD_CLIENT_H_
