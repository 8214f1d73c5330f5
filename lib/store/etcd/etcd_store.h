// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_STORE_ETCD_ETCD_STORE_H_
#define BERTH_LIB_STORE_ETCD_ETCD_STORE_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "berth/internal/v1/etcd_store.pb.h"
#include "lib/base/clock.h"
#include "lib/store/etcd/client.h"
#include "lib/store/store.h"

namespace berth {

struct EtcdStoreOptions : StoreOptions {
  EtcdClientOptions etcd = {};
  // What the keys of this store begin with; several stores can share a cluster.
  std::string prefix = "/berth";
  // Who opens it, for those who find it taken.
  internal::v1::EtcdLeader holder = {};
  // The store can be opened by another so long after this process was last heard of; etcd takes 2 s
  // or more.
  absl::Duration lease_ttl = absl::Seconds(3);
  // How long opening waits for whoever has the store open to go; may be infinite. More than
  // lease_ttl outlasts one that has died.
  absl::Duration acquire_timeout = absl::ZeroDuration();
  // Leadership::Options::keep_waiting.
  std::function<bool(const internal::v1::EtcdLeader&)> keep_waiting = nullptr;
  Clock* clock = nullptr;  // outlives the store
  // Called once, on a thread of the store's, when it has lost the store to another or may lose it
  // any moment: kFenced. Commits fail from then on, if not at once. It must not destroy the store.
  std::function<void(const absl::Status&)> on_lost = nullptr;
};

// A Store in etcd (3.4 or later), below a prefix that only stores of Berth use. A commit is durable
// when a majority of the members has written it.
//   kStoreLocked    another has it open; metadata "holder"
//   kStoreCorrupt   what is below the prefix is no store of Berth, or a damaged one
//   kVersionSkew    etcd is too old, or the store was written by a newer version
//   kInvalidField, kMissingField, those of MakeChannel(): the options are wrong
//   kUnauthenticated, kPermissionDenied, kUnavailable, kStoreFailed: what etcd says
// Beyond the rules of store.h, Commit() refuses with kTooLarge what does not fit into a request of
// 1.5 MiB, where payloads of logged kinds count twice.
absl::StatusOr<std::unique_ptr<Store>> OpenEtcdStore(const EtcdStoreOptions& options);

// A client for the cluster of `options`, which are valid, when its server is new and well enough.
absl::StatusOr<std::shared_ptr<EtcdClient>> DialEtcd(const EtcdStoreOptions& options);

}  // namespace berth

#endif  // BERTH_LIB_STORE_ETCD_ETCD_STORE_H_
