// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/book/request_table.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/message.h>

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ctl/controller/book/token.h"
#include "lib/base/status.h"

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

RequestTable::Key RequestTable::MakeKey(std::string_view owner, std::string_view method,
                                        std::string_view request_id,
                                        const google::protobuf::Message& request) {
  std::unique_ptr<google::protobuf::Message> bare(request.New());
  bare->CopyFrom(request);
  const auto* field = bare->GetDescriptor()->FindFieldByName("request_id");
  if (field != nullptr) bare->GetReflection()->ClearField(bare.get(), field);
  Key key;
  // An owner is whatever its certificate says; in a record id it must be one short path element.
  key.owner = std::string(owner);
  for (char& c : key.owner) {
    if (c == '/' || c <= ' ' || c > '~') c = '_';
  }
  if (key.owner.size() > 128) key.owner.resize(128);
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
      waiter({.response = record.response(), .revision = done->second.revision});
      return Turn::kHandled;
    }
  }
  if (const auto running = in_flight_.find(key.id); running != in_flight_.end()) {
    if (running->second.hash != key.hash) return reused();
    running->second.waiters.push_back(std::move(waiter));
    return Turn::kHandled;
  }
  if (per_owner_[key.owner] >= kMaxRequestsPerOwner) {
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
  const auto running = in_flight_.find(key.id);
  if (running == in_flight_.end()) return {};
  std::vector<Waiter> waiters = std::move(running->second.waiters);
  in_flight_.erase(running);
  return waiters;
}

void RequestTable::Abandon(const Key& key) { in_flight_.erase(key.id); }

void RequestTable::Restore(const std::string& id, internal::v1::RequestRecord record,
                           Revision revision) {
  const int64_t seconds = record.create_time().seconds();
  const auto [it, inserted] =
      completed_.insert_or_assign(id, Completed{.record = std::move(record), .revision = revision});
  if (inserted) ++per_owner_[OwnerOf(id)];
  by_age_.emplace(seconds, id);
}

std::vector<std::string> RequestTable::TakeExpired(absl::Time now, size_t limit) {
  std::vector<std::string> expired;
  const int64_t oldest = absl::ToUnixSeconds(now - kRequestRetention);
  while (expired.size() < limit && !by_age_.empty() && by_age_.begin()->first < oldest) {
    const auto [seconds, id] = *by_age_.begin();
    by_age_.erase(by_age_.begin());
    const auto it = completed_.find(id);
    // It may have been used anew since.
    if (it == completed_.end() || it->second.record.create_time().seconds() != seconds) continue;
    completed_.erase(it);
    if (const auto owner = per_owner_.find(OwnerOf(id)); --owner->second == 0)
      per_owner_.erase(owner);
    expired.push_back(id);
  }
  return expired;
}

}  // namespace berth
