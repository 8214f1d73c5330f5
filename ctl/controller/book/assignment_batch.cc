// SPDX-License-Identifier: Apache-2.0
//
// Several creates in one call: a gang, or creates that only share it.
#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "ctl/controller/book/assignment_book.h"
#include "ctl/controller/book/convert.h"
#include "lib/base/ids.h"
#include "lib/base/status.h"

namespace berth {

using v1::Assignment;

namespace {

// What is wrong with one of the creates, as an error of the call.
absl::Status InRequest(const absl::Status& status, size_t index) {
  return Annotate(status, absl::StrCat("requests[", index, "]").c_str());
}

// The engine's words for a gang are members and constraints.
absl::Status InBatch(const absl::Status& status) {
  const ErrorMetadata metadata = MetadataOf(status);
  const auto member = metadata.find("member");
  size_t index = 0;
  if (member == metadata.end() || !absl::SimpleAtoi(member->second, &index)) return status;
  return InRequest(status, index);
}

// Whether the gang is to wait when it has no place. INVALID_FIELD when its members differ in that,
// or in the priority that it would wait with.
absl::StatusOr<bool> GangMayWait(const v1::BatchCreateAssignmentsRequest& request) {
  using Spec = v1::AssignmentSpec;
  const auto waits = [](const Spec& spec) { return spec.when_unavailable() == Spec::QUEUE; };
  const Spec& first = request.requests(0).assignment().spec();
  for (int i = 1; i < request.requests_size(); ++i) {
    const Spec& spec = request.requests(i).assignment().spec();
    const char* field = nullptr;
    if (waits(spec) != waits(first)) field = "spec.when_unavailable";
    if (waits(first) && spec.priority() != first.priority()) field = "spec.priority";
    if (field == nullptr) continue;
    return InRequest(
        Error(Reason::kInvalidField,
              absl::StrCat(field, ": a gang waits as a whole, so all members have the same"),
              {{"field", field}}),
        static_cast<size_t>(i));
  }
  return waits(first);
}

}  // namespace

void AssignmentBook::MakeMembers(const placement::GangRequest& gang,
                                 const std::vector<Draft>& drafts) {
  const std::string uid = NewUuid();
  for (size_t i = 0; i < drafts.size(); ++i) {
    v1::GangMembership* member = drafts[i].record->mutable_assignment()->mutable_gang();
    member->set_uid(uid);
    member->set_member(static_cast<int32_t>(i));
    member->set_members(static_cast<int32_t>(drafts.size()));
    drafts[i].record->set_gang_bound(
        std::any_of(gang.constraints.begin(), gang.constraints.end(),
                    [i](const placement::GangConstraint& bond) { return bond.Binds(i); }));
  }
}

absl::StatusOr<placement::GangRequest> AssignmentBook::ToGang(
    const v1::BatchCreateAssignmentsRequest& request) {
  placement::GangRequest gang;
  BERTH_ASSIGN_OR_RETURN(gang.constraints, ToGangConstraints(request.constraints()));
  for (int i = 0; i < request.requests_size(); ++i) {
    const v1::AssignmentSpec& spec = request.requests(i).assignment().spec();
    absl::StatusOr<placement::Request> member = ToPlacementRequest(spec, kSeed);
    if (!member.ok()) return InRequest(member.status(), static_cast<size_t>(i));
    gang.members.push_back(*std::move(member));
  }
  return gang;
}

absl::StatusOr<std::vector<AssignmentBook::Draft>> AssignmentBook::MakeDrafts(
    const v1::BatchCreateAssignmentsRequest& request, const std::string& owner) {
  std::vector<Draft> drafts;
  std::set<std::string> ids;
  for (int i = 0; i < request.requests_size(); ++i) {
    absl::StatusOr<Draft> draft = MakeDraft(request.requests(i), owner);
    if (draft.ok() && !ids.insert(draft->id).second) {
      draft = Error(Reason::kInvalidField,
                    absl::StrCat("assignment_id \"", draft->id, "\" is there twice"));
    }
    if (!draft.ok()) return InRequest(draft.status(), static_cast<size_t>(i));
    drafts.push_back(*std::move(draft));
  }
  return drafts;
}

absl::Status AssignmentBook::PlaceTogether(const placement::GangRequest& gang,
                                           const std::vector<Draft>& drafts) {
  const absl::StatusOr<std::vector<placement::Placement>> placements =
      fleet_->engine.PlaceGang(gang);
  if (!placements.ok()) return InBatch(placements.status());
  QuotaUse use;
  for (size_t i = 0; i < drafts.size(); ++i) {
    if (const absl::Status charged = Charge((*placements)[i], drafts[i], &use); !charged.ok()) {
      Release(drafts);
      return InRequest(charged, i);
    }
  }
  return absl::OkStatus();
}

void AssignmentBook::Queue(const absl::Status& why,
                           const v1::BatchCreateAssignmentsRequest& request,
                           const std::vector<Draft>& drafts) {
  const v1::Failure failure = ToFailure(why, fleet_->clock().Now());
  for (const Draft& draft : drafts) {
    Assignment* assignment = draft.record->mutable_assignment();
    assignment->set_intent(Assignment::PENDING);
    assignment->clear_placement();
    assignment->clear_generation();
    *assignment->mutable_failure() = failure;
    assignment->mutable_gang()->set_waiting(true);
    *draft.record->mutable_gang_constraints() = request.constraints();
  }
}

absl::StatusOr<Decision<v1::BatchCreateAssignmentsResponse>> AssignmentBook::DecideBatch(
    const v1::BatchCreateAssignmentsRequest& request, const std::string& owner) {
  BERTH_ASSIGN_OR_RETURN(const std::vector<Draft> drafts, MakeDrafts(request, owner));
  BERTH_ASSIGN_OR_RETURN(const placement::GangRequest gang, ToGang(request));
  BERTH_ASSIGN_OR_RETURN(const bool may_wait, GangMayWait(request));
  MakeMembers(gang, drafts);
  const absl::Status placed = PlaceTogether(gang, drafts);
  if (!placed.ok()) {
    if (!may_wait || !MayWait(placed)) return placed;
    Queue(placed, request, drafts);
  }
  Decision<v1::BatchCreateAssignmentsResponse> change;
  for (const Draft& draft : drafts) {
    *change.response.add_results()->mutable_assignment() = draft.record->assignment();
    change.changes.assignments.emplace_back(draft.id, draft.record);
  }
  change.then = [this, drafts] {
    for (const Draft& draft : drafts) tracker_->Tell(draft.record);
  };
  change.undo = [this, drafts]() ABSL_NO_THREAD_SAFETY_ANALYSIS { Release(drafts); };
  return change;
}

void AssignmentBook::BatchCreate(const v1::BatchCreateAssignmentsRequest& request,
                                 const std::string& owner, BatchAnswer answer) {
  using Request = v1::BatchCreateAssignmentsRequest;
  if (!Request::Mode_IsValid(request.mode())) {
    return answer(Error(Reason::kInvalidField,
                        "mode: is unknown to this version; use ATOMIC or INDEPENDENT",
                        {{"field", "mode"}}));
  }
  const bool independent = request.mode() == Request::INDEPENDENT;
  const int limit = independent ? kMaxBatch : kMaxAtomicBatch;
  if (request.requests_size() == 0 || request.requests_size() > limit) {
    return answer(
        Error(Reason::kInvalidField,
              absl::StrCat("requests: has ", request.requests_size(), " entries, not 1 to ", limit),
              {{"field", "requests"}}));
  }
  if (independent && request.constraints_size() > 0) {
    return answer(Error(Reason::kInvalidField,
                        "constraints: bind the members of a gang; use mode ATOMIC",
                        {{"field", "constraints"}}));
  }
  if (independent) return IndependentBatch(request, owner, std::move(answer));
  RunMutation<v1::BatchCreateAssignmentsResponse>(
      *fleet_,
      {.method = "BatchCreateAssignments",
       .owner = &owner,
       .request = &request,
       .request_id = request.request_id(),
       .decide = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return DecideBatch(request, owner); },
       .finish =
           [this](v1::BatchCreateAssignmentsResponse* response, Revision revision) {
             for (v1::BatchCreateResult& result : *response->mutable_results()) {
               FinishEtag(result.mutable_assignment(), revision);
               AddToken(result.mutable_assignment());
             }
           },
       .answer = std::move(answer)});
}

void AssignmentBook::IndependentBatch(const v1::BatchCreateAssignmentsRequest& request,
                                      const std::string& owner, BatchAnswer answer) {
  // The answers come on several threads, in any order; the last one sends the response.
  struct Gather {
    absl::Mutex mu;
    v1::BatchCreateAssignmentsResponse response ABSL_GUARDED_BY(mu);
    int missing ABSL_GUARDED_BY(mu) = 0;
    BatchAnswer answer;
    Clock* clock = nullptr;
  };
  const int size = request.requests_size();
  auto gather = std::make_shared<Gather>();
  gather->answer = std::move(answer);
  gather->clock = &fleet_->clock();
  {
    absl::MutexLock lock(&gather->mu);
    gather->missing = size;
    for (int i = 0; i < size; ++i) gather->response.add_results();
  }
  // `request` lives until the last answer, which may come before this loop has seen its end.
  for (int i = 0; i < size; ++i) {
    Create(request.requests(i), owner, [gather, i](absl::StatusOr<Assignment> created) {
      absl::MutexLock lock(&gather->mu);
      v1::BatchCreateResult* result = gather->response.mutable_results(i);
      if (created.ok()) {
        *result->mutable_assignment() = *std::move(created);
      } else {
        *result->mutable_failure() = ToFailure(created.status(), gather->clock->Now());
      }
      if (--gather->missing == 0) gather->answer(std::move(gather->response));
    });
  }
}

}  // namespace berth
