// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/watch/watch_hub.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"

namespace berth {
namespace {

// Large enough that a message costs more for what is in it than for being one.
constexpr size_t kMaxCollectedBytes = 256 << 10;

size_t WeightOf(const WatchBatch& batch) { return std::max<size_t>(batch.changes.size(), 1); }

}  // namespace

void WatchHub::Subscription::Wake() {
  absl::MutexLock lock(&mu_);
  if (wake_) wake_();
}

void WatchHub::Subscription::Silence() {
  absl::MutexLock lock(&mu_);
  wake_ = nullptr;
}

WatchHub::~WatchHub() {
  std::thread waker;
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
    waker = std::move(waker_);
  }
  if (waker.joinable()) waker.join();
}

absl::StatusOr<std::shared_ptr<WatchHub::Subscription>> WatchHub::Subscribe(
    WatchView view, std::string name, std::function<void()> wake) {
  absl::MutexLock lock(&mu_);
  BERTH_RETURN_IF_ERROR(closed_);
  if (readers_.size() >= limits_.watchers) {
    return Error(Reason::kOverloaded,
                 absl::StrCat("there are ", limits_.watchers, " watchers already"));
  }
  auto subscription = std::make_shared<Subscription>(view, std::move(name), std::move(wake));
  readers_.emplace(subscription, Reader{.next = end()});
  if (!waker_.joinable()) waker_ = std::thread([this] { WakeThoseWhoWait(); });
  return subscription;
}

void WatchHub::Unsubscribe(const std::shared_ptr<Subscription>& subscription) {
  {
    absl::MutexLock lock(&mu_);
    readers_.erase(subscription);
  }
  subscription->Silence();
}

void WatchHub::DropFirst() {
  changes_ -= WeightOf(*entries_.front().batch);
  entries_.pop_front();
  ++first_;
}

void WatchHub::Publish(const std::shared_ptr<const WatchBatch>& batch) {
  absl::MutexLock lock(&mu_);
  if (readers_.empty()) {
    while (!entries_.empty()) DropFirst();
    return;
  }
  entries_.push_back({.batch = batch, .events = {}});
  changes_ += WeightOf(*batch);
  while (changes_ > limits_.buffered_changes) DropFirst();
  news_ = true;
}

const std::string& WatchHub::EventsOf(WatchView view, Entry* entry) {
  std::optional<std::string>& events = entry->events[static_cast<size_t>(view)];
  if (!events.has_value()) events = EncodeEvents(*entry->batch, view, "");
  return *events;
}

WatchHub::Collected WatchHub::Collect(const Subscription& subscription, uint64_t from) {
  const WatchView view = subscription.view_;
  const bool all = subscription.name_.empty();
  if (all && collected_.view == view && collected_.from == from && collected_.end == end()) {
    return collected_;
  }
  Collected found{.view = view, .from = from, .end = end(), .next = from, .message = nullptr};
  auto text = std::make_shared<std::string>();
  std::string scratch;
  bool bookmark = false;
  for (; found.next < found.end; ++found.next) {
    Entry& entry = entries_[found.next - first_];
    if (!all) scratch = EncodeEvents(*entry.batch, view, subscription.name_);
    const std::string& events = all ? EventsOf(view, &entry) : scratch;
    if (!text->empty() && text->size() + events.size() > kMaxCollectedBytes) break;
    text->append(events);
    bookmark = bookmark || entry.batch->changes.empty();
  }
  if (!text->empty() || bookmark) {
    text->append(EncodeToken(entries_[found.next - 1 - first_].batch->position));
    found.message = std::move(text);
  }
  if (all) collected_ = found;
  return found;
}

absl::StatusOr<WatchMessage> WatchHub::Take(const std::shared_ptr<Subscription>& subscription) {
  absl::MutexLock lock(&mu_);
  Reader& reader = readers_.at(subscription);
  if (reader.next < first_) {
    return Error(Reason::kWatchOverflow,
                 absl::StrCat("this watcher was more than ", limits_.buffered_changes,
                              " changes behind; watch again from the last token, or list"));
  }
  const Collected found = Collect(*subscription, reader.next);
  reader.next = found.next;
  if (found.message != nullptr) return found.message;
  BERTH_RETURN_IF_ERROR(closed_);
  reader.waits = true;
  return nullptr;
}

std::vector<std::shared_ptr<WatchHub::Subscription>> WatchHub::TakeWaiting() {
  std::vector<std::shared_ptr<Subscription>> waiting;
  uint64_t slowest = end();
  for (auto& [subscription, reader] : readers_) {
    slowest = std::min(slowest, reader.next);
    if (std::exchange(reader.waits, false)) waiting.push_back(subscription);
  }
  while (first_ < slowest) DropFirst();
  return waiting;
}

void WatchHub::WakeThoseWhoWait() {
  for (;;) {
    std::vector<std::shared_ptr<Subscription>> waiting;
    {
      absl::MutexLock lock(&mu_);
      const auto called = [this]()
                              ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return news_ || stopping_; };
      mu_.Await(absl::Condition(&called));
      if (stopping_) return;
      news_ = false;
      waiting = TakeWaiting();
    }
    for (const auto& subscription : waiting) subscription->Wake();
  }
}

void WatchHub::Close(const absl::Status& status) {
  std::vector<std::shared_ptr<Subscription>> waiting;
  {
    absl::MutexLock lock(&mu_);
    closed_ = status;
    waiting = TakeWaiting();
  }
  for (const auto& subscription : waiting) subscription->Wake();
}

size_t WatchHub::watchers() const {
  absl::MutexLock lock(&mu_);
  return readers_.size();
}

}  // namespace berth
