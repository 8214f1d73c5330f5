// SPDX-License-Identifier: Apache-2.0
//
// How records and reports look through the API.
#include <map>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "ctl/controller/book/convert.h"
#include "ctl/controller/book/fleet.h"
#include "lib/base/status.h"
#include "lib/config/timestamp.h"

namespace berth {

using internal::v1::AssignmentRecord;
using internal::v1::HostRecord;

namespace {

// What an assignment says while its host is lost.
v1::Condition HostLost(const std::string& name, const HostEntry& host) {
  const bool heard = host.last_heard != absl::InfinitePast();
  v1::Condition condition;
  condition.set_type("HostReachable");
  condition.set_status(false);
  condition.set_reason(std::string(ReasonName(Reason::kHostNotReady)));
  condition.set_message(
      heard
          ? absl::StrCat("nothing was heard from ", name, " since ",
                         absl::FormatTime(absl::RFC3339_sec, host.last_heard, absl::UTCTimeZone()),
                         "; what it reported may not be so any more")
          : absl::StrCat("nothing was heard from ", name, " since this controller started"));
  *condition.mutable_last_transition_time() = ToTimestamp(host.state_since);
  return condition;
}

}  // namespace

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
  if (assignment.has_placement()) {
    const auto host = hosts.find(HostIdOf(assignment.placement().host()));
    const bool known = host != hosts.end() && host->second.committed != nullptr;
    assignment.set_eviction_requested(known && host->second.committed->draining());
    if (known && host->second.state == v1::Host::LOST) {
      *assignment.add_conditions() = HostLost(assignment.placement().host(), host->second);
    }
  }
  return assignment;
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
  if (entry.last_heard != absl::InfinitePast()) {
    *host.mutable_last_heartbeat_time() = ToTimestamp(entry.last_heard);
  }
  *host.mutable_create_time() = record.create_time();
  *host.mutable_update_time() = record.update_time();
  host.set_etag(MakeEtag(entry.revision));
  host.set_attach_endpoint(record.inventory().attach_endpoint());

  absl::flat_hash_map<std::string, std::string> holders;  // device id -> assignment name
  if (const auto placed = placed_.find(id); placed != placed_.end()) {
    for (const auto& [assignment_id, count] : placed->second) {
      const auto assignment = assignments.find(assignment_id);
      if (assignment == assignments.end() || PlacedOn(assignment->second.committed) != id) continue;
      for (const v1::UnitPlacement& unit :
           assignment->second.committed->assignment().placement().units()) {
        for (v1::Unit& known : *host.mutable_units()) {
          if (known.id() == unit.unit()) known.set_used_vintfs(known.used_vintfs() + 1);
        }
        for (const v1::DevicePlacement& device : unit.devices()) {
          holders[device.device()] = AssignmentName(assignment_id);
        }
      }
    }
  }
  host.set_device_count(record.inventory().devices_size());
  int free = 0;
  for (const v1::Device& device : record.inventory().devices()) {
    const auto holder = holders.find(device.id());
    if (device.assignable() && holder == holders.end()) ++free;
    if (view == v1::BASIC) continue;
    v1::Device* shown = host.add_devices();
    *shown = device;
    shown->clear_assignment();
    if (holder != holders.end()) shown->set_assignment(holder->second);
  }
  host.set_free_device_count(free);
  return host;
}

}  // namespace berth
