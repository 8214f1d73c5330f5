// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/book/grant_tracker.h"

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ctl/controller/book/convert.h"
#include "lib/base/absl_view.h"
#include "lib/base/lifecycle.h"
#include "lib/base/status.h"
#include "lib/config/timestamp.h"
#include "lib/rpc/sha256.h"

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

// The last report is about what is wanted now: of a new placement its host has not spoken at first.
bool IsReported(const AssignmentEntry& entry) {
  return entry.committed != nullptr &&
         entry.report.generation() == entry.committed->assignment().generation();
}

// It could not be prepared on its host: the end of a generation.
bool HasFailed(const AssignmentEntry& entry) {
  return IsReported(entry) && entry.report.observed() == Assignment::GONE &&
         entry.report.has_failure();
}

// Whether an agent that skips steps in its reports can get from one to the other.
bool CanFollow(Observed from, Observed to) {
  std::set<Observed> reached = {from};
  for (size_t before = 0; before != reached.size();) {
    before = reached.size();
    for (const Edge<Observed>& edge : ObservedEdges()) {
      if (reached.count(edge.from) > 0) reached.insert(edge.to);
    }
  }
  return reached.count(to) > 0;
}

// What the controller wants of the host of a placed assignment.
agent::v1::DesiredGrant MakeDesiredGrant(const Assignment& assignment, const TokenMaker& tokens) {
  agent::v1::DesiredGrant grant;
  grant.set_assignment_uid(assignment.uid());
  grant.set_assignment(assignment.name());
  grant.set_generation(assignment.generation());
  grant.set_intent(assignment.intent());
  *grant.mutable_units() = assignment.placement().units();
  const v1::AssignmentSpec& spec = assignment.spec();
  grant.set_isolation(spec.isolation() == v1::AssignmentSpec::ISOLATION_UNSPECIFIED
                          ? v1::AssignmentSpec::TRUSTED
                          : spec.isolation());
  grant.set_attach_mode(spec.attach_mode() == v1::AssignmentSpec::ATTACH_MODE_UNSPECIFIED
                            ? v1::AssignmentSpec::BROKERED
                            : spec.attach_mode());
  if (spec.has_attach_uid()) grant.set_attach_uid(spec.attach_uid());
  grant.set_token_hash(Sha256(tokens.Token(assignment.uid(), assignment.token_version())));
  grant.set_memory_limit_bytes(spec.memory_limit_bytes());
  return grant;
}

}  // namespace

std::vector<agent::v1::DesiredGrant> GrantTracker::DesiredFor(const std::string& host_id) {
  std::vector<agent::v1::DesiredGrant> grants;
  for (const AssignmentEntry* entry : fleet_->OnHost(host_id)) {
    const Assignment& assignment = entry->committed->assignment();
    const bool placed = assignment.intent() == Assignment::PLACED;
    if (!placed && assignment.intent() != Assignment::RELEASING) continue;
    // On its way to another host.
    if (placed && HasFailed(*entry)) continue;
    grants.push_back(MakeDesiredGrant(assignment, *tokens_));
  }
  return grants;
}

void GrantTracker::Note(const std::string& host_id, const agent::v1::GrantStatus& status) {
  AssignmentEntry* const entry = fleet_->FindByUid(status.assignment_uid());
  if (entry == nullptr || !IsOn(*entry, host_id)) {
    // Its agent is to drop it, unless a VMM has it; nobody else gets the devices until then.
    if (const absl::Status noted = fleet_->SetUnclaimed(host_id, status); !noted.ok()) {
      on_error_(noted);
    }
    return;
  }
  const int64_t current = entry->committed->assignment().generation();
  if (status.generation() < current) fleet_->CountFenced(Fence::kGeneration);
  if (status.generation() != current) return;
  // The agent has it, and has not begun.
  if (status.observed() == Assignment::OBSERVED_UNSPECIFIED) return;
  const bool first = entry->report.generation() != status.generation();
  const auto before = first ? Observed::kNone : static_cast<Observed>(entry->report.observed());
  const bool over = !first && HasFailed(*entry) && status.observed() != Assignment::GONE;
  if (over || !Assignment::Observed_IsValid(status.observed()) ||
      !CanFollow(before, static_cast<Observed>(status.observed()))) {
    on_error_(Error(
        Reason::kInvalidField,
        absl::StrCat(HostName(host_id), " reports ", Assignment::Observed_Name(status.observed()),
                     " of ", entry->committed->assignment().name(), ", which cannot follow ",
                     AbslView(ToString(before)))));
    return;
  }
  if (!google::protobuf::util::MessageDifferencer::Equals(entry->report, status)) {
    fleet_->SetReport(entry, status);
  }
  Act(entry);
}

void GrantTracker::Report(const std::string& host_id, const HostSession* session,
                          const std::vector<agent::v1::GrantStatus>& statuses) {
  absl::MutexLock lock(&fleet_->mu);
  const std::shared_ptr<HostSession> current = SessionOf(host_id);
  if (current.get() != session) {
    if (current != nullptr) fleet_->CountFenced(Fence::kSession);
    return;
  }
  for (const agent::v1::GrantStatus& status : statuses) Note(host_id, status);
}

void GrantTracker::ReportAll(const std::string& host_id,
                             const std::vector<agent::v1::GrantStatus>& statuses) {
  std::set<std::string> named;
  for (const agent::v1::GrantStatus& status : statuses) {
    named.insert(status.assignment_uid());
    Note(host_id, status);
  }
  std::vector<std::string> dropped;
  for (const auto& [uid, grant] : fleet_->hosts.at(host_id).unclaimed) {
    if (named.count(uid) == 0) dropped.push_back(uid);
  }
  for (const std::string& uid : dropped) {
    agent::v1::GrantStatus gone;
    gone.set_assignment_uid(uid);
    (void)fleet_->SetUnclaimed(host_id, gone);
  }
  for (AssignmentEntry* entry : fleet_->OnHost(host_id)) {
    if (named.count(entry->committed->assignment().uid()) > 0) continue;
    if (entry->report.observed() == Assignment::OBSERVED_UNSPECIFIED || HasFailed(*entry)) continue;
    fleet_->SetReport(entry, {});
  }
}

void GrantTracker::Act(AssignmentEntry* entry) {
  if (IsChanging(*entry) || !IsReported(*entry)) return;
  if (entry->report.observed() != Assignment::GONE) return;
  switch (entry->committed->assignment().intent()) {
    case Assignment::RELEASING:
      return EndRelease(entry);
    case Assignment::PLACED:
      // Without a failure it is on its way to a fresh context on the same host.
      if (HasFailed(*entry)) PlaceAnew(entry);
      return;
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
  v1::Failure* reason = record->add_failures();
  *reason = entry->report.failure();
  if (reason->reason().empty()) {
    reason->set_reason(std::string(ReasonName(Reason::kPrepareFailed)));
    reason->set_message("the host gave it up and did not say why");
  }
  const AssignmentUid uid(assignment->uid());
  // The agent has undone every step and says GONE: nothing is held there.
  (void)fleet_->engine.Release(uid);

  placement::ExcludedHosts excluded;
  for (const std::string& host : record->failed_hosts()) excluded.insert(HostId(HostIdOf(host)));
  // Elsewhere a member of a gang would not be where the others need it.
  const bool may_try = record->failures_size() < kMaxAttempts && !record->gang_bound();
  const auto place_again =
      [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS -> absl::StatusOr<placement::Placement> {
    BERTH_ASSIGN_OR_RETURN(const placement::Request wanted,
                           ToPlacementRequest(assignment->spec(), kSeed));
    BERTH_ASSIGN_OR_RETURN(placement::Placement placed, fleet_->engine.Place(wanted, excluded));
    BERTH_RETURN_IF_ERROR(Charge(placed, UseOf(*assignment), assignment));
    return placed;
  };
  absl::StatusOr<placement::Placement> placement = Error(Reason::kNoCapacity, "not tried again");
  if (may_try) placement = place_again();
  const absl::Time now = fleet_->clock().Now();
  v1::Failure* failure = assignment->mutable_failure();
  *failure = *reason;
  failure->set_message(Summary(*record));
  failure->set_attempts(record->failures_size());
  *failure->mutable_time() = ToTimestamp(now);
  *assignment->mutable_update_time() = ToTimestamp(now);
  if (placement.ok()) {
    assignment->set_generation(assignment->generation() + 1);
  } else if (may_try && assignment->spec().when_unavailable() == v1::AssignmentSpec::QUEUE) {
    assignment->set_intent(Assignment::PENDING);
    assignment->clear_placement();
  } else {
    assignment->set_intent(Assignment::FAILED);
    assignment->clear_placement();
  }
  SubmitRecord(*entry, std::move(record));
}

absl::Status GrantTracker::Charge(const placement::Placement& placement, const QuotaUse& held,
                                  Assignment* assignment) {
  Assignment next;
  next.mutable_spec()->CopyFrom(assignment->spec());
  const HostEntry& host = fleet_->hosts.at(placement.host.str());
  *next.mutable_placement() = ToProto(placement, host.committed->inventory());
  QuotaUse more = UseOf(next);
  more -= held;
  BERTH_RETURN_IF_ERROR(fleet_->quotas.Check(assignment->owner(), more));
  BERTH_RETURN_IF_ERROR(fleet_->engine.Reserve(AssignmentUid(assignment->uid()), placement));
  assignment->mutable_placement()->Swap(next.mutable_placement());
  return absl::OkStatus();
}

void GrantTracker::SubmitRecord(const AssignmentEntry& before, const AssignmentRecordPtr& record) {
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
        if (assignment.intent() == Assignment::PLACED) return Tell(record);
        // What it held may do for others.
        absl::MutexLock lock(&fleet_->mu);
        PlacePending();
      });
  if (status.ok()) return;
  on_error_(Annotate(status, absl::StrCat("placing ", old.name(), " anew").c_str()));
  // As it was: the next Sweep() tries again.
  (void)fleet_->engine.Release(AssignmentUid(uid));
  if (old.has_placement()) {
    (void)fleet_->engine.Restore(AssignmentUid(uid), FromProto(old.placement(), old.spec()));
  }
}

void GrantTracker::Sweep() {
  absl::MutexLock lock(&fleet_->mu);
  PlacePending();
  for (auto& [id, entry] : fleet_->assignments) {
    if (entry.committed != nullptr) Act(&entry);
  }
}

std::shared_ptr<HostSession> GrantTracker::SessionOf(const std::string& host_id) {
  const auto host = fleet_->hosts.find(host_id);
  return host == fleet_->hosts.end() ? nullptr : host->second.session;
}

void GrantTracker::Tell(const AssignmentRecordPtr& record) {
  const Assignment& assignment = record->assignment();
  if (!assignment.has_placement()) return;
  std::shared_ptr<HostSession> session;
  {
    absl::MutexLock lock(&fleet_->mu);
    session = SessionOf(HostIdOf(assignment.placement().host()));
    AssignmentEntry* const entry = fleet_->FindByUid(assignment.uid());
    if (entry != nullptr && entry->report.generation() == assignment.generation()) Act(entry);
  }
  if (session != nullptr) session->Upsert(MakeDesiredGrant(assignment, *tokens_));
}

void GrantTracker::Forget(const std::string& host_id, const std::string& uid) {
  std::shared_ptr<HostSession> session;
  {
    absl::MutexLock lock(&fleet_->mu);
    session = SessionOf(host_id);
  }
  if (session != nullptr) session->Forget(uid);
}

}  // namespace berth
