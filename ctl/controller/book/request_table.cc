// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/book/request_table.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/rpc/sha256.h"

namespace berth {
namespace {

// Maps have no order of their own: the same request must give the same bytes.
std::string Deterministic(const google::protobuf::Message& message) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    message.SerializeToCodedStream(&coded);
  }
  return bytes;
}

std::string OwnerOf(const std::string& id) { return id.substr(0, id.find('/')); }

}  // namespace

std::string OwnerElement(std::string_view owner) {
  constexpr size_t kMaxPlain = 64;
  const bool plain =
      owner.size() <= kMaxPlain && std::all_of(owner.begin(), owner.end(), [](unsigned char c) {
        return absl::ascii_isalnum(c) || c == '.' || c == '-' || c == '_' || c == '@' || c == ':';
      });
  if (plain) return std::string(owner);
  return absl::StrCat("~", absl::BytesToHexString(Sha256(owner)));
}

RequestTable::Key RequestTable::MakeKey(std::string_view owner, std::string_view method,
                                        std::string_view request_id,
                                        const google::protobuf::Message& request) {
  std::unique_ptr<google::protobuf::Message> bare(request.New());
  bare->CopyFrom(request);
  const auto* field = bare->GetDescriptor()->FindFieldByName("request_id");
  if (field != nullptr) bare->GetReflection()->ClearField(bare.get(), field);
  Key key;
  key.owner = OwnerElement(owner);
  key.id = absl::StrCat(key.owner, "/", std::string(method), "/", std::string(request_id));
  key.hash = Sha256(Deterministic(*bare));
  return key;
}

absl::StatusOr<RequestTable::Turn> RequestTable::Begin(const Key& key, absl::Time now,
                                                       Waiter waiter) {
  const auto reused = [] {
    return Error(
        Reason::kRequestIdReused,
        "this request_id was used with another request; repeat a request unchanged, or take a "
        "new request_id");
  };
  if (const auto done = completed_.find(key.id); done != completed_.end()) {
    const internal::v1::RequestRecord& record = done->second.record;
    const int64_t age = absl::ToUnixSeconds(now) - record.create_time().seconds();
    if (age <= absl::ToInt64Seconds(kRequestRetention)) {
      if (record.payload_hash() != key.hash) return reused();
      waiter(Remembered{.response = record.response(), .revision = done->second.revision});
      return Turn::kHandled;
    }
  }
  if (const auto running = in_flight_.find(key.id); running != in_flight_.end()) {
    if (running->second.hash != key.hash) return reused();
    running->second.waiters.push_back(std::move(waiter));
    return Turn::kHandled;
  }
  const auto owned = per_owner_.find(key.owner);
  if (owned != per_owner_.end() && owned->second >= kMaxRequestsPerOwner) {
    return Error(
        Reason::kOverloaded,
        absl::StrCat("more than ", kMaxRequestsPerOwner,
                     " request_ids of this owner in 24 hours; leave request_id out, or wait"));
  }
  in_flight_[key.id].hash = key.hash;
  return Turn::kDoIt;
}

std::vector<RequestTable::Waiter> RequestTable::Complete(const Key& key,
                                                         internal::v1::RequestRecord record,
                                                         Revision revision) {
  Restore(key.id, std::move(record), revision);
  return TakeWaiters(key);
}

std::vector<RequestTable::Waiter> RequestTable::Abandon(const Key& key) { return TakeWaiters(key); }

std::vector<RequestTable::Waiter> RequestTable::TakeWaiters(const Key& key) {
  const auto running = in_flight_.find(key.id);
  if (running == in_flight_.end()) return {};
  std::vector<Waiter> waiters = std::move(running->second.waiters);
  in_flight_.erase(running);
  return waiters;
}

void RequestTable::Restore(const std::string& id, internal::v1::RequestRecord record,
                           Revision revision) {
  const int64_t seconds = record.create_time().seconds();
  const auto [it, inserted] =
      completed_.insert_or_assign(id, Completed{.record = std::move(record), .revision = revision});
  if (inserted) ++per_owner_[OwnerOf(id)];
  by_age_.emplace(seconds, id);
}

std::vector<std::string> RequestTable::Expired(absl::Time now, size_t limit) {
  std::vector<std::string> expired;
  const int64_t oldest = absl::ToUnixSeconds(now - kRequestRetention);
  for (auto it = by_age_.begin();
       it != by_age_.end() && it->first < oldest && expired.size() < limit;) {
    const auto found = completed_.find(it->second);
    // It may have been used anew since.
    if (found == completed_.end() || found->second.record.create_time().seconds() != it->first) {
      it = by_age_.erase(it);
      continue;
    }
    expired.push_back(it->second);
    ++it;
  }
  return expired;
}

void RequestTable::Drop(const std::vector<std::string>& ids) {
  for (const std::string& id : ids) {
    if (completed_.erase(id) == 0) continue;
    if (const auto owner = per_owner_.find(OwnerOf(id)); --owner->second == 0)
      per_owner_.erase(owner);
  }
}

}  // namespace berth
