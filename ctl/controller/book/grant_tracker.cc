// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/book/grant_tracker.h"

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ctl/controller/book/assignment_book.h"
#include "ctl/controller/book/convert.h"
#include "lib/base/status.h"

namespace berth {
namespace {

using internal::v1::AssignmentRecord;
using v1::Assignment;

bool IsOn(const AssignmentEntry& entry, const std::string& host_id) {
  return entry.committed != nullptr &&
         entry.committed->assignment().placement().host() == HostName(host_id);
}

// A change of it is on its way to the store.
bool IsChanging(const AssignmentEntry& entry) { return entry.latest != entry.committed; }

std::string Summary(const AssignmentRecord& record) {
  std::string text = absl::StrCat("prepare failed on ", record.failures_size(),
                                  record.failures_size() == 1 ? " host" : " hosts");
  for (int i = 0; i < record.failures_size(); ++i) {
    absl::StrAppend(&text, i == 0 ? ": " : "; ", record.failed_hosts(i), ": ",
                    record.failures(i).message());
  }
  return text;
}

}  // namespace

std::vector<agent::v1::DesiredGrant> GrantTracker::DesiredFor(const std::string& host_id) {
  std::vector<agent::v1::DesiredGrant> grants;
  for (const AssignmentEntry* entry : fleet_->OnHost(host_id)) {
    const Assignment& assignment = entry->committed->assignment();
    if (assignment.intent() == Assignment::PLACED || assignment.intent() == Assignment::RELEASING) {
      grants.push_back(MakeDesiredGrant(assignment, *tokens_));
    }
  }
  return grants;
}

void GrantTracker::Note(const std::string& host_id, const agent::v1::GrantStatus& status) {
  AssignmentEntry* const entry = fleet_->FindByUid(status.assignment_uid());
  if (entry == nullptr || !IsOn(*entry, host_id) ||
      status.generation() != entry->committed->assignment().generation()) {
    return;
  }
  if (google::protobuf::util::MessageDifferencer::Equals(entry->report, status)) return;
  entry->report = status;
  fleet_->PublishObserved(entry);
  Act(entry);
}

void GrantTracker::Report(const std::string& host_id,
                          const std::vector<agent::v1::GrantStatus>& statuses) {
  absl::MutexLock lock(&fleet_->mu);
  for (const agent::v1::GrantStatus& status : statuses) Note(host_id, status);
}

void GrantTracker::ReportAll(const std::string& host_id,
                             const std::vector<agent::v1::GrantStatus>& statuses) {
  absl::MutexLock lock(&fleet_->mu);
  std::set<std::string> named;
  for (const agent::v1::GrantStatus& status : statuses) {
    named.insert(status.assignment_uid());
    Note(host_id, status);
  }
  for (AssignmentEntry* entry : fleet_->OnHost(host_id)) {
    if (named.count(entry->committed->assignment().uid()) > 0) continue;
    if (entry->report.observed() == Assignment::OBSERVED_UNSPECIFIED) continue;
    entry->report.Clear();
    fleet_->PublishObserved(entry);
  }
}

void GrantTracker::Act(AssignmentEntry* entry) {
  if (IsChanging(*entry) || entry->report.observed() != Assignment::GONE) return;
  switch (entry->committed->assignment().intent()) {
    case Assignment::RELEASING:
      return EndRelease(entry);
    case Assignment::PLACED:
      return PlaceAnew(entry);
    default:
      return;
  }
}

void GrantTracker::EndRelease(AssignmentEntry* entry) {
  const Assignment& assignment = entry->committed->assignment();
  const std::string host_id = HostIdOf(assignment.placement().host());
  const std::string uid = assignment.uid();
  ChangeSet changes;
  changes.assignments.emplace_back(AssignmentIdOf(assignment.name()), nullptr);
  const absl::Status status = fleet_->Submit(std::move(changes), [this, host_id, uid](Revision) {
    {
      absl::MutexLock lock(&fleet_->mu);
      // Charged until its end is durable.
      (void)fleet_->engine.Release(AssignmentUid(uid));
      PlacePending();
    }
    Forget(host_id, uid);
  });
  if (!status.ok())
    on_error_(Annotate(status, absl::StrCat("ending the release of ", assignment.name()).c_str()));
}

void GrantTracker::PlaceAnew(AssignmentEntry* entry) {
  auto record = std::make_shared<AssignmentRecord>(*entry->committed);
  Assignment* assignment = record->mutable_assignment();
  record->add_failed_hosts(assignment->placement().host());
  *record->add_failures() = entry->report.failure();
  const AssignmentUid uid(assignment->uid());
  // The agent has undone every step and says GONE: nothing is held there.
  (void)fleet_->engine.Release(uid);

  placement::ExcludedHosts excluded;
  for (const std::string& host : record->failed_hosts()) excluded.insert(HostId(HostIdOf(host)));
  absl::StatusOr<placement::Request> wanted = ToPlacementRequest(assignment->spec(), 0);
  absl::StatusOr<placement::Placement> placement = wanted.status();
  const bool may_try = record->failures_size() < kMaxAttempts;
  if (may_try && wanted.ok()) placement = fleet_->engine.Place(*wanted, excluded);
  const absl::Time now = fleet_->clock().Now();
  v1::Failure* failure = assignment->mutable_failure();
  *failure = entry->report.failure();
  failure->set_message(Summary(*record));
  failure->set_attempts(record->failures_size());
  *failure->mutable_time() = ToTimestamp(now);
  *assignment->mutable_update_time() = ToTimestamp(now);
  if (may_try && placement.ok() && fleet_->engine.Reserve(uid, *placement).ok()) {
    const HostEntry& host = fleet_->hosts.at(placement->host.str());
    *assignment->mutable_placement() = ToProto(*placement, host.committed->inventory());
    assignment->set_generation(assignment->generation() + 1);
  } else if (may_try && assignment->spec().when_unavailable() == v1::AssignmentSpec::QUEUE) {
    assignment->set_intent(Assignment::PENDING);
    assignment->clear_placement();
  } else {
    assignment->set_intent(Assignment::FAILED);
  }
  SubmitRecord(*entry, std::move(record));
}

void GrantTracker::SubmitRecord(const AssignmentEntry& before, AssignmentRecordPtr record) {
  const Assignment& old = before.committed->assignment();
  const std::string old_host = HostIdOf(old.placement().host());
  const std::string uid = old.uid();
  ChangeSet changes;
  changes.assignments.emplace_back(AssignmentIdOf(old.name()), record);
  const absl::Status status =
      fleet_->Submit(std::move(changes), [this, record, old_host, uid](Revision) {
        const Assignment& assignment = record->assignment();
        if (!old_host.empty() && assignment.placement().host() != HostName(old_host)) {
          Forget(old_host, uid);
        }
        if (assignment.intent() == Assignment::PLACED) Tell(record);
        Sweep();
      });
  if (status.ok()) return;
  on_error_(Annotate(status, absl::StrCat("placing ", old.name(), " anew").c_str()));
  // As it was: the next Sweep() tries again.
  (void)fleet_->engine.Release(AssignmentUid(uid));
  if (old.has_placement()) {
    (void)fleet_->engine.Restore(AssignmentUid(uid), FromProto(old.placement(), old.spec()));
  }
}

void GrantTracker::PlacePending() {
  std::vector<AssignmentEntry*> waiting;
  for (auto& [id, entry] : fleet_->assignments) {
    if (entry.committed != nullptr && !IsChanging(entry) &&
        entry.committed->assignment().intent() == Assignment::PENDING) {
      waiting.push_back(&entry);
    }
  }
  std::stable_sort(waiting.begin(), waiting.end(),
                   [](const AssignmentEntry* a, const AssignmentEntry* b) {
                     const Assignment& x = a->committed->assignment();
                     const Assignment& y = b->committed->assignment();
                     if (x.spec().priority() != y.spec().priority())
                       return x.spec().priority() > y.spec().priority();
                     return FromTimestamp(x.create_time()) < FromTimestamp(y.create_time());
                   });
  for (AssignmentEntry* entry : waiting) {
    const Assignment& now_waiting = entry->committed->assignment();
    absl::StatusOr<placement::Request> wanted = ToPlacementRequest(now_waiting.spec(), 0);
    placement::ExcludedHosts excluded;
    for (const std::string& host : entry->committed->failed_hosts()) {
      excluded.insert(HostId(HostIdOf(host)));
    }
    if (!wanted.ok()) continue;
    absl::StatusOr<placement::Placement> placement = fleet_->engine.Place(*wanted, excluded);
    if (!placement.ok() ||
        !fleet_->engine.Reserve(AssignmentUid(now_waiting.uid()), *placement).ok()) {
      continue;
    }
    auto record = std::make_shared<AssignmentRecord>(*entry->committed);
    Assignment* assignment = record->mutable_assignment();
    assignment->set_intent(Assignment::PLACED);
    assignment->set_generation(assignment->generation() + 1);
    assignment->clear_failure();
    const HostEntry& host = fleet_->hosts.at(placement->host.str());
    *assignment->mutable_placement() = ToProto(*placement, host.committed->inventory());
    *assignment->mutable_update_time() = ToTimestamp(fleet_->clock().Now());
    SubmitRecord(*entry, std::move(record));
  }
}

void GrantTracker::Sweep() {
  absl::MutexLock lock(&fleet_->mu);
  PlacePending();
  for (auto& [id, entry] : fleet_->assignments) {
    if (entry.committed != nullptr) Act(&entry);
  }
}

void GrantTracker::Tell(const AssignmentRecordPtr& record) {
  std::shared_ptr<HostSession> session;
  {
    absl::MutexLock lock(&fleet_->mu);
    const auto host = fleet_->hosts.find(HostIdOf(record->assignment().placement().host()));
    if (host != fleet_->hosts.end()) session = host->second.session;
  }
  if (session != nullptr) session->Upsert(MakeDesiredGrant(record->assignment(), *tokens_));
}

void GrantTracker::Forget(const std::string& host_id, const std::string& uid) {
  std::shared_ptr<HostSession> session;
  {
    absl::MutexLock lock(&fleet_->mu);
    const auto host = fleet_->hosts.find(host_id);
    if (host != fleet_->hosts.end()) session = host->second.session;
  }
  if (session != nullptr) session->Forget(uid);
}

}  // namespace berth
