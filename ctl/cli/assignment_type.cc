// SPDX-License-Identifier: Apache-2.0
//
// The noun "assignment".
#include "absl/strings/str_cat.h"
#include "ctl/cli/failure.h"
#include "ctl/cli/printer/assignment.h"
#include "ctl/cli/resource.h"
#include "ctl/cli/resource_common.h"
#include "lib/base/absl_view.h"

namespace berth::cli {
namespace {

using google::protobuf::Message;
using v1::Assignment;

constexpr int kPageSize = 500;

const Assignment& Cast(const Message& message) { return static_cast<const Assignment&>(message); }

std::string State(const Assignment& assignment) {
  return absl::StrCat(EnumName(Assignment::Intent_Name, assignment.intent()), ", ",
                      ObservedText(assignment));
}

// Why an assignment will never be used on its host again; OK while it may.
absl::Status Hopeless(const Assignment& assignment) {
  const std::string label = LabelOf(AssignmentType(), assignment.name());
  if (assignment.intent() == Assignment::RELEASING) {
    const std::string& why = assignment.failure().message();
    return Error(Reason::kStateConflict,
                 absl::StrCat(label, " is being released", why.empty() ? "" : ": ", why));
  }
  if (assignment.intent() != Assignment::FAILED) return absl::OkStatus();
  const v1::Failure& failure = assignment.failure();
  ErrorMetadata metadata(failure.metadata().begin(), failure.metadata().end());
  metadata["assignment"] = assignment.name();
  return Error(ReasonFromName(failure.reason()).value_or(Reason::kPrepareFailed),
               absl::StrCat(label, " has failed: ", failure.message()), metadata);
}

Goal UntilObserved(std::string_view text, std::vector<Assignment::Observed> states) {
  return {.text = std::string(text),
          .reached = [states = std::move(states)](const Message& message) -> absl::StatusOr<bool> {
            const Assignment& assignment = Cast(message);
            for (const Assignment::Observed state : states) {
              if (assignment.observed() == state) return true;
            }
            BERTH_RETURN_IF_ERROR(Hopeless(assignment));
            return false;
          }};
}

// As UntilObserved(), and its host is there to be used.
Goal UntilUsable(std::string_view text, std::vector<Assignment::Observed> states) {
  Goal goal = UntilObserved(text, std::move(states));
  goal.reached = [observed =
                      std::move(goal.reached)](const Message& message) -> absl::StatusOr<bool> {
    BERTH_ASSIGN_OR_RETURN(const bool reached, observed(message));
    return reached && !IsHostLost(Cast(message));
  };
  return goal;
}

Goal UntilIntent(std::string_view text, Assignment::Intent intent) {
  return {.text = std::string(text),
          .reached = [intent](const Message& message) -> absl::StatusOr<bool> {
            const Assignment& assignment = Cast(message);
            if (assignment.intent() == intent) return true;
            // A failed one can still be released.
            if (intent != Assignment::RELEASING) BERTH_RETURN_IF_ERROR(Hopeless(assignment));
            return false;
          }};
}

class Type : public ResourceType {
 public:
  std::string_view singular() const override { return "assignment"; }
  std::string_view collection() const override { return "assignments"; }
  std::vector<std::string_view> aliases() const override { return {"asg", "a"}; }

  absl::StatusOr<MessagePtr> Get(Client& client, const std::string& name) const override {
    v1::GetAssignmentRequest request;
    request.set_name(name);
    BERTH_ASSIGN_OR_RETURN(Assignment assignment, client.GetAssignment(request));
    return std::make_shared<Assignment>(std::move(assignment));
  }

  absl::StatusOr<std::vector<MessagePtr>> List(Client& client, const Filter& filter,
                                               Detail) const override {
    v1::ListAssignmentsRequest request;
    request.set_page_size(kPageSize);
    request.set_host(filter.host);
    request.mutable_label_selector()->insert(filter.labels.begin(), filter.labels.end());
    return ListAll(client, &Client::ListAssignments, std::move(request),
                   [](auto& page) { return page.mutable_assignments(); });
  }

  absl::StatusOr<std::string> Position(Client& client) const override {
    return WatchPosition(client, &Client::ListAssignments);
  }

  absl::Status Watch(Client& client, const WatchQuery& query,
                     const std::function<Next(const WatchBatch&)>& on_batch) const override {
    v1::WatchAssignmentsRequest request;
    request.set_name(query.name);
    request.set_watch_token(query.token);
    return client.WatchAssignments(request, [&](const v1::WatchAssignmentsResponse& response) {
      return on_batch(ToBatch(
          response, [](const auto& event) -> const Message& { return event.assignment(); }));
    });
  }

  absl::StatusOr<Deletion> Delete(Client& client, const DeleteOptions& options) const override {
    if (options.gone) return UsageError("--gone is for hosts only");
    v1::DeleteAssignmentRequest request;
    request.set_name(options.name);
    request.set_request_id(options.request_id);
    request.set_allow_missing(options.ignore_missing);
    request.set_validate_only(options.dry_run);
    BERTH_ASSIGN_OR_RETURN(const Assignment assignment, client.DeleteAssignment(request));
    return assignment.name().empty() ? Deletion::kMissing : Deletion::kStarted;
  }

  bool Matches(const Message& resource, const Filter& filter) const override {
    const Assignment& assignment = Cast(resource);
    return HasLabels(assignment.labels(), filter) &&
           (filter.host.empty() || assignment.placement().host() == filter.host);
  }

  const std::string& NameOf(const Message& resource) const override {
    return Cast(resource).name();
  }
  const std::string& UidOf(const Message& resource) const override { return Cast(resource).uid(); }

  TableRow Header(Width width) const override { return AssignmentHeader(width); }
  TableRow Row(const Message& resource, Width width, absl::Time now) const override {
    return AssignmentRow(Cast(resource), width, now);
  }
  std::string Describe(const Message& resource, absl::Time now) const override {
    return DescribeAssignment(Cast(resource), now);
  }
  std::string StateOf(const Message& resource) const override { return State(Cast(resource)); }

  absl::StatusOr<Goal> ParseGoal(std::string_view text) const override {
    constexpr std::string_view kIntent = "intent=";
    constexpr std::string_view kObserved = "observed=";
    if (text == "deleted") return UntilDeleted();
    // Who is attached has been prepared.
    if (text == "prepared") {
      return UntilUsable(text, {Assignment::PREPARED, Assignment::ATTACHED});
    }
    if (text == "attached") return UntilUsable(text, {Assignment::ATTACHED});
    if (text.starts_with(kIntent)) {
      const auto intent = ParseEnum(text.substr(kIntent.size()), Assignment::Intent_Parse);
      if (intent.has_value()) return UntilIntent(text, *intent);
    }
    if (text.starts_with(kObserved)) {
      const auto observed = ParseEnum(text.substr(kObserved.size()), Assignment::Observed_Parse);
      if (observed.has_value()) return UntilObserved(text, {*observed});
    }
    return UsageError(absl::StrCat("--for=", AbslView(text),
                                   ": an assignment can become prepared, attached, deleted, "
                                   "intent=STATE or observed=STATE"));
  }
};

}  // namespace

const ResourceType& AssignmentType() {
  static const Type kType;
  return kType;
}

}  // namespace berth::cli
