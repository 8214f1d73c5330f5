// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/watch/watch_hub.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "lib/base/status.h"

namespace berth {

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

absl::StatusOr<std::shared_ptr<const WatchBatch>> WatchHub::Subscription::Take() {
  absl::MutexLock lock(&mu_);
  if (waiting_.empty()) {
    BERTH_RETURN_IF_ERROR(end_);
    return nullptr;
  }
  std::shared_ptr<const WatchBatch> batch = std::move(waiting_.front());
  waiting_.pop_front();
  changes_ -= batch->changes.size();
  return batch;
}

absl::StatusOr<std::shared_ptr<WatchHub::Subscription>> WatchHub::Subscribe(
    std::function<void()> wake) {
  auto subscription = std::make_shared<Subscription>();
  subscription->wake_ = std::move(wake);
  absl::MutexLock lock(&mu_);
  BERTH_RETURN_IF_ERROR(closed_);
  if (subscriptions_.size() >= limits_.watchers) {
    return Error(Reason::kOverloaded,
                 absl::StrCat("there are ", limits_.watchers, " watchers already"));
  }
  subscriptions_.insert(subscription);
  return subscription;
}

void WatchHub::Unsubscribe(const std::shared_ptr<Subscription>& subscription) {
  absl::MutexLock lock(&mu_);
  subscriptions_.erase(subscription);
}

void WatchHub::Publish(const std::shared_ptr<const WatchBatch>& batch) {
  absl::MutexLock lock(&mu_);
  for (const std::shared_ptr<Subscription>& subscription : subscriptions_) {
    {
      absl::MutexLock subscription_lock(&subscription->mu_);
      if (!subscription->end_.ok()) continue;
      // A bookmark says nothing to one who is behind, and would make its queue longer.
      if (batch->changes.empty() && !subscription->waiting_.empty()) continue;
      if (subscription->changes_ + batch->changes.size() > limits_.buffered_changes) {
        subscription->waiting_.clear();
        subscription->changes_ = 0;
        subscription->end_ =
            Error(Reason::kWatchOverflow,
                  absl::StrCat("this watcher was more than ", limits_.buffered_changes,
                               " changes behind; watch again from the last token, or list"));
      } else {
        subscription->waiting_.push_back(batch);
        subscription->changes_ += batch->changes.size();
      }
    }
    subscription->wake_();
  }
}

void WatchHub::Close(const absl::Status& status) {
  absl::MutexLock lock(&mu_);
  closed_ = status;
  for (const std::shared_ptr<Subscription>& subscription : subscriptions_) {
    {
      absl::MutexLock subscription_lock(&subscription->mu_);
      if (subscription->end_.ok()) subscription->end_ = status;
    }
    subscription->wake_();
  }
}

size_t WatchHub::watchers() const {
  absl::MutexLock lock(&mu_);
  return subscriptions_.size();
}

}  // namespace berth
