// SPDX-License-Identifier: Apache-2.0
#include "lib/store/etcd/etcd_medium.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "lib/base/status.h"
#include "lib/store/etcd/commit_group.h"
#include "lib/store/etcd/layout.h"
#include "lib/store/etcd/leadership.h"
#include "lib/store/etcd/reader.h"

namespace berth {
namespace {

namespace pb = etcdserverpb;

// A row of Txns, each of which writes the head and compares it with what the one before has left:
// one that is still on its way when it is sent again, or when this process leads no more, comes to
// nothing.
class GuardedWriter {
 public:
  // `modified`: the etcd revision of the head as it stands; 0: there is none.
  GuardedWriter(EtcdClient* client, const EtcdLayout* layout, pb::Compare fence, int64_t modified)
      : client_(*client), layout_(*layout), fence_(std::move(fence)), modified_(modified) {}

  // `head` is another each time.
  absl::Status Send(pb::TxnRequest txn, const internal::v1::EtcdHead& head) {
    *txn.add_compare() = fence_;
    pb::Compare& same = *txn.add_compare();
    same.set_target(pb::Compare::MOD);
    same.set_key(layout_.HeadKey());
    same.set_mod_revision(modified_);
    pb::PutRequest& put = *txn.add_success()->mutable_request_put();
    put.set_key(layout_.HeadKey());
    put.set_value(head.SerializeAsString());
    txn.add_failure()->mutable_request_range()->set_key(layout_.HeadKey());
    txn.add_failure()->mutable_request_range()->set_key(layout_.LeaderKey());
    const absl::StatusOr<pb::TxnResponse> response = client_.RepeatTxn(txn);
    if (!response.ok()) return EtcdFailed(response.status(), "unknown");
    if (response->succeeded()) {
      modified_ = response->header().revision();
      return absl::OkStatus();
    }
    // Sent twice, and the first had been done.
    const auto& found = response->responses(0).response_range().kvs();
    const auto& leader = response->responses(1).response_range().kvs();
    const bool leads = !leader.empty() && leader[0].create_revision() == fence_.create_revision();
    if (!leads || found.empty() || found[0].value() != put.value()) {
      return Error(Reason::kFenced, "another has taken the store in etcd meanwhile");
    }
    modified_ = found[0].mod_revision();
    return absl::OkStatus();
  }

 private:
  EtcdClient& client_;
  const EtcdLayout& layout_;
  const pb::Compare fence_;
  int64_t modified_;
};

class EtcdPlace : public StoreMedium {
 public:
  explicit EtcdPlace(EtcdStoreOptions options)
      : options_(std::move(options)), layout_(options_.prefix) {}

  std::string Name() const override {
    return absl::StrCat("etcd at ", absl::StrJoin(options_.etcd.endpoints, ","), ", prefix ",
                        options_.prefix);
  }

  absl::StatusOr<StoreSnapshot> Read(const Store::OnBroken& on_broken) override {
    BERTH_ASSIGN_OR_RETURN(const std::shared_ptr<EtcdClient> client, DialEtcd(options_));
    BERTH_ASSIGN_OR_RETURN(const int64_t head, HeadModified(*client));
    if (head == 0) return Error(Reason::kNotFound, absl::StrCat("there is no store: ", Name()));
    return EtcdReader(client, layout_).Snapshot(on_broken);
  }

  absl::StatusOr<std::shared_ptr<const void>> Hold() override {
    BERTH_ASSIGN_OR_RETURN(const std::shared_ptr<EtcdClient> client, DialEtcd(options_));
    BERTH_ASSIGN_OR_RETURN(std::unique_ptr<Leadership> leadership, Lead(client));
    return std::shared_ptr<const Leadership>(std::move(leadership));
  }

  absl::Status Write(const StoreSnapshot& snapshot, IfExists if_exists) override {
    BERTH_ASSIGN_OR_RETURN(const std::shared_ptr<EtcdClient> client, DialEtcd(options_));
    for (const Record& record : snapshot.records) BERTH_RETURN_IF_ERROR(CheckFits(record));
    BERTH_ASSIGN_OR_RETURN(const std::unique_ptr<Leadership> leadership, Lead(client));
    BERTH_ASSIGN_OR_RETURN(const int64_t head, HeadModified(*client));
    if (if_exists == IfExists::kRefuse) BERTH_RETURN_IF_ERROR(CheckEmpty(*client, head));
    GuardedWriter writer(client.get(), &layout_, leadership->fence(), head);
    BERTH_RETURN_IF_ERROR(writer.Send(Clearance(), UnfinishedHead(1)));
    BERTH_RETURN_IF_ERROR(WriteRecords(snapshot, &writer));
    return writer.Send({}, FinishedHead(snapshot));
  }

 private:
  absl::StatusOr<std::unique_ptr<Leadership>> Lead(
      const std::shared_ptr<EtcdClient>& client) const {
    return Leadership::Acquire(client, {.key = layout_.LeaderKey(),
                                        .holder = options_.holder,
                                        .ttl = options_.lease_ttl,
                                        .wait = options_.acquire_timeout,
                                        .clock = options_.clock,
                                        .on_lost = nullptr});
  }

  // The etcd revision of the head; 0: there is none.
  absl::StatusOr<int64_t> HeadModified(EtcdClient& client) const {
    pb::RangeRequest range;
    range.set_key(layout_.HeadKey());
    const absl::StatusOr<pb::RangeResponse> found = client.Range(range);
    if (!found.ok()) return EtcdFailed(found.status(), "not_committed");
    return found->kvs().empty() ? 0 : found->kvs(0).mod_revision();
  }

  absl::Status CheckEmpty(EtcdClient& client, int64_t head) const {
    pb::RangeRequest records = layout_.AllRecords();
    records.set_limit(1);
    const absl::StatusOr<pb::RangeResponse> found = client.Range(records);
    if (!found.ok()) return EtcdFailed(found.status(), "not_committed");
    if (head == 0 && found->kvs().empty()) return absl::OkStatus();
    return Error(Reason::kAlreadyExists, absl::StrCat("there is a store already: ", Name()));
  }

  absl::Status CheckFits(const Record& record) const {
    if (SizeOf(record) <= kMaxGroupBytes) return absl::OkStatus();
    return Error(Reason::kTooLarge,
                 absl::StrCat(record.key.kind, " ", record.key.id, " has ", record.payload.size(),
                              " bytes; etcd takes ", kMaxGroupBytes, " at most"),
                 {{"kind", record.key.kind}, {"id", record.key.id}});
  }
  size_t SizeOf(const Record& record) const {
    constexpr size_t kAround = 64;  // tags and lengths, revision and checksum
    return layout_.KeyOf(record.key).size() + record.payload.size() + kAround;
  }

  // Takes away what is there.
  pb::TxnRequest Clearance() const {
    pb::TxnRequest txn;
    const pb::RangeRequest records = layout_.AllRecords();
    pb::DeleteRangeRequest& remove = *txn.add_success()->mutable_request_delete_range();
    remove.set_key(records.key());
    remove.set_range_end(records.range_end());
    *txn.add_success()->mutable_request_delete_range() =
        layout_.LogUpTo(std::numeric_limits<Revision>::max() - 1);
    return txn;
  }

  // Of a store that is none yet, after `steps` Txns.
  static internal::v1::EtcdHead UnfinishedHead(int64_t steps) {
    internal::v1::EtcdHead head;
    head.set_format(kEtcdFormat);
    head.set_unfinished(steps);
    return head;
  }

  static internal::v1::EtcdHead FinishedHead(const StoreSnapshot& snapshot) {
    internal::v1::EtcdHead head;
    head.set_format(kEtcdFormat);
    head.set_uid(snapshot.epoch.uid);
    head.set_restore_count(snapshot.epoch.restore_count);
    // A head has had a writer.
    head.set_term(std::max<int64_t>(snapshot.epoch.term, 1));
    head.set_revision(snapshot.revision);
    head.set_compacted(snapshot.revision);
    return head;
  }

  absl::Status WriteRecords(const StoreSnapshot& snapshot, GuardedWriter* writer) const {
    pb::TxnRequest txn;
    size_t bytes = 0;
    int64_t steps = 1;
    const auto flush = [&] {
      bytes = 0;
      return writer->Send(std::exchange(txn, {}), UnfinishedHead(++steps));
    };
    for (const Record& record : snapshot.records) {
      const size_t size = SizeOf(record);
      if (bytes + size > kMaxGroupBytes ||
          static_cast<size_t>(txn.success_size()) >= kMaxGroupChanges) {
        BERTH_RETURN_IF_ERROR(flush());
      }
      pb::PutRequest& put = *txn.add_success()->mutable_request_put();
      put.set_key(layout_.KeyOf(record.key));
      put.set_value(EncodeEtcdRecord(record.key, record.revision, record.payload));
      bytes += size;
    }
    return flush();
  }

  const EtcdStoreOptions options_;
  const EtcdLayout layout_;
};

}  // namespace

std::unique_ptr<StoreMedium> EtcdMedium(EtcdStoreOptions options) {
  return std::make_unique<EtcdPlace>(std::move(options));
}

}  // namespace berth
