// SPDX-License-Identifier: Apache-2.0
#include "lib/store/etcd/reader.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/store/transaction.h"

namespace berth {
namespace {

namespace pb = etcdserverpb;

constexpr int64_t kMaxPage = 1000;
constexpr int64_t kFirstPage = 200;
// What a page is meant to have, so that one with somewhat larger values still fits into a message.
constexpr size_t kPageBytes = size_t{1} << 20;
constexpr size_t kMaxLooks = 100;

// How many entries like those of `page` are about kPageBytes.
int64_t NextLimit(const pb::RangeResponse& page) {
  if (page.kvs().empty()) return kFirstPage;
  const size_t each = page.ByteSizeLong() / static_cast<size_t>(page.kvs_size()) + 1;
  return std::clamp<int64_t>(static_cast<int64_t>(kPageBytes / each), 1, kMaxPage);
}

RevisionChanges ToChanges(const internal::v1::EtcdRevisionChanges& stored) {
  RevisionChanges out{stored.revision(), {}};
  for (const internal::v1::EtcdChange& change : stored.changes()) {
    out.changes.push_back({{change.kind(), change.id()}, std::nullopt});
    if (change.has_payload()) out.changes.back().payload = change.payload();
  }
  return out;
}

// Calls read(limit), with less and less while the answer is too large for a message.
template <typename Read>
auto Shrinking(int64_t* limit, const Read& read) {
  auto result = read(*limit);
  while (absl::IsResourceExhausted(result.status()) && *limit > 1) {
    *limit /= 2;
    result = read(*limit);
  }
  return result;
}

}  // namespace

absl::StatusOr<EtcdReader::HeadAndPage> EtcdReader::ReadFirst(pb::RangeRequest range,
                                                              int64_t* limit) const {
  pb::TxnRequest txn;
  txn.add_success()->mutable_request_range()->set_key(layout_.HeadKey());
  *txn.add_success()->mutable_request_range() = std::move(range);
  absl::StatusOr<pb::TxnResponse> response = Shrinking(limit, [&](int64_t entries) {
    txn.mutable_success(1)->mutable_request_range()->set_limit(entries);
    return client_->RepeatTxn(txn);
  });
  if (!response.ok()) return EtcdFailed(response.status(), "not_committed");
  const auto& head = response->responses(0).response_range().kvs();
  if (head.empty()) return Error(Reason::kStoreCorrupt, "the head of the store in etcd is gone");
  HeadAndPage both;
  BERTH_ASSIGN_OR_RETURN(both.head, DecodeEtcdHead(head[0].value()));
  both.page = std::move(*response->mutable_responses(1)->mutable_response_range());
  both.etcd_revision = response->header().revision();
  return both;
}

absl::StatusOr<EtcdReader::Page> EtcdReader::ReadNext(pb::RangeRequest range,
                                                      int64_t* limit) const {
  absl::StatusOr<Page> page = Shrinking(limit, [&](int64_t entries) {
    range.set_limit(entries);
    return client_->Range(range);
  });
  // "required revision has been compacted", for one.
  if (!page.ok()) return EtcdFailed(page.status(), "not_committed");
  return page;
}

void EtcdReader::Deliver(const Page& page, const Store::OnRecord& on_record,
                         const Store::OnBroken& on_broken) const {
  for (const mvccpb::KeyValue& kv : page.kvs()) {
    const std::optional<RecordKey> key = layout_.ParseRecordKey(kv.key());
    if (!key.has_value()) {
      const RecordKey unknown{"unknown", kv.key()};
      on_broken(unknown, RecordDamaged(unknown));
      continue;
    }
    absl::StatusOr<Record> record = DecodeEtcdRecord(*key, kv.value());
    record.ok() ? on_record(*std::move(record)) : on_broken(*key, record.status());
  }
}

absl::StatusOr<Revision> EtcdReader::Load(const Store::OnRecord& on_record,
                                          const Store::OnBroken& on_broken) const {
  BERTH_ASSIGN_OR_RETURN(const internal::v1::EtcdHead head, LoadAll(on_record, on_broken));
  return head.revision();
}

absl::StatusOr<StoreSnapshot> EtcdReader::Snapshot(const Store::OnBroken& on_broken) const {
  StoreSnapshot snapshot;
  const auto keep = [&](Record record) { snapshot.records.push_back(std::move(record)); };
  BERTH_ASSIGN_OR_RETURN(const internal::v1::EtcdHead head, LoadAll(keep, on_broken));
  snapshot.epoch = {head.uid(), head.restore_count(), head.term()};
  snapshot.revision = head.revision();
  return snapshot;
}

absl::StatusOr<internal::v1::EtcdHead> EtcdReader::LoadAll(const Store::OnRecord& on_record,
                                                           const Store::OnBroken& on_broken) const {
  pb::RangeRequest range = layout_.AllRecords();
  int64_t limit = kFirstPage;
  BERTH_ASSIGN_OR_RETURN(HeadAndPage first, ReadFirst(range, &limit));
  range.set_revision(first.etcd_revision);
  for (Page page = std::move(first.page);;) {
    Deliver(page, on_record, on_broken);
    if (!page.more() || page.kvs().empty()) return first.head;
    // The least key after the last.
    range.set_key(page.kvs(page.kvs_size() - 1).key() + std::string(1, '\0'));
    limit = NextLimit(page);
    BERTH_ASSIGN_OR_RETURN(page, ReadNext(range, &limit));
  }
}

absl::StatusOr<Record> EtcdReader::Get(const RecordKey& key) const {
  pb::RangeRequest range;
  range.set_key(layout_.KeyOf(key));
  const absl::StatusOr<Page> found = client_->Range(range);
  if (!found.ok()) return EtcdFailed(found.status(), "not_committed");
  if (found->kvs().empty()) return RecordNotFound(key);
  return DecodeEtcdRecord(key, found->kvs(0).value());
}

absl::StatusOr<ChangeLog> EtcdReader::ReadChanges(Revision after, size_t limit) const {
  ChangeLog out;
  out.up_to = after;
  int64_t entries = kFirstPage;
  size_t count = 0;
  for (;;) {
    BERTH_ASSIGN_OR_RETURN(const HeadAndPage read,
                           ReadFirst(layout_.LogAfter(out.up_to), &entries));
    const absl::Status position =
        CheckReadPosition(out.up_to, read.head.compacted(), read.head.revision());
    // Compacted while this was reading: what has been read is good.
    if (!position.ok() && out.up_to > after) return out;
    BERTH_RETURN_IF_ERROR(position);
    for (const mvccpb::KeyValue& kv : read.page.kvs()) {
      internal::v1::EtcdLogEntry entry;
      const std::optional<Revision> last = layout_.ParseLogKey(kv.key());
      if (!last.has_value() || !entry.ParseFromString(kv.value())) {
        return Error(Reason::kStoreCorrupt, "an entry of the change log in etcd cannot be read");
      }
      for (const auto& revision : entry.revisions()) {
        if (revision.revision() <= out.up_to) continue;
        count += static_cast<size_t>(revision.changes_size());
        if (count > limit && !out.revisions.empty()) {
          out.up_to = revision.revision() - 1;
          return out;
        }
        out.revisions.push_back(ToChanges(revision));
      }
      out.up_to = *last;
    }
    if (!read.page.more()) {
      out.up_to = read.head.revision();
      return out;
    }
    entries = NextLimit(read.page);
  }
}

absl::StatusOr<EtcdCommitGroup::Known> EtcdReader::Look(const std::vector<RecordKey>& keys) const {
  EtcdCommitGroup::Known known;
  int64_t limit = kMaxLooks;
  for (size_t at = 0; at < keys.size();) {
    size_t asked = 0;
    absl::StatusOr<pb::TxnResponse> response = Shrinking(&limit, [&](int64_t looks) {
      pb::TxnRequest txn;
      asked = std::min(keys.size() - at, static_cast<size_t>(looks));
      for (size_t i = at; i < at + asked; ++i) {
        txn.add_success()->mutable_request_range()->set_key(layout_.KeyOf(keys[i]));
      }
      return client_->RepeatTxn(txn);
    });
    if (!response.ok()) return EtcdFailed(response.status(), "not_committed");
    for (size_t i = 0; i < asked; ++i) {
      const auto& found = response->responses(static_cast<int>(i)).response_range().kvs();
      const RecordKey& key = keys[at + i];
      if (found.empty()) {
        known[key] = Precondition::kAbsent;
      } else {
        const absl::StatusOr<Record> record = DecodeEtcdRecord(key, found[0].value());
        known[key] = record.ok() ? absl::StatusOr<Revision>(record->revision) : record.status();
      }
    }
    at += asked;
  }
  return known;
}

}  // namespace berth
