// SPDX-License-Identifier: Apache-2.0
//
// What AssignmentBook answers without changing anything.
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ctl/controller/book/assignment_book.h"
#include "ctl/controller/book/convert.h"
#include "ctl/controller/book/list_page.h"
#include "ctl/controller/book/validate.h"
#include "lib/base/status.h"

namespace berth {

using v1::Assignment;

absl::StatusOr<Assignment> AssignmentBook::Get(const v1::GetAssignmentRequest& request) {
  BERTH_ASSIGN_OR_RETURN(const std::string id, ParseAssignmentName(request.name()));
  absl::MutexLock lock(&fleet_->mu);
  BERTH_RETURN_IF_ERROR(fleet_->CheckReadable(id));
  const auto entry = fleet_->assignments.find(id);
  if (entry == fleet_->assignments.end() || entry->second.committed == nullptr) {
    return Error(Reason::kNotFound, absl::StrCat(AssignmentName(id), " does not exist"),
                 {{"name", AssignmentName(id)}});
  }
  return fleet_->Render(entry->second);
}

absl::StatusOr<v1::ListAssignmentsResponse> AssignmentBook::List(
    const v1::ListAssignmentsRequest& request) {
  BERTH_RETURN_IF_ERROR(ValidateSelector(request.label_selector()));
  if (!request.host().empty() && HostIdOf(request.host()).empty()) {
    return Error(Reason::kInvalidField,
                 absl::StrCat("host: \"", request.host().substr(0, 80), "\" is not \"hosts/...\""));
  }
  const std::string query =
      absl::StrCat("assignments|", request.host(), "|", LabelSelectorKey(request.label_selector()));
  absl::MutexLock lock(&fleet_->mu);
  BERTH_ASSIGN_OR_RETURN(ListPage page,
                         ListPage::Start(query, request.page_size(), request.page_token(),
                                         fleet_->Position().ToToken()));
  v1::ListAssignmentsResponse response;
  response.set_watch_token(page.watch_token());
  for (auto it = fleet_->assignments.upper_bound(page.after()); it != fleet_->assignments.end();
       ++it) {
    if (it->second.committed == nullptr) continue;
    const Assignment& stored = it->second.committed->assignment();
    if (!request.host().empty() && stored.placement().host() != request.host()) continue;
    if (!MatchesLabels(request.label_selector(), stored.labels())) continue;
    Assignment assignment = fleet_->Render(it->second);
    if (!page.Take(it->first, assignment.ByteSizeLong())) {
      response.set_next_page_token(page.NextToken());
      break;
    }
    *response.add_assignments() = std::move(assignment);
  }
  return response;
}

absl::StatusOr<v1::ExplainPlacementResponse> AssignmentBook::Explain(
    const v1::ExplainPlacementRequest& request) {
  Assignment assignment;
  if (request.has_spec()) *assignment.mutable_spec() = request.spec();
  BERTH_RETURN_IF_ERROR(ValidateAssignment(assignment));
  BERTH_ASSIGN_OR_RETURN(const placement::Request wanted,
                         ToPlacementRequest(request.spec(), kSeed));
  absl::MutexLock lock(&fleet_->mu);
  BERTH_ASSIGN_OR_RETURN(const placement::Explanation explanation, fleet_->engine.Explain(wanted));
  v1::ExplainPlacementResponse response;
  response.set_hosts_considered(static_cast<int32_t>(explanation.hosts));
  if (explanation.placement.has_value()) {
    const HostEntry& host = fleet_->hosts.at(explanation.placement->host.str());
    *response.mutable_placement() = ToProto(*explanation.placement, host.committed->inventory());
    return response;
  }
  constexpr int kMaxFailures = 32;
  for (const placement::Explanation::Failure& failure : explanation.Failures()) {
    if (response.failures_size() == kMaxFailures) break;
    v1::ConstraintFailure* shown = response.add_failures();
    shown->set_constraint(std::string(placement::ObstacleName(failure.obstacle)));
    shown->set_hosts(static_cast<int32_t>(failure.hosts));
    shown->set_message(failure.text);
  }
  if (!explanation.nearest.empty()) {
    response.set_nearest_host(HostName(explanation.nearest.str()));
    response.set_nearest_host_lacks(
        placement::ObstacleLack(explanation.nearest_lacks, explanation.device_class));
  }
  response.set_unsatisfiable(explanation.unsatisfiable);
  response.set_incomplete(!explanation.complete);
  return response;
}

}  // namespace berth
