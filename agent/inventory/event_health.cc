// SPDX-License-Identifier: Apache-2.0
#include "agent/inventory/event_health.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/config/timestamp.h"

namespace berth {
namespace {

using Kind = EventNews::Kind;

const char* TypeOf(Kind kind) {
  switch (kind) {
    case Kind::kFault:
      return "FaultFree";
    case Kind::kLost:
      return "EventsKept";
    case Kind::kQueueError:
      return "QueuesHealthy";
    case Kind::kUnreadable:
      return "EventsReadable";
  }
  return "";
}

const char* WhatOf(Kind kind) {
  switch (kind) {
    case Kind::kFault:
      return "faults";
    case Kind::kLost:
      return "events lost";
    case Kind::kQueueError:
      return "errors of its command queues";
    case Kind::kUnreadable:
      return "reads of its events that failed";
  }
  return "";
}

}  // namespace

void EventHealth::NoteOne(const Key& key, const EventNews& news, absl::Time now) {
  const auto [found, first] = entries_.try_emplace(key);
  Entry& entry = found->second;
  if (first) entry.since = now;
  entry.count += news.count;
  entry.last = news.last;
  entry.latest = now;
  if (!first) return;
  entry.told = now;
  entry.shown = absl::StrCat(entry.count, " ", WhatOf(key.kind), "; ", entry.last);
}

bool EventHealth::Note(const AssignmentUid& by, const std::vector<EventNews>& news) {
  const absl::Time now = clock_->Now();
  bool tainted = false;
  absl::MutexLock lock(&mu_);
  for (const EventNews& one : news) {
    for (const DeviceId& device : one.devices) NoteOne({by, one.kind, device.str()}, one, now);
    if (one.devices.empty()) NoteOne({by, one.kind, one.unit.str()}, one, now);
    tainted = tainted || one.kind == Kind::kUnreadable;
  }
  return tainted;
}

bool EventHealth::Forget(const AssignmentUid& by) {
  bool tainted = false;
  absl::MutexLock lock(&mu_);
  std::erase_if(entries_, [&](const auto& entry) {
    if (entry.first.by != by) return false;
    tainted = tainted || entry.first.kind == Kind::kUnreadable;
    return true;
  });
  return tainted;
}

void EventHealth::Clear() {
  absl::MutexLock lock(&mu_);
  entries_.clear();
}

void EventHealth::Review() {
  const absl::Time now = clock_->Now();
  absl::MutexLock lock(&mu_);
  // A queue that cannot be read says nothing more, which is no good sign.
  std::erase_if(entries_, [now](const auto& entry) {
    return entry.first.kind != Kind::kUnreadable && now - entry.second.latest >= kQuiet;
  });
  for (auto& [key, entry] : entries_) {
    if (now - entry.told < kRetell) continue;
    entry.told = now;
    entry.shown = absl::StrCat(entry.count, " ", WhatOf(key.kind), "; ", entry.last);
  }
}

void EventHealth::AddCondition(
    Kind kind, const std::string& subject,
    google::protobuf::RepeatedPtrField<v1::Condition>* conditions) const {
  constexpr int kNamed = 4;
  v1::Condition condition;
  absl::Time since = absl::InfiniteFuture();
  int grants = 0;
  std::string message;
  for (const auto& [key, entry] : entries_) {
    if (key.kind != kind || key.subject != subject) continue;
    since = std::min(since, entry.since);
    if (++grants > kNamed) continue;
    absl::StrAppend(&message, grants > 1 ? "; " : "", "grant ", key.by.str(), ": ", entry.shown);
  }
  if (grants == 0) return;
  if (grants > kNamed) absl::StrAppend(&message, "; and ", grants - kNamed, " more grants");
  condition.set_type(TypeOf(kind));
  condition.set_status(false);
  if (kind == Kind::kUnreadable) {
    condition.set_reason(std::string(ReasonName(Reason::kSystemError)));
  }
  condition.set_message(message);
  *condition.mutable_last_transition_time() = ToTimestamp(since);
  *conditions->Add() = std::move(condition);
}

void EventHealth::AddTo(v1::Unit* unit) const {
  absl::MutexLock lock(&mu_);
  AddCondition(Kind::kQueueError, unit->id(), unit->mutable_conditions());
  const int before = unit->conditions_size();
  AddCondition(Kind::kUnreadable, unit->id(), unit->mutable_conditions());
  if (unit->conditions_size() == before) return;
  v1::Taint* taint = unit->add_taints();
  taint->set_key(kUnreadableTaint);
  taint->set_effect(v1::Taint::NO_NEW);
  taint->set_message(unit->conditions(before).message());
}

void EventHealth::AddTo(v1::Device* device) const {
  absl::MutexLock lock(&mu_);
  AddCondition(Kind::kFault, device->id(), device->mutable_conditions());
  AddCondition(Kind::kLost, device->id(), device->mutable_conditions());
}

}  // namespace berth
