// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_STORE_ETCD_COMMIT_GROUP_H_
#define BERTH_LIB_STORE_ETCD_COMMIT_GROUP_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "etcd/rpc.pb.h"
#include "lib/store/etcd/layout.h"
#include "lib/store/store.h"

namespace berth {

// etcd's limits, as its servers have them by default (--max-txn-ops, --max-request-bytes). A server
// with lower ones refuses large commits, by name.
inline constexpr size_t kEtcdMaxOperations = 128;
inline constexpr size_t kEtcdMaxRequestBytes = 3 * (size_t{1} << 19);
// What a Txn has beside records: the head, an entry of the log, and a deletion that trims it.
inline constexpr size_t kMaxGroupChanges = kEtcdMaxOperations - 3;
inline constexpr size_t kMaxGroupBytes = kEtcdMaxRequestBytes - (size_t{16} << 10);

// What a transaction takes of a Txn, at most. A logged payload is in it twice: as a record, and in
// the log.
struct EtcdCost {
  size_t changes = 0;
  size_t bytes = 0;
};

using UnloggedKinds = absl::flat_hash_set<std::string>;

EtcdCost CostOf(const Transaction& transaction, const EtcdLayout& layout,
                const UnloggedKinds& unlogged);

// Transactions that share one etcd Txn: each sees what those before it did, and has a revision of
// its own. A key that several of them change is written once, as the last one leaves it (etcd
// allows no more); the log has all of it. Pure: it neither reads nor writes.
class EtcdCommitGroup {
 public:
  // The record of `key` as etcd has it: its revision, kAbsent, or why it cannot be read.
  using Known = std::map<RecordKey, absl::StatusOr<Revision>>;

  // `reached`: the revision before the first transaction. `layout` and `unlogged` outlive the
  // object.
  EtcdCommitGroup(const EtcdLayout* layout, const UnloggedKinds* unlogged, int64_t term,
                  Revision reached);

  // Keys whose state Apply(transaction) asks for: those of its preconditions, and of deletions that
  // are to be logged if there is something to delete.
  static std::vector<RecordKey> Needs(const Transaction& transaction,
                                      const UnloggedKinds& unlogged);

  // The revision of the transaction, or why it does nothing (CheckPreconditions). `known` has what
  // it needs.
  absl::StatusOr<Revision> Apply(const Transaction& transaction, const Known& known);

  Revision reached() const { return reached_; }
  // The operations on records, and on the log if there is anything for it.
  void AddTo(etcdserverpb::TxnRequest* txn) const;

 private:
  struct Written {
    Revision revision = Precondition::kAbsent;
    std::optional<std::string> payload;  // nothing: deleted
  };

  absl::StatusOr<Revision> RevisionOf(const RecordKey& key, const Known& known) const;
  bool Exists(const RecordKey& key, const Known& known) const;

  const EtcdLayout& layout_;
  const UnloggedKinds& unlogged_;
  const int64_t term_;
  Revision reached_;
  std::map<RecordKey, Written> written_;
  internal::v1::EtcdLogEntry log_;
};

}  // namespace berth

#endif  // BERTH_LIB_STORE_ETCD_COMMIT_GROUP_H_
