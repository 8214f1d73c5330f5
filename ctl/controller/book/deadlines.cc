// SPDX-License-Identifier: Apache-2.0
//
// When assignments go back by themselves: what Fleet knows of leases, attach time-outs and drains.
// What is done about it is in deadline_keeper.h.
#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "ctl/controller/book/convert.h"
#include "ctl/controller/book/eviction.h"
#include "ctl/controller/book/fleet.h"
#include "lib/config/duration.h"
#include "lib/config/timestamp.h"

namespace berth {

using v1::Assignment;

namespace {

// How often an attach time-out is looked at that is over while its host is not heard.
constexpr absl::Duration kLookAgain = absl::Seconds(5);

bool IsHeard(const HostEntry& host) {
  return host.session != nullptr &&
         (host.state == v1::Host::READY || host.state == v1::Host::BROKEN);
}

// The first taint EVICT that the assignment does not tolerate, of its host or of its units there;
// nullptr: there is none.
const v1::Taint* EvictingTaint(const Assignment& assignment, const internal::v1::HostRecord& host) {
  const auto evicts = [&](const v1::Taint& taint) {
    return taint.effect() == v1::Taint::EVICT && !Tolerates(assignment.spec(), taint);
  };
  for (const v1::Taint& taint : host.taints()) {
    if (evicts(taint)) return &taint;
  }
  for (const v1::Unit& unit : host.inventory().units()) {
    if (unit.taints().empty()) continue;
    const auto& placed = assignment.placement().units();
    const bool is_on = std::any_of(placed.begin(), placed.end(), [&](const v1::UnitPlacement& on) {
      return on.unit() == unit.id();
    });
    if (!is_on) continue;
    for (const v1::Taint& taint : unit.taints()) {
      if (evicts(taint)) return &taint;
    }
  }
  return nullptr;
}

std::string Text(absl::Time time) {
  return absl::FormatTime(absl::RFC3339_sec, time, absl::UTCTimeZone());
}

}  // namespace

std::string Fleet::AskingToLeave(const internal::v1::HostRecord& host) {
  internal::v1::HostRecord part;
  part.set_draining(host.draining());
  if (host.has_drain_deadline()) *part.mutable_drain_deadline() = host.drain_deadline();
  *part.mutable_taints() = host.taints();
  for (const v1::Unit& unit : host.inventory().units()) {
    if (unit.taints().empty()) continue;
    v1::Unit* tainted = part.mutable_inventory()->add_units();
    tainted->set_id(unit.id());
    *tainted->mutable_taints() = unit.taints();
  }
  return part.SerializeAsString();
}

absl::Time Fleet::LeaseEnd(const Assignment& assignment) const {
  if (!assignment.spec().has_lease_duration()) return absl::InfiniteFuture();
  // What was granted by a controller before this one ran on while nobody could renew it.
  return std::max(FromTimestamp(assignment.expire_time()),
                  granted_since_ + FromProtoDuration(assignment.spec().lease_duration()));
}

absl::Time Fleet::AttachEnd(const AssignmentEntry& entry) const {
  const v1::AssignmentSpec& spec = entry.committed->assignment().spec();
  if (!spec.has_attach_timeout()) return absl::InfiniteFuture();
  return std::max(entry.prepared_since, granted_since_) + FromProtoDuration(spec.attach_timeout());
}

Fleet::Eviction Fleet::EvictionOf(const Assignment& assignment) const {
  const auto found = hosts.find(HostIdOf(assignment.placement().host()));
  if (found == hosts.end() || found->second.committed == nullptr) return {};
  return EvictionFrom(assignment, *found->second.committed);
}

Fleet::Eviction EvictionFrom(const Assignment& assignment, const internal::v1::HostRecord& host) {
  const std::string& name = assignment.placement().host();
  const bool evictable = assignment.spec().evictable();
  const char* const kept = "; it is not released by itself, because it is not evictable";
  if (const v1::Taint* taint = EvictingTaint(assignment, host); taint != nullptr) {
    const absl::Time since = FromTimestamp(host.update_time());
    return {.since = since,
            .at = evictable ? since : absl::InfiniteFuture(),
            .why = absl::StrCat(name, " has the taint ", taint->key(),
                                taint->value().empty() ? "" : "=", taint->value(),
                                ":EVICT, which it does not tolerate", evictable ? "" : kept)};
  }
  if (!host.draining()) return {};
  // A version before this one did not note it.
  const absl::Time since =
      FromTimestamp(host.has_drain_start_time() ? host.drain_start_time() : host.update_time());
  std::string why = absl::StrCat(name, " is being drained since ", Text(since));
  if (!host.has_drain_deadline()) {
    return {.since = since, .at = absl::InfiniteFuture(), .why = std::move(why)};
  }
  const absl::Time deadline = FromTimestamp(host.drain_deadline());
  absl::StrAppend(&why, ", until ", Text(deadline), evictable ? "" : kept);
  return {
      .since = since, .at = evictable ? deadline : absl::InfiniteFuture(), .why = std::move(why)};
}

Fleet::Deadline Fleet::NextDeadline(const AssignmentEntry& entry) const {
  using Kind = Deadline::Kind;
  Deadline next;
  if (entry.committed == nullptr) return next;
  const Assignment& assignment = entry.committed->assignment();
  if (assignment.intent() == Assignment::RELEASING) return next;
  const auto consider = [&next](absl::Time at, Kind kind) {
    if (at < next.at) next = {.at = at, .kind = kind};
  };
  consider(LeaseEnd(assignment), Kind::kLease);
  if (assignment.intent() != Assignment::PLACED) return next;
  consider(EvictionOf(assignment).at, Kind::kEviction);
  absl::Time attach = AttachEnd(entry);
  const auto host = hosts.find(HostIdOf(assignment.placement().host()));
  // A VMM may have attached, and its agent cannot say so.
  if (host == hosts.end() || !IsHeard(host->second)) {
    attach = std::max(attach, clock().Now() + kLookAgain);
  }
  consider(attach, Kind::kAttach);
  return next;
}

void Fleet::GrantAfresh(absl::Time now) { granted_since_ = std::max(granted_since_, now); }

void Fleet::SetReport(AssignmentEntry* entry, agent::v1::GrantStatus report) {
  if (report.observed() != Assignment::PREPARED) {
    entry->prepared_since = absl::InfiniteFuture();
  } else if (entry->prepared_since == absl::InfiniteFuture() ||
             entry->report.generation() != report.generation()) {
    entry->prepared_since = clock().Now();
  }
  entry->report = std::move(report);
  PublishObserved(entry);
  if (entry->committed == nullptr) return;
  due.Add(AssignmentIdOf(entry->committed->assignment().name()), NextDeadline(*entry).at);
}

}  // namespace berth
