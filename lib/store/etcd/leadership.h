// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_STORE_ETCD_LEADERSHIP_H_
#define BERTH_LIB_STORE_ETCD_LEADERSHIP_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "berth/internal/v1/etcd_store.pb.h"
#include "etcd/rpc.pb.h"
#include "lib/base/clock.h"
#include "lib/store/etcd/client.h"

namespace berth {

// The right to be the only one who writes: a key in etcd, bound to a lease that is kept alive by a
// thread of this object. Whoever holds the key leads. When its process dies, is stopped, or is cut
// off from etcd, the lease ends and with it the key.
//
// A leader that was stopped and goes on does not know at once that it is none any more. So each of
// its commits carries fence(): etcd compares it in the same step in which it would commit.
// Thread-safe.
class Leadership {
 public:
  struct Options {
    std::string key = {};
    // Who this is: told to those who find the place taken.
    internal::v1::EtcdLeader holder = {};
    // How long the lease lives without a sign of its holder; etcd raises it to 2 s or more.
    absl::Duration ttl = absl::Seconds(3);
    // How long to wait for the one who leads to go; may be infinite.
    absl::Duration wait = absl::ZeroDuration();
    // Called while it waits, several times a second: who leads, and whether to go on waiting. Null:
    // it does.
    std::function<bool(const internal::v1::EtcdLeader&)> keep_waiting = nullptr;
    Clock* clock = nullptr;  // outlives the object
    // Called once, on the object's thread, when the lease has ended or cannot be kept alive:
    // kFenced. It must not destroy the object.
    std::function<void(const absl::Status&)> on_lost = nullptr;
  };

  // kStoreLocked when another holds the key and there is no more waiting; metadata "holder" is its
  // description. Else the errors of EtcdClient.
  static absl::StatusOr<std::unique_ptr<Leadership>> Acquire(
      const std::shared_ptr<EtcdClient>& client, const Options& options);
  // Resigns: the next can lead at once.
  ~Leadership();
  Leadership(const Leadership&) = delete;
  Leadership& operator=(const Leadership&) = delete;

  // True in etcd for as long as this object leads, and never again after that.
  etcdserverpb::Compare fence() const;
  // Of the lease.
  int64_t lease() const { return lease_; }
  // Until when the lease certainly lives: counted from before the last request that renewed it.
  absl::Time valid_until() const;

 private:
  Leadership(std::shared_ptr<EtcdClient> client, Options options,
             const etcdserverpb::LeaseGrantResponse& lease, absl::Time granted_at);

  // One attempt to take a key that nobody holds. False: somebody was faster.
  absl::StatusOr<bool> Take();
  void Run(absl::Time granted_at);
  // Asks once. Not OK: the leadership is lost.
  absl::Status Renew(absl::Time now);

  const std::shared_ptr<EtcdClient> client_;
  const Options options_;
  const int64_t lease_;
  const absl::Duration ttl_;
  int64_t create_revision_ = 0;  // of the key; fixed when Acquire() returns
  mutable absl::Mutex mu_;
  absl::Time valid_until_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace berth

#endif  // BERTH_LIB_STORE_ETCD_LEADERSHIP_H_
