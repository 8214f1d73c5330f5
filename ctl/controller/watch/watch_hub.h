// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_WATCH_WATCH_HUB_H_
#define BERTH_CTL_CONTROLLER_WATCH_WATCH_HUB_H_

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "ctl/controller/watch/watch_message.h"

namespace berth {

// Hands changes to everybody who watches. They are kept once, for the watcher that is furthest
// behind; each has only its place among them, and a thread of the hub's wakes those that wait. What
// has gathered until a watcher asks goes to it in one message. Thread-safe.
class WatchHub {
 public:
  // One who watches.
  class Subscription {
   public:
    Subscription(WatchView view, std::string name, std::function<void()> wake)
        : view_(view), name_(std::move(name)), wake_(std::move(wake)) {}

   private:
    friend class WatchHub;
    void Wake();
    void Silence();

    const WatchView view_;
    const std::string name_;
    absl::Mutex mu_;
    std::function<void()> wake_ ABSL_GUARDED_BY(mu_);  // null: must not be called any more
  };

  struct Limits {
    size_t watchers = 2000;
    // How many changes a watcher can be behind. A bookmark counts as one.
    size_t buffered_changes = 10'000;
  };
  explicit WatchHub(Limits limits) : limits_(limits) {}
  // Nobody watches any more.
  ~WatchHub();
  WatchHub(const WatchHub&) = delete;
  WatchHub& operator=(const WatchHub&) = delete;

  // To what `view` shows of `name`, or of everything when that is empty, from now on. `wake` is
  // called, from any thread, when Take() has said that there is nothing and there may be something
  // now, and at Close(). It must not block nor call Unsubscribe(). OVERLOADED: too many watchers.
  // SHUTTING_DOWN.
  absl::StatusOr<std::shared_ptr<Subscription>> Subscribe(WatchView view, std::string name,
                                                          std::function<void()> wake);
  // `wake` is not called any more once this has returned.
  void Unsubscribe(const std::shared_ptr<Subscription>& subscription);

  // What has come since the last call, as one message of a moderate size unless one batch is
  // larger; null when there is nothing. WATCH_OVERFLOW, SHUTTING_DOWN: the end.
  absl::StatusOr<WatchMessage> Take(const std::shared_ptr<Subscription>& subscription);

  // In the order of positions; the caller sees to that.
  void Publish(const std::shared_ptr<const WatchBatch>& batch);
  // Ends all subscriptions with `status`, after what has been published, and takes no more.
  void Close(const absl::Status& status);

  size_t watchers() const;

 private:
  struct Entry {
    std::shared_ptr<const WatchBatch> batch;
    std::array<std::optional<std::string>, kWatchViews> events;  // EncodeEvents(), made when asked
  };
  struct Reader {
    uint64_t next = 0;  // index of what it has not taken yet
    bool waits = false;
  };
  // What was put together last: those who follow the news ask for the same one after the other.
  struct Collected {
    WatchView view = WatchView::kAssignments;
    uint64_t from = 0;
    uint64_t end = 0;   // of the changes there were
    uint64_t next = 0;  // where it stopped
    WatchMessage message;
  };

  uint64_t end() const ABSL_SHARED_LOCKS_REQUIRED(mu_) { return first_ + entries_.size(); }
  void DropFirst() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The message for a reader that stands at `from`.
  Collected Collect(const Subscription& subscription, uint64_t from)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  const std::string& EventsOf(WatchView view, Entry* entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Drops what everybody has taken. Those who wait, who wait no more.
  std::vector<std::shared_ptr<Subscription>> TakeWaiting() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WakeThoseWhoWait();

  const Limits limits_;
  // Taken after the mutex of a subscription, never before it.
  mutable absl::Mutex mu_;
  absl::flat_hash_map<std::shared_ptr<Subscription>, Reader> readers_ ABSL_GUARDED_BY(mu_);
  std::deque<Entry> entries_ ABSL_GUARDED_BY(mu_);
  uint64_t first_ ABSL_GUARDED_BY(mu_) = 0;  // index of the first of entries_
  size_t changes_ ABSL_GUARDED_BY(mu_) = 0;  // in entries_
  Collected collected_ ABSL_GUARDED_BY(mu_);
  absl::Status closed_ ABSL_GUARDED_BY(mu_);
  bool news_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread waker_ ABSL_GUARDED_BY(mu_);  // from the first subscription on
};

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_WATCH_WATCH_HUB_H_
