// SPDX-License-Identifier: Apache-2.0
#include "lib/store/etcd/commit_group.h"

#include <utility>

#include "lib/base/status.h"
#include "lib/store/transaction.h"

namespace berth {
namespace {

// Tags and lengths of the messages around a key or a payload, and numbers beside it.
constexpr size_t kEnvelopeBytes = 64;

}  // namespace

EtcdCost CostOf(const Transaction& transaction, const EtcdLayout& layout,
                const UnloggedKinds& unlogged) {
  EtcdCost cost{transaction.puts.size() + transaction.deletes.size(), kEnvelopeBytes};
  const auto add = [&](const RecordKey& key, size_t payload) {
    cost.bytes += layout.KeyOf(key).size() + payload + kEnvelopeBytes;
    if (unlogged.contains(key.kind)) return;
    cost.bytes += key.kind.size() + key.id.size() + payload + kEnvelopeBytes;
  };
  for (const Put& put : transaction.puts) add(put.key, put.payload.size());
  for (const RecordKey& key : transaction.deletes) add(key, 0);
  return cost;
}

EtcdCommitGroup::EtcdCommitGroup(const EtcdLayout* layout, const UnloggedKinds* unlogged,
                                 int64_t term, Revision reached)
    : layout_(*layout), unlogged_(*unlogged), term_(term), reached_(reached) {}

std::vector<RecordKey> EtcdCommitGroup::Needs(const Transaction& transaction,
                                              const UnloggedKinds& unlogged) {
  std::vector<RecordKey> keys;
  for (const Precondition& condition : transaction.preconditions) keys.push_back(condition.key);
  for (const RecordKey& key : transaction.deletes) {
    if (!unlogged.contains(key.kind)) keys.push_back(key);
  }
  return keys;
}

absl::StatusOr<Revision> EtcdCommitGroup::RevisionOf(const RecordKey& key,
                                                     const Known& known) const {
  const auto written = written_.find(key);
  if (written != written_.end()) return written->second.revision;
  const auto stored = known.find(key);
  if (stored != known.end()) return stored->second;
  return Error(Reason::kInternal, "a record was not read before its transaction");
}

bool EtcdCommitGroup::Exists(const RecordKey& key, const Known& known) const {
  const absl::StatusOr<Revision> revision = RevisionOf(key, known);
  // One that cannot be read is there.
  return !revision.ok() || *revision != Precondition::kAbsent;
}

absl::StatusOr<Revision> EtcdCommitGroup::Apply(const Transaction& transaction,
                                                const Known& known) {
  BERTH_RETURN_IF_ERROR(CheckPreconditions(
      transaction, term_, [&](const RecordKey& key) { return RevisionOf(key, known); }));
  ++reached_;
  internal::v1::EtcdRevisionChanges changes;
  changes.set_revision(reached_);
  const auto log = [&](const RecordKey& key) {
    internal::v1::EtcdChange& change = *changes.add_changes();
    change.set_kind(key.kind);
    change.set_id(key.id);
    return &change;
  };
  for (const Put& put : transaction.puts) {
    written_[put.key] = {reached_, put.payload};
    if (!unlogged_.contains(put.key.kind)) log(put.key)->set_payload(put.payload);
  }
  for (const RecordKey& key : transaction.deletes) {
    if (!unlogged_.contains(key.kind) && Exists(key, known)) log(key);
    written_[key] = {Precondition::kAbsent, std::nullopt};
  }
  if (changes.changes_size() > 0) *log_.add_revisions() = std::move(changes);
  return reached_;
}

void EtcdCommitGroup::AddTo(etcdserverpb::TxnRequest* txn) const {
  for (const auto& [key, written] : written_) {
    if (!written.payload.has_value()) {
      txn->add_success()->mutable_request_delete_range()->set_key(layout_.KeyOf(key));
      continue;
    }
    etcdserverpb::PutRequest& put = *txn->add_success()->mutable_request_put();
    put.set_key(layout_.KeyOf(key));
    put.set_value(EncodeEtcdRecord(key, written.revision, *written.payload));
  }
  if (log_.revisions().empty()) return;
  etcdserverpb::PutRequest& entry = *txn->add_success()->mutable_request_put();
  entry.set_key(layout_.LogKey(reached_));
  entry.set_value(log_.SerializeAsString());
}

}  // namespace berth
