// SPDX-License-Identifier: Apache-2.0
//
// Where a store's parts are in etcd, and what their values are. Below the prefix:
//   PREFIX/head              berth.internal.v1.EtcdHead
//   PREFIX/leader            berth.internal.v1.EtcdLeader, JSON; bound to the leader's lease
//   PREFIX/records/KIND!ID   berth.internal.v1.EtcdRecord; '!' sorts before all that kinds have
//   PREFIX/log/REVISION      berth.internal.v1.EtcdLogEntry; its last revision in 16 hex digits
#ifndef BERTH_LIB_STORE_ETCD_LAYOUT_H_
#define BERTH_LIB_STORE_ETCD_LAYOUT_H_

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "berth/internal/v1/etcd_store.pb.h"
#include "etcd/rpc.pb.h"
#include "lib/store/store.h"

namespace berth {

inline constexpr size_t kMaxEtcdPrefixBytes = 256;
// EtcdHead.format as this version writes it.
inline constexpr int32_t kEtcdFormat = 1;

// kInvalidField unless `prefix` begins with '/', does not end with one and is printable ASCII.
absl::Status ValidateEtcdPrefix(std::string_view prefix);

class EtcdLayout {
 public:
  // `prefix` has been validated.
  explicit EtcdLayout(std::string prefix) : prefix_(std::move(prefix)) {}

  std::string HeadKey() const { return prefix_ + "/head"; }
  std::string LeaderKey() const { return prefix_ + "/leader"; }
  std::string KeyOf(const RecordKey& key) const;
  std::string LogKey(Revision last) const;

  // What KeyOf() was made from; nothing for keys of others.
  std::optional<RecordKey> ParseRecordKey(std::string_view key) const;
  std::optional<Revision> ParseLogKey(std::string_view key) const;

  // All records, and the log entries that end after `after`.
  etcdserverpb::RangeRequest AllRecords() const;
  etcdserverpb::RangeRequest LogAfter(Revision after) const;
  // The log entries that end at `up_to` or before.
  etcdserverpb::DeleteRangeRequest LogUpTo(Revision up_to) const;

 private:
  std::string prefix_;
};

std::string EncodeEtcdRecord(const RecordKey& key, Revision revision, const std::string& payload);
// kStoreCorrupt, metadata "kind" and "id".
absl::StatusOr<Record> DecodeEtcdRecord(const RecordKey& key, const std::string& value);
std::string EncodeEtcdLeader(const internal::v1::EtcdLeader& leader);
// What is not a leader's value, because a newer version or somebody else wrote it, is all
// description.
internal::v1::EtcdLeader DecodeEtcdLeader(const std::string& value);
// kStoreCorrupt; kVersionSkew when a newer version wrote it.
absl::StatusOr<internal::v1::EtcdHead> DecodeEtcdHead(const std::string& value);

// `why`, an error of EtcdClient, as an error of Store. `outcome` as kStoreFailed has it.
absl::Status EtcdFailed(const absl::Status& why, std::string_view outcome);

}  // namespace berth

#endif  // BERTH_LIB_STORE_ETCD_LAYOUT_H_
