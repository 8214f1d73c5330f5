// SPDX-License-Identifier: Apache-2.0
//
// The part of the grant tracker that places what waits.
#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ctl/controller/book/convert.h"
#include "ctl/controller/book/grant_tracker.h"
#include "lib/base/status.h"
#include "lib/config/timestamp.h"

namespace berth {
namespace {

using internal::v1::AssignmentRecord;
using v1::Assignment;

// Assignments that wait for each other: the members of a gang in their order, or one.
using Party = std::vector<const AssignmentEntry*>;

const Assignment& First(const Party& party) { return party[0]->committed->assignment(); }

int PlaceOf(const AssignmentEntry* entry) { return entry->committed->assignment().gang().member(); }

bool GoesBefore(const Party& a, const Party& b) {
  const Assignment& x = First(a);
  const Assignment& y = First(b);
  if (x.spec().priority() != y.spec().priority()) return x.spec().priority() > y.spec().priority();
  return FromTimestamp(x.create_time()) < FromTimestamp(y.create_time());
}

// Equal for parties that ask for the same.
std::string WhatIsAsked(const Party& party) {
  std::string asked;
  const auto append = [&asked](const std::string& text) {
    absl::StrAppend(&asked, text.size(), ":", text);
  };
  for (const AssignmentEntry* entry : party) {
    append(entry->committed->assignment().spec().SerializeAsString());
    for (const std::string& host : entry->committed->failed_hosts()) append(host);
  }
  for (const v1::GangConstraint& constraint : party[0]->committed->gang_constraints()) {
    append(constraint.SerializeAsString());
  }
  return asked;
}

placement::ExcludedHosts FailedHosts(const AssignmentRecord& record) {
  placement::ExcludedHosts excluded;
  for (const std::string& host : record.failed_hosts()) excluded.insert(HostId(HostIdOf(host)));
  return excluded;
}

absl::StatusOr<std::vector<placement::Placement>> FindPlaces(const Party& party,
                                                             placement::Engine& engine) {
  const AssignmentRecord& first = *party[0]->committed;
  if (!WaitsInGang(first)) {
    BERTH_ASSIGN_OR_RETURN(const placement::Request wanted,
                           ToPlacementRequest(first.assignment().spec(), kSeed));
    BERTH_ASSIGN_OR_RETURN(placement::Placement place, engine.Place(wanted, FailedHosts(first)));
    return std::vector<placement::Placement>{std::move(place)};
  }
  // Never placed before, so no host has failed to prepare any of it.
  placement::GangRequest gang;
  BERTH_ASSIGN_OR_RETURN(gang.constraints, ToGangConstraints(first.gang_constraints()));
  for (const AssignmentEntry* entry : party) {
    BERTH_ASSIGN_OR_RETURN(placement::Request member,
                           ToPlacementRequest(entry->committed->assignment().spec(), kSeed));
    gang.members.push_back(std::move(member));
  }
  return engine.PlaceGang(gang);
}

}  // namespace

void GrantTracker::PlacePending() {
  std::vector<Party> parties;
  std::set<std::string> gangs;
  for (const std::string& id : fleet_->waiting.ids()) {
    const AssignmentEntry& entry = fleet_->assignments.at(id);
    const v1::GangMembership& gang = entry.committed->assignment().gang();
    Party party{&entry};
    if (WaitsInGang(*entry.committed)) {
      if (!gangs.insert(gang.uid()).second) continue;
      party.clear();
      for (const std::string& member : fleet_->waiting.Gang(gang.uid())) {
        party.push_back(&fleet_->assignments.at(member));
      }
      std::sort(party.begin(), party.end(),
                [](const auto* a, const auto* b) { return PlaceOf(a) < PlaceOf(b); });
      if (party.size() != static_cast<size_t>(gang.members())) continue;
    }
    const bool changes = std::any_of(party.begin(), party.end(), [](const auto* member) {
      return member->latest != member->committed;
    });
    if (!changes) parties.push_back(std::move(party));
  }
  std::stable_sort(parties.begin(), parties.end(), GoesBefore);
  // What did not fit does not fit a moment later, so that of many that ask for the same one is
  // tried.
  std::set<std::string> hopeless;
  for (const Party& party : parties) {
    std::string asked = WhatIsAsked(party);
    if (hopeless.count(asked) > 0) continue;
    const auto places = FindPlaces(party, fleet_->engine);
    if (places.ok()) {
      PlaceParty(party, *places);
    } else {
      hopeless.insert(std::move(asked));
    }
  }
}

void GrantTracker::PlaceParty(const std::vector<const AssignmentEntry*>& party,
                              const std::vector<placement::Placement>& places) {
  std::vector<AssignmentRecordPtr> records;
  const auto release = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    for (const AssignmentRecordPtr& record : records) {
      (void)fleet_->engine.Release(AssignmentUid(record->assignment().uid()));
    }
  };
  QuotaUse held;  // less than nothing: what those before have taken counts too
  for (size_t i = 0; i < party.size(); ++i) {
    auto record = std::make_shared<AssignmentRecord>(*party[i]->committed);
    Assignment* assignment = record->mutable_assignment();
    // An owner's quota says nothing about others who ask for the same.
    if (!Charge(places[i], held, assignment).ok()) return release();
    held -= UseOf(*assignment);
    assignment->set_intent(Assignment::PLACED);
    assignment->set_generation(assignment->generation() + 1);
    assignment->clear_failure();
    if (assignment->has_gang()) assignment->mutable_gang()->set_waiting(false);
    record->clear_gang_constraints();
    *assignment->mutable_update_time() = ToTimestamp(fleet_->clock().Now());
    records.push_back(std::move(record));
  }
  ChangeSet changes;
  for (const AssignmentRecordPtr& record : records) {
    changes.assignments.emplace_back(AssignmentIdOf(record->assignment().name()), record);
  }
  const absl::Status status = fleet_->Submit(std::move(changes), [this, records](Revision) {
    for (const AssignmentRecordPtr& record : records) Tell(record);
  });
  if (status.ok()) return;
  // As it was: the next Sweep() tries again.
  on_error_(Annotate(status, absl::StrCat("placing ", First(party).name()).c_str()));
  release();
}

}  // namespace berth
