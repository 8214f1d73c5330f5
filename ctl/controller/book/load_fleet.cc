// SPDX-License-Identifier: Apache-2.0
//
// The part of Fleet that reads the store. What cannot be read, or contradicts the rest, is left out
// and named; the controller serves everything else.
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ctl/controller/book/convert.h"
#include "ctl/controller/book/fleet.h"
#include "lib/base/absl_view.h"
#include "lib/base/ids.h"
#include "lib/base/lifecycle.h"
#include "lib/base/status.h"
#include "lib/config/timestamp.h"

namespace berth {
namespace {

using internal::v1::AssignmentRecord;
using internal::v1::HostRecord;
using internal::v1::QuotaRecord;
using internal::v1::RequestRecord;

absl::Status Unreadable() { return Error(Reason::kStoreCorrupt, "the payload cannot be parsed"); }
absl::Status Contradiction(const std::string& what) { return Error(Reason::kStoreCorrupt, what); }

// What everything else relies on.
absl::Status CheckState(const AssignmentRecordPtr& record) {
  const v1::Assignment& assignment = record->assignment();
  if (assignment.uid().empty()) return Contradiction("it has no uid");
  const int intent = assignment.intent();
  if (!v1::Assignment::Intent_IsValid(intent) || intent == v1::Assignment::INTENT_UNSPECIFIED) {
    return Contradiction(absl::StrCat("this version of Berth knows no intent ", intent));
  }
  const bool charged = IsCharged(static_cast<Intent>(intent), Observed::kNone);
  if (charged && PlacedOn(record).empty()) {
    return Contradiction(absl::StrCat("it is ", AbslView(ToString(static_cast<Intent>(intent))),
                                      ", and on no host"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Fleet::Load() {
  absl::MutexLock lock(&mu);
  // The store promises one view, on this thread; the analysis does not see through the callback.
  const auto on_record = [this](const Record& record) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    const absl::Status loaded = LoadRecord(record);
    if (!loaded.ok()) Quarantine(record.key, loaded);
  };
  const auto on_broken = [this](const RecordKey& key, const absl::Status& why)
                             ABSL_NO_THREAD_SAFETY_ANALYSIS { Quarantine(key, why); };
  BERTH_ASSIGN_OR_RETURN(revision_, options_.store->Load(on_record, on_broken));
  for (auto& [id, host] : hosts) {
    // A host that cannot be read by the engine is excluded there, and shown as BROKEN when it
    // connects.
    (void)UpdateEngine(id, host);
  }
  GrantAfresh(clock().Now());
  for (const auto& [id, entry] : assignments) {
    due.Add(id, NextDeadline(entry).at);
    const v1::Assignment& assignment = entry.committed->assignment();
    if (!IsCharged(static_cast<Intent>(assignment.intent()), Observed::kNone)) continue;
    const absl::Status restored = engine.Restore(
        AssignmentUid(assignment.uid()), FromProto(assignment.placement(), assignment.spec()));
    if (!restored.ok() && options_.on_broken_record) {
      options_.on_broken_record({.kind = kAssignmentKind, .id = id}, restored);
    }
  }
  if (options_.on_broken_record) NameBrokenGangs();
  return absl::OkStatus();
}

void Fleet::NameBrokenGangs() const {
  for (const std::string& id : waiting.ids()) {
    const AssignmentRecord& record = *assignments.at(id).committed;
    if (!WaitsInGang(record)) continue;
    const v1::GangMembership& gang = record.assignment().gang();
    const size_t there = waiting.Gang(gang.uid()).size();
    if (there == static_cast<size_t>(gang.members())) continue;
    options_.on_broken_record(
        {.kind = kAssignmentKind, .id = id},
        Contradiction(absl::StrCat("it waits with a gang of ", gang.members(), ", of which ", there,
                                   " are there; delete it")));
  }
}

absl::Status Fleet::CheckReadable(const std::string& assignment_id) const {
  const auto broken = quarantined.find(assignment_id);
  if (broken == quarantined.end()) return absl::OkStatus();
  const std::string name = AssignmentName(assignment_id);
  return Error(Reason::kStoreCorrupt,
               absl::StrCat("the record of ", name, " cannot be used (", broken->second,
                            "): delete it, or restore the store from a backup"),
               {{"name", name}});
}

void Fleet::Quarantine(const RecordKey& key, const absl::Status& why) {
  if (options_.on_broken_record) options_.on_broken_record(key, why);
  if (key.kind == kAssignmentKind) {
    quarantined[key.id] = std::string(why.message());
  } else if (key.kind == kQuotaKind) {
    quotas.unreadable.insert(key.id);
  } else if (key.kind == kHostKind) {
    auto unknown = std::make_shared<HostRecord>();
    unknown->set_uid(NewUuid());
    unknown->set_cordoned(true);
    *unknown->mutable_create_time() = ToTimestamp(clock().Now());
    HostEntry& entry = hosts[key.id];
    entry.committed = entry.latest = std::move(unknown);
    entry.state_since = clock().Now();
    v1::Condition& condition = entry.conditions.emplace_back();
    condition.set_type("RecordReadable");
    condition.set_reason(std::string(ReasonName(ReasonOf(why))));
    condition.set_message(absl::StrCat("its record was left out (", why.message(),
                                       "): labels and taints that it was given are lost, and it is "
                                       "cordoned until told otherwise"));
    *condition.mutable_last_transition_time() = ToTimestamp(clock().Now());
  } else if (key.kind == kRequestKind) {
    // Its payload is not known, so that no request is the same.
    RequestRecord used;
    *used.mutable_create_time() = ToTimestamp(clock().Now());
    requests.Restore(key.id, std::move(used), 0);
  }
}

absl::Status Fleet::LoadAssignment(const Record& record) {
  auto parsed = std::make_shared<AssignmentRecord>();
  if (!parsed->ParseFromString(record.payload)) return Unreadable();
  const v1::Assignment& assignment = parsed->assignment();
  if (assignment.name() != AssignmentName(record.key.id)) {
    return Contradiction(absl::StrCat("it is the record of \"", assignment.name(), "\""));
  }
  BERTH_RETURN_IF_ERROR(CheckState(parsed));
  const auto [other, added] = ids_by_uid_.emplace(assignment.uid(), record.key.id);
  if (!added) {
    return Contradiction(absl::StrCat(other->second, " has the same uid, ", assignment.uid()));
  }
  AssignmentEntry& entry = assignments[record.key.id];
  entry.committed = entry.latest = parsed;
  entry.revision = record.revision;
  CountPlaced(record.key.id, parsed, 1);
  quotas.Add(assignment.owner(), UseOf(assignment));
  waiting.Update(record.key.id, nullptr, parsed);
  return absl::OkStatus();
}

absl::Status Fleet::LoadQuota(const Record& record) {
  auto parsed = std::make_shared<QuotaRecord>();
  if (!parsed->ParseFromString(record.payload)) return Unreadable();
  const std::string& name = parsed->quota().name();
  if (OwnerElement(name.substr(name.find('/') + 1)) != record.key.id) {
    return Contradiction(absl::StrCat("it is the record of \"", name, "\""));
  }
  QuotaTable::Entry& entry = quotas.entries[record.key.id];
  entry.committed = entry.latest = parsed;
  entry.revision = record.revision;
  return absl::OkStatus();
}

absl::Status Fleet::LoadRecord(const Record& record) {
  if (record.key.kind == kAssignmentKind) return LoadAssignment(record);
  if (record.key.kind == kQuotaKind) return LoadQuota(record);
  if (record.key.kind == kHostKind) {
    auto parsed = std::make_shared<HostRecord>();
    if (!parsed->ParseFromString(record.payload)) return Unreadable();
    HostEntry& entry = hosts[record.key.id];
    entry.committed = entry.latest = parsed;
    entry.revision = record.revision;
    entry.state_since = clock().Now();
    return absl::OkStatus();
  }
  if (record.key.kind == kRequestKind) {
    RequestRecord parsed;
    if (!parsed.ParseFromString(record.payload)) return Unreadable();
    requests.Restore(record.key.id, std::move(parsed), record.revision);
    return absl::OkStatus();
  }
  return Contradiction("this version of Berth knows no records of this kind");
}

}  // namespace berth
