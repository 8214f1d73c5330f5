// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_STORE_ETCD_READER_H_
#define BERTH_LIB_STORE_ETCD_READER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/store/etcd/client.h"
#include "lib/store/etcd/commit_group.h"
#include "lib/store/etcd/layout.h"
#include "lib/store/medium.h"
#include "lib/store/store.h"

namespace berth {

// The reading side of a store in etcd: linearizable, so that it sees every commit that anybody was
// told of. Ranges are read in pages that stay well below the largest message. Thread-safe; the
// contracts are those of Store.
class EtcdReader {
 public:
  EtcdReader(std::shared_ptr<EtcdClient> client, EtcdLayout layout)
      : client_(std::move(client)), layout_(std::move(layout)) {}

  absl::StatusOr<Revision> Load(const Store::OnRecord& on_record,
                                const Store::OnBroken& on_broken) const;
  // The same, with the store's epoch.
  absl::StatusOr<StoreSnapshot> Snapshot(const Store::OnBroken& on_broken) const;
  absl::StatusOr<Record> Get(const RecordKey& key) const;
  absl::StatusOr<ChangeLog> ReadChanges(Revision after, size_t limit) const;
  // The state of each of `keys`.
  absl::StatusOr<EtcdCommitGroup::Known> Look(const std::vector<RecordKey>& keys) const;

 private:
  using Page = etcdserverpb::RangeResponse;
  struct HeadAndPage {
    internal::v1::EtcdHead head;
    Page page;
    int64_t etcd_revision = 0;
  };

  // The head that belongs to what is delivered.
  absl::StatusOr<internal::v1::EtcdHead> LoadAll(const Store::OnRecord& on_record,
                                                 const Store::OnBroken& on_broken) const;
  // The head and up to *limit entries of `range`, at one revision. *limit is lowered until they fit
  // into a message.
  absl::StatusOr<HeadAndPage> ReadFirst(etcdserverpb::RangeRequest range, int64_t* limit) const;
  absl::StatusOr<Page> ReadNext(etcdserverpb::RangeRequest range, int64_t* limit) const;
  void Deliver(const Page& page, const Store::OnRecord& on_record,
               const Store::OnBroken& on_broken) const;

  const std::shared_ptr<EtcdClient> client_;
  const EtcdLayout layout_;
};

}  // namespace berth

#endif  // BERTH_LIB_STORE_ETCD_READER_H_
