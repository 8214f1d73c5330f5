// SPDX-License-Identifier: Apache-2.0
#include "lib/store/etcd/layout.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "lib/base/absl_view.h"
#include "lib/base/status.h"
#include "lib/store/transaction.h"

namespace berth {
namespace {

constexpr char kRecords[] = "/records/";
// The byte after the '/' that ends kRecords.
constexpr char kRecordsEnd[] = "/records0";
constexpr char kLog[] = "/log/";
constexpr char kLogEnd[] = "/log0";
constexpr char kKindEnd = '!';
constexpr size_t kLogDigits = 16;

}  // namespace

absl::Status ValidateEtcdPrefix(std::string_view prefix) {
  const bool printable = std::all_of(prefix.begin(), prefix.end(),
                                     [](unsigned char c) { return absl::ascii_isgraph(c); });
  if (prefix.size() >= 2 && prefix.size() <= kMaxEtcdPrefixBytes && prefix.front() == '/' &&
      prefix.back() != '/' && printable) {
    return absl::OkStatus();
  }
  return Error(Reason::kInvalidField,
               absl::StrCat("\"", absl::CEscape(AbslView(prefix)),
                            "\" is no prefix for keys: 2 to ", kMaxEtcdPrefixBytes,
                            " printable characters, '/' at the beginning and not at the end"));
}

std::string EtcdLayout::KeyOf(const RecordKey& key) const {
  return absl::StrCat(prefix_, kRecords, key.kind, std::string(1, kKindEnd), key.id);
}

std::string EtcdLayout::LogKey(Revision last) const {
  return absl::StrCat(prefix_, kLog, absl::Hex(last, absl::kZeroPad16));
}

std::optional<RecordKey> EtcdLayout::ParseRecordKey(std::string_view key) const {
  absl::string_view rest = AbslView(key);
  if (!absl::ConsumePrefix(&rest, prefix_) || !absl::ConsumePrefix(&rest, kRecords)) {
    return std::nullopt;
  }
  const size_t end = rest.find(kKindEnd);
  if (end == rest.npos) return std::nullopt;
  return RecordKey{std::string(rest.substr(0, end)), std::string(rest.substr(end + 1))};
}

std::optional<Revision> EtcdLayout::ParseLogKey(std::string_view key) const {
  absl::string_view rest = AbslView(key);
  Revision last = 0;
  if (!absl::ConsumePrefix(&rest, prefix_) || !absl::ConsumePrefix(&rest, kLog) ||
      rest.size() != kLogDigits || !absl::SimpleHexAtoi(rest, &last)) {
    return std::nullopt;
  }
  return last;
}

etcdserverpb::RangeRequest EtcdLayout::AllRecords() const {
  etcdserverpb::RangeRequest range;
  range.set_key(prefix_ + kRecords);
  range.set_range_end(prefix_ + kRecordsEnd);
  return range;
}

etcdserverpb::RangeRequest EtcdLayout::LogAfter(Revision after) const {
  etcdserverpb::RangeRequest range;
  range.set_key(LogKey(after + 1));
  range.set_range_end(prefix_ + kLogEnd);
  return range;
}

etcdserverpb::DeleteRangeRequest EtcdLayout::LogUpTo(Revision up_to) const {
  etcdserverpb::DeleteRangeRequest range;
  range.set_key(prefix_ + kLog);
  range.set_range_end(LogKey(up_to + 1));
  return range;
}

std::string EncodeEtcdRecord(const RecordKey& key, Revision revision, const std::string& payload) {
  internal::v1::EtcdRecord record;
  record.set_revision(revision);
  record.set_checksum(RecordChecksum({key, revision, payload}));
  record.set_payload(payload);
  return record.SerializeAsString();
}

absl::StatusOr<Record> DecodeEtcdRecord(const RecordKey& key, const std::string& value) {
  internal::v1::EtcdRecord stored;
  const bool parsed = stored.ParseFromString(value);
  Record record{key, stored.revision(), std::move(*stored.mutable_payload())};
  if (parsed && RecordChecksum(record) == stored.checksum()) return record;
  return RecordDamaged(key);
}

std::string EncodeEtcdLeader(const internal::v1::EtcdLeader& leader) {
  std::string json;
  // Its fields are text, which is valid, or replaced by what is.
  (void)google::protobuf::util::MessageToJsonString(leader, &json);
  return json;
}

internal::v1::EtcdLeader DecodeEtcdLeader(const std::string& value) {
  google::protobuf::util::JsonParseOptions lenient;
  lenient.ignore_unknown_fields = true;
  internal::v1::EtcdLeader leader;
  if (!google::protobuf::util::JsonStringToMessage(value, &leader, lenient).ok()) {
    leader.Clear();
    leader.set_description(absl::CHexEscape(value));
  }
  return leader;
}

absl::StatusOr<internal::v1::EtcdHead> DecodeEtcdHead(const std::string& value) {
  internal::v1::EtcdHead head;
  if (head.ParseFromString(value) && head.unfinished() != 0) {
    return Error(Reason::kStoreCorrupt,
                 "the store in etcd was not written to its end; write it again");
  }
  if (!head.ParseFromString(value) || head.format() < 1 || head.uid().empty() ||
      head.revision() < 0 || head.term() < 1 || head.compacted() < 0) {
    return Error(Reason::kStoreCorrupt, "the head of the store in etcd cannot be read");
  }
  if (head.format() > kEtcdFormat) {
    return Error(
        Reason::kVersionSkew,
        absl::StrCat("the store in etcd has format ", head.format(),
                     "; this version of Berth knows up to ", kEtcdFormat),
        {{"schema", absl::StrCat(head.format())}, {"newest_known", absl::StrCat(kEtcdFormat)}});
  }
  return head;
}

absl::Status EtcdFailed(const absl::Status& why, std::string_view outcome) {
  return Error(Reason::kStoreFailed, StdView(why.message()), {{"outcome", std::string(outcome)}});
}

}  // namespace berth
