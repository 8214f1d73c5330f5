// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_WATCH_WATCH_HUB_H_
#define BERTH_CTL_CONTROLLER_WATCH_WATCH_HUB_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "berth/v1/assignment.pb.h"
#include "berth/v1/host.pb.h"
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

// All changes of one revision (or one report), and where a watch goes on after them.
struct WatchBatch {
  WatchPosition position;
  std::vector<WatchChange> changes;
};

// Hands changes to everybody who watches. Thread-safe.
class WatchHub {
 public:
  // What one watcher has not taken yet: bounded; past the bound it holds an error instead.
  class Subscription {
   public:
    // The next batch; nothing when there is none now. WATCH_OVERFLOW, SHUTTING_DOWN: the end.
    absl::StatusOr<std::shared_ptr<const WatchBatch>> Take();

   private:
    friend class WatchHub;
    absl::Mutex mu_;
    std::deque<std::shared_ptr<const WatchBatch>> waiting_ ABSL_GUARDED_BY(mu_);
    size_t changes_ ABSL_GUARDED_BY(mu_) = 0;
    absl::Status end_ ABSL_GUARDED_BY(mu_);
    std::function<void()> wake_;
  };

  struct Limits {
    size_t watchers = 2000;
    size_t buffered_changes = 10'000;  // of one watcher
  };
  explicit WatchHub(Limits limits) : limits_(limits) {}

  // `wake` is called, from any thread, whenever Take() may have something new; it must not block
  // nor call the hub. OVERLOADED: too many watchers. SHUTTING_DOWN.
  absl::StatusOr<std::shared_ptr<Subscription>> Subscribe(std::function<void()> wake);
  // `wake` is not called any more once this has returned.
  void Unsubscribe(const std::shared_ptr<Subscription>& subscription);

  // In the order of positions; the caller sees to that.
  void Publish(const std::shared_ptr<const WatchBatch>& batch);
  // Ends all subscriptions with `status` and takes no more.
  void Close(const absl::Status& status);

  size_t watchers() const;

 private:
  const Limits limits_;
  mutable absl::Mutex mu_;
  std::set<std::shared_ptr<Subscription>> subscriptions_ ABSL_GUARDED_BY(mu_);
  absl::Status closed_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_WATCH_WATCH_HUB_H_
