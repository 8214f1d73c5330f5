// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/watch/watch_message.h"

#include <type_traits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "berth/v1/assignment_service.pb.h"
#include "berth/v1/host_service.pb.h"
#include "lib/base/status.h"

namespace berth {
namespace {

void Set(const google::protobuf::Message& resource, WatchView, v1::AssignmentEvent* event) {
  event->mutable_assignment()->CheckTypeAndMergeFrom(resource);
}

void Set(const google::protobuf::Message& resource, WatchView view, v1::HostEvent* event) {
  event->mutable_host()->CheckTypeAndMergeFrom(resource);
  if (view == WatchView::kBasicHosts) event->mutable_host()->clear_devices();
}

template <typename Response>
std::string Encode(const WatchBatch& batch, WatchView view, const std::string& name) {
  Response response;
  for (const WatchChange& change : batch.changes) {
    if (change.kind != KindOf(view) || (!name.empty() && change.name != name)) continue;
    auto* event = response.add_events();
    using Event = std::remove_pointer_t<decltype(event)>;
    event->set_type(change.deleted ? Event::DELETE : Event::PUT);
    Set(*change.resource, view, event);
  }
  return response.SerializeAsString();
}

}  // namespace

std::string WatchPosition::ToToken() const {
  return absl::StrCat(store_uid, ".", restore_count, ".", revision, ".", term, ".",
                      observed_sequence);
}

absl::StatusOr<WatchPosition> WatchPosition::FromToken(const std::string& token) {
  const std::vector<std::string> parts = absl::StrSplit(token, '.');
  WatchPosition position;
  if (parts.size() != 5 || !absl::SimpleAtoi(parts[1], &position.restore_count) ||
      !absl::SimpleAtoi(parts[2], &position.revision) ||
      !absl::SimpleAtoi(parts[3], &position.term) ||
      !absl::SimpleAtoi(parts[4], &position.observed_sequence)) {
    return Error(Reason::kRevisionUnknown,
                 "this is not a watch_token; list, and watch from its token");
  }
  position.store_uid = parts[0];
  return position;
}

WatchKind KindOf(WatchView view) {
  return view == WatchView::kAssignments ? WatchKind::kAssignments : WatchKind::kHosts;
}

std::string EncodeEvents(const WatchBatch& batch, WatchView view, const std::string& name) {
  return KindOf(view) == WatchKind::kAssignments
             ? Encode<v1::WatchAssignmentsResponse>(batch, view, name)
             : Encode<v1::WatchHostsResponse>(batch, view, name);
}

std::string EncodeToken(const WatchPosition& position) {
  static_assert(int{v1::WatchAssignmentsResponse::kWatchTokenFieldNumber} ==
                int{v1::WatchHostsResponse::kWatchTokenFieldNumber});
  v1::WatchAssignmentsResponse response;
  response.set_watch_token(position.ToToken());
  return response.SerializeAsString();
}

}  // namespace berth
