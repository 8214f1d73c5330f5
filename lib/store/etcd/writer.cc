// SPDX-License-Identifier: Apache-2.0
#include "lib/store/etcd/writer.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/ids.h"
#include "lib/base/status.h"

namespace berth {
namespace {

namespace pb = etcdserverpb;

const mvccpb::KeyValue* OnlyKey(const pb::TxnResponse& response, int index) {
  if (index >= response.responses_size()) return nullptr;
  const auto& kvs = response.responses(index).response_range().kvs();
  return kvs.empty() ? nullptr : &kvs[0];
}

absl::Status TooLarge(const EtcdCost& cost) {
  return Error(Reason::kTooLarge,
               absl::StrCat("a transaction with ", cost.changes, " changes, ", cost.bytes,
                            " bytes as etcd gets them (what is watched counts twice); at most ",
                            kMaxGroupChanges, " and ", kMaxGroupBytes));
}

bool Fits(const EtcdCost& cost) {
  return cost.changes <= kMaxGroupChanges && cost.bytes <= kMaxGroupBytes;
}

}  // namespace

EtcdWriter::EtcdWriter(std::shared_ptr<EtcdClient> client, EtcdLayout layout, pb::Compare fence,
                       const StoreOptions& options, int attempts)
    : client_(std::move(client)),
      layout_(std::move(layout)),
      reader_(client_, layout_),
      fence_(std::move(fence)),
      unlogged_(options.unlogged_kinds.begin(), options.unlogged_kinds.end()),
      max_logged_revisions_(options.max_logged_revisions),
      attempts_(attempts) {}

absl::StatusOr<std::unique_ptr<EtcdWriter>> EtcdWriter::TakeOver(std::shared_ptr<EtcdClient> client,
                                                                 EtcdLayout layout,
                                                                 pb::Compare fence,
                                                                 const StoreOptions& options,
                                                                 int attempts) {
  std::unique_ptr<EtcdWriter> writer(
      new EtcdWriter(std::move(client), std::move(layout), std::move(fence), options, attempts));
  absl::MutexLock lock(&writer->mu_);
  BERTH_RETURN_IF_ERROR(writer->RaiseTerm());
  return writer;
}

absl::Status EtcdWriter::RaiseTerm() {
  pb::TxnRequest look;
  look.add_success()->mutable_request_range()->set_key(layout_.HeadKey());
  *look.add_success()->mutable_request_range() = layout_.AllRecords();
  look.mutable_success(1)->mutable_request_range()->set_limit(1);
  const absl::StatusOr<pb::TxnResponse> found = client_->RepeatTxn(look);
  if (!found.ok()) return EtcdFailed(found.status(), "not_committed");
  const mvccpb::KeyValue* stored = OnlyKey(*found, 0);
  Head next;
  if (stored != nullptr) {
    BERTH_ASSIGN_OR_RETURN(head_, DecodeEtcdHead(stored->value()));
    head_mod_revision_ = stored->mod_revision();
    next = head_;
  } else if (OnlyKey(*found, 1) != nullptr) {
    return Error(Reason::kStoreCorrupt, absl::StrCat("etcd has records and no ", layout_.HeadKey(),
                                                     ": not a store of Berth, or a damaged one"));
  } else {
    next.set_format(kEtcdFormat);
    next.set_uid(NewUuid());
  }
  next.set_term(next.term() + 1);
  // May be repeated: the second finds what the first has done.
  const absl::StatusOr<pb::TxnResponse> written = client_->RepeatTxn(Guarded(next));
  if (!written.ok()) return EtcdFailed(written.status(), "unknown");
  head_mod_revision_ = written->header().revision();
  if (!written->succeeded()) {
    const Verdict verdict = Judge(*written, next);
    if (verdict.fate != Fate::kCommitted) return verdict.why;
  }
  head_ = next;
  revision_ = next.revision();
  epoch_ = {next.uid(), next.restore_count(), next.term()};
  return absl::OkStatus();
}

absl::Status EtcdWriter::CheckSize(const Transaction& transaction) const {
  const EtcdCost cost = CostOf(transaction, layout_, unlogged_);
  return Fits(cost) ? absl::OkStatus() : TooLarge(cost);
}

void EtcdWriter::Commit(absl::Span<CommitQueue::Item> batch) {
  absl::MutexLock lock(&mu_);
  while (!batch.empty()) batch.remove_prefix(CommitSome(batch));
}

size_t EtcdWriter::Fitting(absl::Span<CommitQueue::Item> items) const {
  EtcdCost sum;
  for (size_t count = 0; count < items.size(); ++count) {
    const EtcdCost cost = CostOf(items[count].transaction, layout_, unlogged_);
    sum.changes += cost.changes;
    sum.bytes += cost.bytes;
    if (!Fits(sum)) return std::max<size_t>(count, 1);
  }
  return items.size();
}

size_t EtcdWriter::CommitSome(absl::Span<CommitQueue::Item> items) {
  const absl::Span<CommitQueue::Item> group_items = items.subspan(0, Fitting(items));
  const auto fail_all = [group_items](const absl::Status& status) {
    for (CommitQueue::Item& item : group_items) {
      if (item.outcome.ok()) item.outcome = status;
    }
    return group_items.size();
  };
  if (!broken_.ok()) return fail_all(WithMetadata(broken_, "outcome", "not_committed"));
  std::vector<RecordKey> needs;
  for (const CommitQueue::Item& item : group_items) {
    std::vector<RecordKey> more = EtcdCommitGroup::Needs(item.transaction, unlogged_);
    needs.insert(needs.end(), std::make_move_iterator(more.begin()),
                 std::make_move_iterator(more.end()));
  }
  const absl::StatusOr<EtcdCommitGroup::Known> known = reader_.Look(needs);
  if (!known.ok()) return fail_all(known.status());
  EtcdCommitGroup group(&layout_, &unlogged_, head_.term(), head_.revision());
  for (CommitQueue::Item& item : group_items) item.outcome = group.Apply(item.transaction, *known);
  if (group.reached() == head_.revision()) return group_items.size();

  Head next = head_;
  next.set_revision(group.reached());
  const Revision oldest = group.reached() - max_logged_revisions_;
  // A tenth more than asked for, so that trimming is rare and in runs.
  const bool trim = oldest - head_.compacted() > max_logged_revisions_ / 10;
  if (trim) next.set_compacted(oldest);
  pb::TxnRequest txn = Guarded(next);
  group.AddTo(&txn);
  if (trim) *txn.add_success()->mutable_request_delete_range() = layout_.LogUpTo(oldest);
  if (const absl::Status failed = Settle(std::move(txn), next); !failed.ok()) fail_all(failed);
  return group_items.size();
}

absl::Status EtcdWriter::Compact(Revision up_to) {
  absl::MutexLock lock(&mu_);
  up_to = std::min<Revision>(up_to, head_.revision());
  if (up_to <= head_.compacted()) return absl::OkStatus();
  BERTH_RETURN_IF_ERROR(broken_);
  Head next = head_;
  next.set_compacted(up_to);
  pb::TxnRequest txn = Guarded(next);
  *txn.add_success()->mutable_request_delete_range() = layout_.LogUpTo(up_to);
  return Settle(std::move(txn), next);
}

pb::TxnRequest EtcdWriter::Guarded(const Head& head) const {
  pb::TxnRequest txn;
  *txn.add_compare() = fence_;
  pb::Compare& same = *txn.add_compare();
  same.set_target(pb::Compare::MOD);
  same.set_key(layout_.HeadKey());
  same.set_mod_revision(head_mod_revision_);
  pb::PutRequest& put = *txn.add_success()->mutable_request_put();
  put.set_key(layout_.HeadKey());
  put.set_value(head.SerializeAsString());
  txn.add_failure()->mutable_request_range()->set_key(layout_.HeadKey());
  txn.add_failure()->mutable_request_range()->set_key(layout_.LeaderKey());
  return txn;
}

absl::Status EtcdWriter::Settle(pb::TxnRequest txn, const Head& after) {
  Verdict verdict = Send(txn, after);
  for (int sent = 1; verdict.fate == Fate::kLost && sent < attempts_; ++sent) {
    // The head may have been written again by finding out.
    txn.mutable_compare(1)->set_mod_revision(head_mod_revision_);
    verdict = Send(txn, after);
  }
  switch (verdict.fate) {
    case Fate::kCommitted:
      head_ = after;
      revision_ = after.revision();
      return absl::OkStatus();
    case Fate::kLost:
    case Fate::kRefused:
      return EtcdFailed(verdict.why, "not_committed");
    case Fate::kAnotherLeads:
      return broken_ = verdict.why;
    case Fate::kUnknown:
      break;
  }
  broken_ = Error(Reason::kStoreFailed,
                  absl::StrCat("the store is closed for writing after a commit whose outcome is not"
                               " known; reopen it (",
                               verdict.why.message(), ")"));
  return EtcdFailed(verdict.why, "unknown");
}

EtcdWriter::Verdict EtcdWriter::Send(const pb::TxnRequest& txn, const Head& after) {
  const absl::StatusOr<pb::TxnResponse> response = client_->Txn(txn);
  if (!response.ok()) {
    if (WasRefused(response.status())) return {Fate::kRefused, response.status()};
    return FindOut(after, response.status());
  }
  if (!response->succeeded()) return Judge(*response, after);
  head_mod_revision_ = response->header().revision();
  return {Fate::kCommitted, absl::OkStatus()};
}

EtcdWriter::Verdict EtcdWriter::FindOut(const Head& after, const absl::Status& why) {
  // A server that is full takes no writes, and has nothing on its way any more: reading is enough.
  const bool full = absl::IsResourceExhausted(why);
  const pb::TxnRequest barrier = Guarded(head_);
  pb::TxnRequest look;
  *look.mutable_success() = barrier.failure();
  absl::Status last = why;
  for (int attempt = 0; attempt < attempts_; ++attempt) {
    client_->AwaitConnection();
    const absl::StatusOr<pb::TxnResponse> response = client_->Txn(full ? look : barrier);
    if (!response.ok()) {
      last = response.status();
      continue;
    }
    if (!full && response->succeeded()) {
      head_mod_revision_ = response->header().revision();
      return {Fate::kLost, why};
    }
    Verdict verdict = Judge(*response, after);
    if (verdict.fate == Fate::kLost) verdict = {full ? Fate::kRefused : Fate::kLost, why};
    return verdict;
  }
  return {Fate::kUnknown, last};
}

EtcdWriter::Verdict EtcdWriter::Judge(const pb::TxnResponse& response, const Head& after) {
  const mvccpb::KeyValue* stored = OnlyKey(response, 0);
  const mvccpb::KeyValue* leader = OnlyKey(response, 1);
  const bool leads = leader != nullptr && leader->create_revision() == fence_.create_revision();
  ErrorMetadata metadata;
  std::string who = "this controller leads no more";
  if (!leads && leader != nullptr) {
    metadata["holder"] = DecodeEtcdLeader(leader->value()).description();
    absl::StrAppend(&who, "; ", metadata["holder"], " does");
  }
  if (stored == nullptr) {
    return {Fate::kUnknown, Error(Reason::kStoreCorrupt, "the head of the store in etcd is gone")};
  }
  const absl::StatusOr<Head> head = DecodeEtcdHead(stored->value());
  if (!head.ok()) return {Fate::kUnknown, head.status()};
  metadata["term"] = absl::StrCat(head->term());
  const absl::Status fenced = Error(Reason::kFenced, who, metadata);
  const bool same_store = head->uid() == after.uid();
  const bool done = same_store && head->term() == after.term() &&
                    head->revision() == after.revision() && head->compacted() == after.compacted();
  // The next leader would raise the term to the same number, so that only the leader is told by it.
  if (done && (leads || after.term() == head_.term())) {
    head_mod_revision_ = stored->mod_revision();
    return {Fate::kCommitted, absl::OkStatus()};
  }
  const bool later_term = head->term() > after.term();
  // A later leader has come as far: from before this Txn or from after it.
  if (same_store && later_term && after.revision() > head_.revision() &&
      head->revision() >= after.revision()) {
    return {Fate::kUnknown, fenced};
  }
  if (!leads || !same_store || later_term) return {Fate::kAnotherLeads, fenced};
  head_mod_revision_ = stored->mod_revision();
  return {Fate::kLost, Error(Reason::kUnavailable, "somebody else writes the head of the store")};
}

}  // namespace berth
