// SPDX-License-Identifier: Apache-2.0
//
// A watch from its first message on: what is there, or what was missed, then what changes.
#ifndef BERTH_CTL_CONTROLLER_WATCH_WATCHER_H_
#define BERTH_CTL_CONTROLLER_WATCH_WATCHER_H_

#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "ctl/controller/watch/watch_hub.h"

namespace berth {

class Fleet;

struct WatchRequest {
  WatchView view = WatchView::kAssignments;
  std::string token;  // empty: from the present state on
  std::string name;   // empty: all
};

// Where one watch stands. Not thread-safe.
class Watch {
 public:
  Watch(Fleet* fleet, WatchRequest request) : fleet_(fleet), request_(std::move(request)) {}
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  // Reads what the watch begins with; `wake` as WatchHub::Subscribe(). May read the store, so not
  // on a thread that must not wait. Errors: REVISION_COMPACTED, REVISION_UNKNOWN, OVERLOADED,
  // SHUTTING_DOWN.
  absl::Status Start(std::function<void()> wake);

  // The next message: changes that this watch wants, or a bookmark; null when there is nothing now.
  // Errors: WATCH_OVERFLOW, SHUTTING_DOWN.
  absl::StatusOr<WatchMessage> Next();

 private:
  absl::Status CheckPosition(const WatchPosition& from, const WatchPosition& now) const;
  absl::Status ReadMissed(const WatchPosition& from, const WatchPosition& now);
  void AddPresent(std::vector<WatchChange> present, const WatchPosition& from);
  bool IsWanted(const WatchChange& change) const;
  void AddFirst(const WatchBatch& batch);

  Fleet* const fleet_;
  const WatchRequest request_;
  std::shared_ptr<WatchHub::Subscription> subscription_;
  std::deque<WatchMessage> first_;
  WatchPosition position_;
};

// Makes watches; the API's view of this folder.
class WatchSource {
 public:
  // Outlives the source. `run` runs a task on a thread that may wait; false: too many wait already.
  WatchSource(Fleet* fleet, std::function<bool(std::function<void()>)> run)
      : fleet_(fleet), run_(std::move(run)) {}
  std::unique_ptr<Watch> Make(WatchRequest request) {
    return std::make_unique<Watch>(fleet_, std::move(request));
  }
  bool Run(std::function<void()> task) { return run_(std::move(task)); }

 private:
  Fleet* const fleet_;
  const std::function<bool(std::function<void()>)> run_;
};

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_WATCH_WATCHER_H_
