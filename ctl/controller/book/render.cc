// SPDX-License-Identifier: Apache-2.0
//
// How records and reports look through the API.
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "ctl/controller/book/convert.h"
#include "ctl/controller/book/eviction.h"
#include "ctl/controller/book/fleet.h"
#include "lib/base/status.h"
#include "lib/config/timestamp.h"

namespace berth {

using internal::v1::AssignmentRecord;
using internal::v1::HostRecord;

namespace {

// What an assignment says while its host is lost.
v1::Condition HostLost(const std::string& name, const HostEntry& host) {
  const bool heard = host.LastHeard() != absl::InfinitePast();
  v1::Condition condition;
  condition.set_type("HostReachable");
  condition.set_status(false);
  condition.set_reason(std::string(ReasonName(Reason::kHostNotReady)));
  condition.set_message(
      heard
          ? absl::StrCat("nothing was heard from ", name, " since ",
                         absl::FormatTime(absl::RFC3339_sec, host.LastHeard(), absl::UTCTimeZone()),
                         "; what it reported may not be so any more")
          : absl::StrCat("nothing was heard from ", name, " since this controller started"));
  *condition.mutable_last_transition_time() = ToTimestamp(host.state_since);
  return condition;
}

// What a host says while its agent holds grants that no assignment claims.
v1::Condition Unclaimed(const HostEntry& host) {
  constexpr size_t kNamed = 8;
  std::string named;
  size_t count = 0;
  for (const auto& [uid, grant] : host.unclaimed) {
    if (++count > kNamed) break;
    absl::StrAppend(&named, count > 1 ? ", " : "", uid, " (",
                    v1::Assignment::Observed_Name(grant.observed()), ")");
  }
  v1::Condition condition;
  condition.set_type("GrantsClaimed");
  condition.set_status(false);
  condition.set_reason(std::string(ReasonName(Reason::kUnknownAssignment)));
  condition.set_message(absl::StrCat(
      host.unclaimed.size(), " grants stand there that no assignment claims; what they hold is ",
      "charged until their VMMs leave: ", named, host.unclaimed.size() > kNamed ? ", ..." : ""));
  *condition.mutable_last_transition_time() = ToTimestamp(host.unclaimed_since);
  return condition;
}

// What a host says while hardware of it keeps new assignments away. What its guests bring about is
// said of their devices and queues, and not here.
std::optional<v1::Condition> UnitsTainted(const HostRecord& record) {
  std::string named;
  const v1::Condition* first = nullptr;
  for (const v1::Unit& unit : record.inventory().units()) {
    if (unit.taints().empty()) continue;
    for (const v1::Taint& taint : unit.taints()) {
      absl::StrAppend(&named, named.empty() ? "" : "; ", unit.id(), ": ", taint.key());
    }
    for (const v1::Condition& found : unit.conditions()) {
      const bool earlier = first == nullptr || FromTimestamp(found.last_transition_time()) <
                                                   FromTimestamp(first->last_transition_time());
      if (earlier) first = &found;
    }
  }
  if (named.empty()) return std::nullopt;
  v1::Condition condition;
  condition.set_type("UnitsHealthy");
  condition.set_status(false);
  condition.set_message(absl::StrCat("nothing new is placed on ", named));
  // An agent of before names none.
  if (first == nullptr) return condition;
  condition.set_reason(first->reason());
  *condition.mutable_last_transition_time() = first->last_transition_time();
  return condition;
}

}  // namespace

v1::Drain Fleet::RenderDrain(const std::string& id, const HostRecord& record) const {
  v1::Drain drain;
  if (record.has_drain_start_time()) *drain.mutable_start_time() = record.drain_start_time();
  if (record.has_drain_deadline()) *drain.mutable_deadline() = record.drain_deadline();
  const auto placed = placed_.find(id);
  if (placed == placed_.end()) return drain;
  for (const auto& [assignment_id, count] : placed->second) {
    const auto found = assignments.find(assignment_id);
    if (found == assignments.end() || PlacedOn(found->second.committed) != id) continue;
    const v1::Assignment& there = found->second.committed->assignment();
    drain.set_assignments_left(drain.assignments_left() + 1);
    const bool leaving = there.intent() == v1::Assignment::RELEASING ||
                         EvictionFrom(there, record).at != absl::InfiniteFuture();
    if (leaving) drain.set_assignments_leaving(drain.assignments_leaving() + 1);
  }
  return drain;
}

void Fleet::RenderDeadlines(const AssignmentEntry& entry, v1::Assignment* assignment) const {
  assignment->clear_expire_time();
  const bool ends = assignment->intent() != v1::Assignment::RELEASING;
  if (const absl::Time end = LeaseEnd(*assignment); ends && end != absl::InfiniteFuture()) {
    *assignment->mutable_expire_time() = ToTimestamp(end);
  }
  if (!assignment->has_placement()) return;
  const absl::Time attach = AttachEnd(entry);
  if (ends && assignment->observed() == v1::Assignment::PREPARED &&
      attach != absl::InfiniteFuture()) {
    *assignment->mutable_attach_expire_time() = ToTimestamp(attach);
  }
  const Eviction eviction = EvictionOf(*assignment);
  if (eviction.why.empty()) return;
  assignment->set_eviction_requested(true);
  if (ends && eviction.at != absl::InfiniteFuture()) {
    *assignment->mutable_evict_time() = ToTimestamp(eviction.at);
  }
  v1::Condition* condition = assignment->add_conditions();
  condition->set_type("EvictionRequested");
  condition->set_status(true);
  condition->set_reason(std::string(ReasonName(Reason::kHostNotReady)));
  condition->set_message(eviction.why);
  *condition->mutable_last_transition_time() = ToTimestamp(eviction.since);
}

v1::Assignment Fleet::Render(const AssignmentEntry& entry) const {
  const AssignmentRecord& record = *entry.committed;
  v1::Assignment assignment = record.assignment();
  assignment.set_etag(MakeEtag(entry.revision));
  if (entry.report.generation() == assignment.generation() && assignment.has_placement()) {
    assignment.set_observed(entry.report.observed());
    *assignment.mutable_conditions() = entry.report.conditions();
    if (!assignment.has_failure() && entry.report.has_failure()) {
      *assignment.mutable_failure() = entry.report.failure();
    }
  }
  RenderDeadlines(entry, &assignment);
  if (assignment.has_placement()) {
    const auto host = hosts.find(HostIdOf(assignment.placement().host()));
    const bool known = host != hosts.end() && host->second.committed != nullptr;
    if (known && host->second.state == v1::Host::LOST) {
      *assignment.add_conditions() = HostLost(assignment.placement().host(), host->second);
    }
  }
  return assignment;
}

namespace {

// One more VINTF of each of these units.
void Charge(const google::protobuf::RepeatedPtrField<v1::UnitPlacement>& units, v1::Host* host) {
  for (const v1::UnitPlacement& unit : units) {
    for (v1::Unit& known : *host->mutable_units()) {
      if (known.id() == unit.unit()) known.set_used_vintfs(known.used_vintfs() + 1);
    }
  }
}

}  // namespace

void Fleet::RenderUse(const std::string& id, const HostEntry& entry, v1::View view,
                      v1::Host* host) const {
  // By device id: the assignment's name, or the uid of an unclaimed grant.
  absl::flat_hash_map<std::string, std::string> holders;
  absl::flat_hash_map<std::string, std::string> unclaimed;
  if (const auto placed = placed_.find(id); placed != placed_.end()) {
    for (const auto& [assignment_id, count] : placed->second) {
      const auto assignment = assignments.find(assignment_id);
      if (assignment == assignments.end() || PlacedOn(assignment->second.committed) != id) continue;
      const auto& units = assignment->second.committed->assignment().placement().units();
      Charge(units, host);
      for (const v1::UnitPlacement& unit : units) {
        for (const v1::DevicePlacement& device : unit.devices()) {
          holders[device.device()] = AssignmentName(assignment_id);
        }
      }
    }
  }
  for (const auto& [uid, grant] : entry.unclaimed) {
    Charge(grant.units(), host);
    for (const v1::UnitPlacement& unit : grant.units()) {
      for (const v1::DevicePlacement& device : unit.devices()) unclaimed[device.device()] = uid;
    }
  }
  int free = 0;
  for (const v1::Device& device : entry.committed->inventory().devices()) {
    const auto holder = holders.find(device.id());
    const auto grant = unclaimed.find(device.id());
    if (device.assignable() && holder == holders.end() && grant == unclaimed.end()) ++free;
    if (view == v1::BASIC) continue;
    v1::Device* shown = host->add_devices();
    *shown = device;
    shown->clear_assignment();
    if (holder != holders.end()) shown->set_assignment(holder->second);
    if (grant == unclaimed.end()) continue;
    shown->set_assignable(false);
    shown->set_unassignable_reason(
        absl::StrCat("held by grant ", grant->second, ", which no assignment claims"));
  }
  host->set_device_count(entry.committed->inventory().devices_size());
  host->set_free_device_count(free);
}

v1::Host Fleet::Render(const std::string& id, const HostEntry& entry, v1::View view) const {
  const HostRecord& record = *entry.committed;
  v1::Host host;
  host.set_name(HostName(id));
  host.set_uid(record.uid());
  host.set_display_name(record.display_name());
  const std::map<std::string, std::string> labels = EffectiveLabels(record);
  host.mutable_labels()->insert(labels.begin(), labels.end());
  *host.mutable_taints() = record.taints();
  if (auto taint = entry.link.taint()) *host.add_taints() = *std::move(taint);
  host.set_cordoned(record.cordoned());
  host.set_draining(record.draining());
  host.set_state(entry.state);
  *host.mutable_conditions() = record.inventory().conditions();
  for (const v1::Condition& condition : entry.conditions) *host.add_conditions() = condition;
  *host.mutable_units() = record.inventory().units();
  for (v1::Unit& unit : *host.mutable_units()) unit.clear_used_vintfs();
  *host.mutable_huge_pages() = record.inventory().huge_pages();
  host.set_agent_version(record.agent_version());
  host.set_incarnation(record.incarnation());
  if (entry.LastHeard() != absl::InfinitePast()) {
    *host.mutable_last_heartbeat_time() = ToTimestamp(entry.LastHeard());
  }
  *host.mutable_create_time() = record.create_time();
  *host.mutable_update_time() = record.update_time();
  host.set_etag(MakeEtag(entry.revision));
  host.set_attach_endpoint(record.inventory().attach_endpoint());

  if (auto condition = UnitsTainted(record)) *host.add_conditions() = *std::move(condition);
  if (auto condition = entry.link.condition()) *host.add_conditions() = *std::move(condition);
  if (!entry.unclaimed.empty()) *host.add_conditions() = Unclaimed(entry);
  host.set_gone(record.gone());
  if (record.draining()) *host.mutable_drain() = RenderDrain(id, record);
  RenderUse(id, entry, view, &host);
  return host;
}

}  // namespace berth
