// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/book/assignment_book.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "ctl/controller/book/convert.h"
#include "ctl/controller/book/validate.h"
#include "lib/base/ids.h"
#include "lib/base/lifecycle.h"
#include "lib/base/status.h"
#include "lib/config/duration.h"
#include "lib/config/timestamp.h"

namespace berth {
namespace {

using internal::v1::AssignmentRecord;
using v1::Assignment;

// Does nothing for one that has none.
void GrantLease(absl::Time now, Assignment* assignment) {
  if (!assignment->spec().has_lease_duration()) return;
  *assignment->mutable_expire_time() =
      ToTimestamp(now + FromProtoDuration(assignment->spec().lease_duration()));
}

}  // namespace

absl::StatusOr<std::string> ParseAssignmentName(const std::string& name) {
  std::string id = AssignmentIdOf(name);
  if (id.empty()) {
    return Error(Reason::kInvalidField,
                 absl::StrCat("name: \"", name.substr(0, 80), "\" is not \"assignments/...\""),
                 {{"field", "name"}});
  }
  return id;
}

void AssignmentBook::AddToken(Assignment* assignment) const {
  assignment->set_attach_token(tokens_->Token(assignment->uid(), assignment->token_version()));
}

absl::StatusOr<std::string> AssignmentBook::NewId(
    const v1::CreateAssignmentRequest& request) const {
  if (static_cast<int64_t>(fleet_->assignments.size()) >= options_.max_assignments) {
    return Error(Reason::kOverloaded, absl::StrCat("there are ", options_.max_assignments,
                                                   " assignments already; delete some"));
  }
  if (request.assignment_id().empty()) return absl::StrFormat("a-%016x", NewRandomId());
  BERTH_RETURN_IF_ERROR(ValidateResourceId(request.assignment_id(), "assignment_id"));
  if (fleet_->assignments.count(request.assignment_id()) > 0) {
    return Error(Reason::kAlreadyExists,
                 absl::StrCat(AssignmentName(request.assignment_id()), " exists already"),
                 {{"name", AssignmentName(request.assignment_id())}});
  }
  BERTH_RETURN_IF_ERROR(fleet_->CheckReadable(request.assignment_id()));
  return request.assignment_id();
}

absl::StatusOr<AssignmentBook::Draft> AssignmentBook::MakeDraft(
    const v1::CreateAssignmentRequest& request, const std::string& owner) {
  BERTH_RETURN_IF_ERROR(ValidateAssignment(request.assignment()));
  BERTH_ASSIGN_OR_RETURN(std::string id, NewId(request));
  auto record = std::make_shared<AssignmentRecord>();
  Assignment* assignment = record->mutable_assignment();
  assignment->set_name(AssignmentName(id));
  assignment->set_uid(NewUuid());
  assignment->set_display_name(request.assignment().display_name());
  *assignment->mutable_labels() = request.assignment().labels();
  *assignment->mutable_annotations() = request.assignment().annotations();
  assignment->set_owner(owner);
  *assignment->mutable_spec() = request.assignment().spec();
  assignment->set_token_version(1);
  const absl::Time now = fleet_->clock().Now();
  *assignment->mutable_create_time() = ToTimestamp(now);
  *assignment->mutable_update_time() = assignment->create_time();
  GrantLease(now, assignment);
  return Draft{.id = std::move(id), .record = std::move(record)};
}

absl::Status AssignmentBook::Charge(const placement::Placement& placement, const Draft& draft,
                                    QuotaUse* use) {
  Assignment* assignment = draft.record->mutable_assignment();
  const HostEntry& host = fleet_->hosts.at(placement.host.str());
  *assignment->mutable_placement() = ToProto(placement, host.committed->inventory());
  *use += UseOf(*assignment);
  absl::Status status = fleet_->quotas.Check(assignment->owner(), *use);
  if (status.ok()) status = fleet_->engine.Reserve(AssignmentUid(assignment->uid()), placement);
  if (!status.ok()) {
    assignment->clear_placement();
    return status;
  }
  assignment->set_intent(Assignment::PLACED);
  assignment->set_generation(1);
  return absl::OkStatus();
}

absl::Status AssignmentBook::PlaceOrQueue(const Draft& draft) {
  Assignment* assignment = draft.record->mutable_assignment();
  BERTH_ASSIGN_OR_RETURN(const placement::Request wanted,
                         ToPlacementRequest(assignment->spec(), kSeed));
  const absl::StatusOr<placement::Placement> placement = fleet_->engine.Place(wanted);
  QuotaUse use;
  absl::Status status = placement.ok() ? Charge(*placement, draft, &use) : placement.status();
  const bool waits = assignment->spec().when_unavailable() == v1::AssignmentSpec::QUEUE;
  if (status.ok() || !waits || !MayWait(status)) return status;
  assignment->set_intent(Assignment::PENDING);
  *assignment->mutable_failure() = ToFailure(status, fleet_->clock().Now());
  return absl::OkStatus();
}

void AssignmentBook::Release(const std::vector<Draft>& drafts) {
  for (const Draft& draft : drafts) {
    const Assignment& assignment = draft.record->assignment();
    // NOT_FOUND for one that waits.
    if (assignment.has_placement()) (void)fleet_->engine.Release(AssignmentUid(assignment.uid()));
  }
}

absl::StatusOr<AssignmentBook::AssignmentChange> AssignmentBook::DecideCreate(
    const v1::CreateAssignmentRequest& request, const std::string& owner) {
  BERTH_ASSIGN_OR_RETURN(const Draft draft, MakeDraft(request, owner));
  BERTH_RETURN_IF_ERROR(PlaceOrQueue(draft));
  AssignmentChange change;
  change.response = draft.record->assignment();
  if (request.validate_only()) {
    Release({draft});
    change.store = false;
    return change;
  }
  change.changes.assignments.emplace_back(draft.id, draft.record);
  change.then = [this, record = draft.record] { tracker_->Tell(record); };
  change.undo = [this, draft]() ABSL_NO_THREAD_SAFETY_ANALYSIS { Release({draft}); };
  return change;
}

void AssignmentBook::Create(const v1::CreateAssignmentRequest& request, const std::string& owner,
                            Answer answer) {
  RunMutation<Assignment>(
      *fleet_,
      {.method = "CreateAssignment",
       .owner = &owner,
       .request = &request,
       .request_id = request.validate_only() ? "" : request.request_id(),
       .decide = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return DecideCreate(request, owner); },
       .finish =
           [this](Assignment* assignment, Revision revision) {
             FinishEtag(assignment, revision);
             AddToken(assignment);
           },
       .answer = std::move(answer)});
}

absl::StatusOr<AssignmentEntry*> AssignmentBook::FindForChange(const std::string& id,
                                                               const std::string& etag) {
  const auto entry = fleet_->assignments.find(id);
  if (entry == fleet_->assignments.end() || entry->second.committed == nullptr ||
      entry->second.latest == nullptr) {
    return Error(Reason::kNotFound, absl::StrCat(AssignmentName(id), " does not exist"),
                 {{"name", AssignmentName(id)}});
  }
  const bool changing = entry->second.latest != entry->second.committed;
  if (!etag.empty() && (changing || etag != MakeEtag(entry->second.revision))) {
    return Error(Reason::kEtagMismatch,
                 absl::StrCat(AssignmentName(id), " has changed since it was read; read it again"),
                 {{"name", AssignmentName(id)}});
  }
  return &entry->second;
}

AssignmentBook::AssignmentChange AssignmentBook::ReplaceRecord(const std::string& id,
                                                               const AssignmentRecordPtr& record) {
  AssignmentChange change;
  change.response = record->assignment();
  change.changes.assignments.emplace_back(id, record);
  change.then = [this, record] { tracker_->Tell(record); };
  return change;
}

absl::StatusOr<AssignmentBook::AssignmentChange> AssignmentBook::DecideDelete(
    const v1::DeleteAssignmentRequest& request) {
  BERTH_ASSIGN_OR_RETURN(const std::string id, ParseAssignmentName(request.name()));
  absl::StatusOr<AssignmentEntry*> found = FindForChange(id, request.etag());
  AssignmentChange change;
  if (fleet_->quarantined.count(id) > 0 && request.etag().empty()) {
    change.response.set_name(request.name());
    change.response.set_intent(Assignment::RELEASING);
    change.store = !request.validate_only();
    if (change.store) change.changes.assignments.emplace_back(id, nullptr);
    return change;
  }
  if (ReasonOf(found.status()) == Reason::kNotFound && request.allow_missing()) {
    change.store = false;
    return change;
  }
  BERTH_RETURN_IF_ERROR(found.status());
  const AssignmentEntry& entry = **found;
  const Assignment& latest = entry.latest->assignment();
  auto record = std::make_shared<AssignmentRecord>(*entry.latest);
  Assignment* next = record->mutable_assignment();
  next->set_intent(Assignment::RELEASING);
  *next->mutable_update_time() = ToTimestamp(fleet_->clock().Now());
  if (request.validate_only() || latest.intent() == Assignment::RELEASING) {
    change.store = false;
    change.response = fleet_->Render(entry);
    change.response.set_intent(Assignment::RELEASING);
    return change;
  }
  if (IsCharged(static_cast<Intent>(latest.intent()), ObservedOf(entry))) {
    return ReplaceRecord(id, record);
  }
  change.response = *next;
  for (const std::string& ended : fleet_->EndsWith(id, *entry.latest)) {
    change.changes.assignments.emplace_back(ended, nullptr);
  }
  return change;
}

void AssignmentBook::Delete(const v1::DeleteAssignmentRequest& request, const std::string& owner,
                            Answer answer) {
  RunMutation<Assignment>(
      *fleet_, {.method = "DeleteAssignment",
                .owner = &owner,
                .request = &request,
                .request_id = request.validate_only() ? "" : request.request_id(),
                .decide = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return DecideDelete(request); },
                .finish = FinishEtag<Assignment>,
                .answer = std::move(answer)});
}

absl::StatusOr<AssignmentBook::AssignmentChange> AssignmentBook::DecideRenew(
    const v1::RenewAssignmentRequest& request) {
  BERTH_ASSIGN_OR_RETURN(const std::string id, ParseAssignmentName(request.name()));
  BERTH_ASSIGN_OR_RETURN(AssignmentEntry* const entry, FindForChange(id, ""));
  const Assignment& latest = entry->latest->assignment();
  if (latest.intent() == Assignment::RELEASING) {
    return Error(Reason::kStateConflict,
                 absl::StrCat(latest.name(), " is RELEASING: it is too late to renew it"),
                 {{"name", latest.name()}});
  }
  if (!latest.spec().has_lease_duration()) {
    return Error(Reason::kStateConflict,
                 absl::StrCat(latest.name(),
                              " has no lease: its spec has no lease_duration, and "
                              "it stays until it is deleted"),
                 {{"name", latest.name()}});
  }
  auto record = std::make_shared<AssignmentRecord>(*entry->latest);
  GrantLease(fleet_->clock().Now(), record->mutable_assignment());
  AssignmentChange change = ReplaceRecord(id, record);
  // Its host has nothing to do with leases.
  change.then = nullptr;
  return change;
}

void AssignmentBook::Renew(const v1::RenewAssignmentRequest& request, const std::string& owner,
                           Answer answer) {
  RunMutation<Assignment>(
      *fleet_, {.method = "RenewAssignment",
                .owner = &owner,
                .request = &request,
                .request_id = request.request_id(),
                .decide = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return DecideRenew(request); },
                .finish = FinishEtag<Assignment>,
                .answer = std::move(answer)});
}

absl::StatusOr<AssignmentBook::AssignmentChange> AssignmentBook::DecideRotate(
    const v1::RotateTokenRequest& request) {
  BERTH_ASSIGN_OR_RETURN(const std::string id, ParseAssignmentName(request.name()));
  BERTH_ASSIGN_OR_RETURN(AssignmentEntry* const entry, FindForChange(id, request.etag()));
  const Assignment& latest = entry->latest->assignment();
  if (latest.intent() != Assignment::PLACED && latest.intent() != Assignment::PENDING) {
    return Error(Reason::kStateConflict,
                 absl::StrCat(latest.name(), " is ", Assignment::Intent_Name(latest.intent()),
                              "; only a PLACED or PENDING one has a token to rotate"));
  }
  auto record = std::make_shared<AssignmentRecord>(*entry->latest);
  record->mutable_assignment()->set_token_version(latest.token_version() + 1);
  *record->mutable_assignment()->mutable_update_time() = ToTimestamp(fleet_->clock().Now());
  return ReplaceRecord(id, record);
}

void AssignmentBook::RotateToken(const v1::RotateTokenRequest& request, const std::string& owner,
                                 Answer answer) {
  RunMutation<Assignment>(
      *fleet_, {.method = "RotateToken",
                .owner = &owner,
                .request = &request,
                .request_id = request.request_id(),
                .decide = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return DecideRotate(request); },
                .finish =
                    [this](Assignment* assignment, Revision revision) {
                      FinishEtag(assignment, revision);
                      AddToken(assignment);
                    },
                .answer = std::move(answer)});
}

}  // namespace berth
