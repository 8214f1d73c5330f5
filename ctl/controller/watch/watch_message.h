// SPDX-License-Identifier: Apache-2.0
//
// What watchers are told: positions, changes, and how both go over the wire.
#ifndef BERTH_CTL_CONTROLLER_WATCH_WATCH_MESSAGE_H_
#define BERTH_CTL_CONTROLLER_WATCH_WATCH_MESSAGE_H_

#include <google/protobuf/message.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/store/store.h"

namespace berth {

// A point in the history that watchers see: stored changes by revision and, between them, what
// agents report, counted by the leader of a term.
struct WatchPosition {
  std::string store_uid;
  int64_t restore_count = 0;
  Revision revision = 0;
  int64_t term = 0;
  int64_t observed_sequence = 0;

  // "store.restores.revision.term.sequence": opaque to clients.
  std::string ToToken() const;
  // REVISION_UNKNOWN when it is none of ours.
  static absl::StatusOr<WatchPosition> FromToken(const std::string& token);
};

enum class WatchKind { kAssignments, kHosts };

struct WatchChange {
  WatchKind kind = WatchKind::kAssignments;
  std::string name;  // of the resource
  bool deleted = false;
  // What it is now, or name and uid of what is gone. Shared by all watchers.
  std::shared_ptr<const google::protobuf::Message> resource;
};

// All changes of one revision (or one report), and where a watch goes on after them. Without
// changes it is a bookmark.
struct WatchBatch {
  WatchPosition position;
  std::vector<WatchChange> changes;
};

// What a watcher wants to see. Hosts are without their devices unless it wants them full.
enum class WatchView : uint8_t { kAssignments, kBasicHosts, kFullHosts };
inline constexpr size_t kWatchViews = 3;

WatchKind KindOf(WatchView view);

// A WatchAssignmentsResponse or WatchHostsResponse as it goes over the wire, shared by all who are
// told the same.
using WatchMessage = std::shared_ptr<const std::string>;

// Parts of a message. Protobuf's encoding lets them be strung together: events follow each other,
// and the last token counts (protobuf.dev/programming-guides/encoding, "Last One Wins").
//
// The changes that `view` shows, of `name` only unless that is empty; empty when there are none.
std::string EncodeEvents(const WatchBatch& batch, WatchView view, const std::string& name);
std::string EncodeToken(const WatchPosition& position);

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_WATCH_WATCH_MESSAGE_H_
