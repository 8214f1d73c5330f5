// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/book/link_health.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/config/timestamp.h"

namespace berth {

bool LinkHealth::NoteEnd(absl::Time now, const absl::Status& why) {
  std::erase_if(ends_, [now](absl::Time end) { return now - end >= kWindow; });
  if (ends_.size() >= kFlaps) ends_.erase(ends_.begin());
  ends_.push_back(now);
  if (flapping_.has_value()) {
    flapping_->latest = now;
    return false;
  }
  if (ends_.size() < kFlaps) return false;
  const std::string last =
      why.ok() ? "the agent or the network ended it" : std::string(why.message());
  flapping_ = Trouble{
      .why = why.ok() ? Error(Reason::kUnavailable, last) : why,
      .message = absl::StrCat(kFlaps, " sessions of its agent ended within ",
                              absl::FormatDuration(now - ends_.front()), "; the last: ", last),
      .since = now,
      .latest = now};
  return true;
}

bool LinkHealth::NoteRefused(absl::Time now, const absl::Status& why) {
  if (refused_.has_value() && ReasonOf(refused_->why) == ReasonOf(why)) {
    refused_->latest = now;
    return false;
  }
  refused_ = Trouble{.why = why,
                     .message = absl::StrCat("its agent was refused: ", why.message()),
                     .since = now,
                     .latest = now};
  return true;
}

bool LinkHealth::NoteWelcome() {
  const bool news = refused_.has_value();
  refused_.reset();
  return news;
}

bool LinkHealth::Review(absl::Time now, bool connected) {
  const auto over = [&](const std::optional<Trouble>& trouble) {
    return trouble.has_value() && connected && now - trouble->latest >= kStable;
  };
  bool news = false;
  for (std::optional<Trouble>* trouble : {&flapping_, &refused_}) {
    if (!over(*trouble)) continue;
    trouble->reset();
    news = true;
  }
  return news;
}

std::optional<v1::Condition> LinkHealth::condition() const {
  // Why there is no session says more than how the ones before ended.
  const std::optional<Trouble>& trouble = refused_.has_value() ? refused_ : flapping_;
  if (!trouble.has_value()) return std::nullopt;
  v1::Condition condition;
  condition.set_type(kCondition);
  condition.set_status(false);
  condition.set_reason(std::string(ReasonName(ReasonOf(trouble->why))));
  condition.set_message(trouble->message);
  const bool both = refused_.has_value() && flapping_.has_value();
  *condition.mutable_last_transition_time() =
      ToTimestamp(both ? std::min(refused_->since, flapping_->since) : trouble->since);
  return condition;
}

std::optional<v1::Taint> LinkHealth::taint() const {
  if (!flapping_.has_value()) return std::nullopt;
  v1::Taint taint;
  taint.set_key(kFlappingTaint);
  taint.set_effect(v1::Taint::NO_NEW);
  taint.set_message(flapping_->message);
  return taint;
}

}  // namespace berth
