// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_STORE_ETCD_WRITER_H_
#define BERTH_LIB_STORE_ETCD_WRITER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "etcd/rpc.pb.h"
#include "lib/store/commit_queue.h"
#include "lib/store/etcd/client.h"
#include "lib/store/etcd/commit_group.h"
#include "lib/store/etcd/layout.h"
#include "lib/store/etcd/reader.h"
#include "lib/store/store.h"

namespace berth {

// The writing side of a store in etcd. Every Txn compares two things: the leader's fence, and the
// etcd revision of the head, which every Txn writes. So
//   * who leads no more commits nothing;
//   * what one leader has read stays true until its next Txn, and records need no compares of their
//     own;
//   * a Txn whose outcome is not known is found out: writing the same head again either succeeds,
//     and the Txn can never happen any more, or fails, and the head tells whether it has.
// Thread-safe.
class EtcdWriter {
 public:
  // Becomes the writer: raises the term of the store, or makes the store. `fence` is that of the
  // leadership, which outlives the writer. kStoreCorrupt, kVersionSkew, kFenced, kStoreFailed.
  static absl::StatusOr<std::unique_ptr<EtcdWriter>> TakeOver(std::shared_ptr<EtcdClient> client,
                                                              EtcdLayout layout,
                                                              etcdserverpb::Compare fence,
                                                              const StoreOptions& options,
                                                              int attempts);

  // Commits the batch in as few Txns as etcd's limits allow, one after the other.
  void Commit(absl::Span<CommitQueue::Item> batch);
  absl::Status Compact(Revision up_to);
  // kTooLarge when no Txn can hold it.
  absl::Status CheckSize(const Transaction& transaction) const;

  StoreEpoch epoch() const { return epoch_; }
  // Of the last durable transaction.
  Revision revision() const { return revision_; }

 private:
  // What has become of a Txn.
  enum class Fate {
    kCommitted,
    kLost,          // it has not happened and never will; the same can be sent again
    kRefused,       // the same, and sending it again does not help
    kAnotherLeads,  // the same, and nothing of this writer's ever will
    kUnknown,
  };
  struct Verdict {
    Fate fate = Fate::kUnknown;
    absl::Status why;  // not OK unless kCommitted
  };
  using Head = internal::v1::EtcdHead;

  EtcdWriter(std::shared_ptr<EtcdClient> client, EtcdLayout layout, etcdserverpb::Compare fence,
             const StoreOptions& options, int attempts);

  absl::Status RaiseTerm() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Commits the first few of `items` in one Txn, sets their outcomes, and returns how many.
  size_t CommitSome(absl::Span<CommitQueue::Item> items) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // How many of `items` fit into one Txn; at least one.
  size_t Fitting(absl::Span<CommitQueue::Item> items) const;

  // A Txn with the two compares that writes `head`, and reads head and leader when it fails.
  etcdserverpb::TxnRequest Guarded(const Head& head) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Sends `txn`, which leads to the head `after`, until its fate is known.
  absl::Status Settle(etcdserverpb::TxnRequest txn, const Head& after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Verdict Send(const etcdserverpb::TxnRequest& txn, const Head& after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // No answer came to a Txn: makes sure that it has happened or never will.
  Verdict FindOut(const Head& after, const absl::Status& why) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // From head and leader as they stand in etcd: what has become of the Txn that leads to `after`.
  Verdict Judge(const etcdserverpb::TxnResponse& response, const Head& after)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::shared_ptr<EtcdClient> client_;
  const EtcdLayout layout_;
  const EtcdReader reader_;
  const etcdserverpb::Compare fence_;
  const UnloggedKinds unlogged_;
  const Revision max_logged_revisions_;
  const int attempts_;
  StoreEpoch epoch_;  // fixed when TakeOver() returns
  std::atomic<Revision> revision_ = 0;

  absl::Mutex mu_;
  Head head_ ABSL_GUARDED_BY(mu_);
  int64_t head_mod_revision_ ABSL_GUARDED_BY(mu_) = 0;
  // Why nothing is committed any more; OK while it works.
  absl::Status broken_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_LIB_STORE_ETCD_WRITER_H_
