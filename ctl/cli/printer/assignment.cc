// SPDX-License-Identifier: Apache-2.0
#include "ctl/cli/printer/assignment.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "lib/base/absl_view.h"

namespace berth::cli {
namespace {

using v1::Assignment;
using v1::AssignmentSpec;

std::string IntentOf(const Assignment& assignment) {
  return EnumName(Assignment::Intent_Name, assignment.intent());
}

// A count of something that a placement gives; none without one.
std::string PlacedCount(const Assignment& assignment, int64_t count) {
  return assignment.has_placement() ? absl::StrCat(count) : kNone;
}

std::string QueuesText(const v1::QueueRequest& queues) {
  // What the API takes for "unspecified" is said, not hidden.
  const std::string need = queues.need() == v1::QueueRequest::NEED_UNSPECIFIED
                               ? "PREFERRED"
                               : EnumName(v1::QueueRequest::Need_Name, queues.need());
  return absl::StrCat(queues.count() > 0 ? absl::StrCat(queues.count(), " ") : "", "queues ", need);
}

// `Wanted` is a DeviceRequest or a DeviceAlternative.
template <typename Wanted>
std::string WantedText(const Wanted& wanted) {
  std::string text = absl::StrCat(wanted.count() == 0 ? 1 : wanted.count(), " x ", wanted.class_(),
                                  ", ", QueuesText(wanted.queues()));
  for (const v1::Requirement& requirement : wanted.requirements()) {
    absl::StrAppend(&text, ", ", Text(requirement));
  }
  return text;
}

std::string RequestText(const v1::DeviceRequest& request) {
  if (request.alternatives().empty()) {
    return absl::StrCat(request.name(), ": ", WantedText(request));
  }
  return absl::StrCat(request.name(), ": ",
                      absl::StrJoin(request.alternatives(), "; else ",
                                    [](std::string* out, const v1::DeviceAlternative& alternative) {
                                      out->append(WantedText(alternative));
                                    }));
}

std::string ConstraintText(const v1::PlacementConstraint& constraint) {
  std::string kind = kUnknown;
  switch (constraint.kind_case()) {
    case v1::PlacementConstraint::kSameUnit:
      kind = "same unit";
      break;
    case v1::PlacementConstraint::kSameNumaNode:
      kind = "same NUMA node";
      break;
    case v1::PlacementConstraint::kSameAttribute:
      kind = absl::StrCat("same ", constraint.same_attribute().key());
      break;
    case v1::PlacementConstraint::kDistinctUnits:
      kind = "distinct units";
      break;
    case v1::PlacementConstraint::KIND_NOT_SET:
      break;
  }
  return absl::StrCat(kind, " for ",
                      constraint.requests().empty() ? std::string("all requests")
                                                    : absl::StrJoin(constraint.requests(), ", "));
}

void WriteSpec(const AssignmentSpec& spec, TextWriter* writer) {
  std::vector<std::string> requests;
  for (const v1::DeviceRequest& request : spec.device_requests()) {
    requests.push_back(RequestText(request));
  }
  std::vector<std::string> conditions;
  for (const v1::PlacementConstraint& constraint : spec.constraints()) {
    conditions.push_back(ConstraintText(constraint));
  }
  for (const v1::Requirement& requirement : spec.host_selector()) {
    conditions.push_back(absl::StrCat("host label ", Text(requirement)));
  }
  writer->List("Requests", requests);
  if (!conditions.empty()) writer->List("Constraints", conditions);
  writer->Line("Isolation", spec.isolation() == AssignmentSpec::CONFINED ? "CONFINED" : "TRUSTED");
  writer->Line("Attach mode",
               spec.attach_mode() == AssignmentSpec::HAND_OFF ? "HAND_OFF" : "BROKERED");
  if (spec.has_attach_uid()) writer->Line("Attach uid", absl::StrCat(spec.attach_uid()));
  if (spec.memory_limit_bytes() > 0) {
    writer->Line("Memory limit", absl::StrCat(spec.memory_limit_bytes(), " bytes"));
  }
  if (spec.has_attach_timeout()) writer->Line("Attach time-out", Text(spec.attach_timeout()));
  if (spec.has_lease_duration()) writer->Line("Lease", Text(spec.lease_duration()));
  if (spec.evictable()) writer->Line("Evictable", "yes");
}

void WriteFailure(const v1::Failure& failure, absl::Time now, TextWriter* writer) {
  writer->Begin("Failure");
  writer->Line("Reason", failure.reason());
  writer->Line("Message", failure.message());
  writer->LineIfSet("Details", JoinLabels(failure.metadata()));
  if (failure.attempts() > 0) writer->Line("Hosts tried", absl::StrCat(failure.attempts()));
  writer->LineIfSet("Time", TimeAndAge(failure.time(), now));
  writer->End();
}

}  // namespace

bool IsHostLost(const Assignment& assignment) {
  return std::any_of(assignment.conditions().begin(), assignment.conditions().end(),
                     [](const v1::Condition& condition) {
                       return condition.type() == "HostReachable" && !condition.status();
                     });
}

std::string ObservedText(const Assignment& assignment) {
  return absl::StrCat(EnumName(Assignment::Observed_Name, assignment.observed()),
                      IsHostLost(assignment) ? ",HOST_LOST" : "");
}

TableRow AssignmentHeader(Width width) {
  if (width == Width::kNormal) {
    return {"NAME", "INTENT", "OBSERVED", "HOST", "DEVICES", "VCMDQS", "AGE"};
  }
  return {"NAME",  "INTENT", "OBSERVED", "HOST",       "DEVICES", "VCMDQS",
          "UNITS", "OWNER",  "UID",      "GENERATION", "AGE"};
}

TableRow AssignmentRow(const Assignment& assignment, Width width, absl::Time now) {
  int64_t devices = 0;
  int64_t vcmdqs = 0;
  std::vector<std::string> units;
  for (const v1::UnitPlacement& unit : assignment.placement().units()) {
    devices += unit.devices_size();
    vcmdqs += unit.vcmdqs();
    units.push_back(unit.unit());
  }
  TableRow row = {Cell(Id(assignment.name())),      IntentOf(assignment),
                  ObservedText(assignment),         Cell(Id(assignment.placement().host())),
                  PlacedCount(assignment, devices), PlacedCount(assignment, vcmdqs)};
  if (width == Width::kWide) {
    row.push_back(Cell(absl::StrJoin(units, ",")));
    row.push_back(Cell(assignment.owner()));
    row.push_back(Cell(assignment.uid()));
    row.push_back(absl::StrCat(assignment.generation()));
  }
  row.push_back(AgeOf(assignment.create_time(), now));
  return row;
}

void WritePlacement(const v1::Placement& placement, TextWriter* writer) {
  writer->Begin("Placement");
  writer->Line("Host", Id(placement.host()));
  writer->Line("Attach endpoint", placement.attach_endpoint());
  for (const v1::UnitPlacement& unit : placement.units()) {
    std::vector<TableRow> devices;
    for (const v1::DevicePlacement& device : unit.devices()) {
      devices.push_back(
          {Cell(device.address()), CellOr(device.request(), "<group>"), Cell(device.device())});
    }
    writer->Begin(absl::StrCat("Unit ", Cell(unit.unit())));
    writer->Line("Profile", EnumName(v1::Unit::Profile_Name, unit.profile()));
    writer->Line("vCMDQs", absl::StrCat(unit.vcmdqs()));
    writer->Rows("Devices", {"ADDRESS", "REQUEST", "DEVICE"}, devices);
    writer->End();
  }
  writer->End();
}

std::string DescribeAssignment(const Assignment& assignment, absl::Time now) {
  TextWriter writer;
  writer.Line("Name", Id(assignment.name()));
  writer.LineIfSet("Display name", assignment.display_name());
  writer.Line("UID", assignment.uid());
  writer.Line("Owner", assignment.owner());
  writer.Line("Labels", JoinLabels(assignment.labels()));
  writer.LineIfSet("Annotations", JoinLabels(assignment.annotations()));
  writer.Line("Intent", IntentOf(assignment));
  writer.Line("Observed", ObservedText(assignment));
  if (assignment.has_gang()) {
    const v1::GangMembership& gang = assignment.gang();
    writer.Line("Gang", absl::StrCat(gang.uid(), ", member ", gang.member() + 1, " of ",
                                     gang.members(), gang.waiting() ? ", waits as a whole" : ""));
  }
  writer.Line("Generation", absl::StrCat(assignment.generation()));
  writer.Line("Token version", absl::StrCat(assignment.token_version()));
  writer.Line("Age", AgeOf(assignment.create_time(), now));
  writer.Line("Created", TimeAndAge(assignment.create_time(), now));
  writer.LineIfSet("Updated", TimeAndAge(assignment.update_time(), now));
  writer.LineIfSet("Expires", TimeAndAge(assignment.expire_time(), now));
  writer.LineIfSet("Attach until", TimeAndAge(assignment.attach_expire_time(), now));
  if (assignment.eviction_requested()) {
    const std::string when = TimeAndAge(assignment.evict_time(), now);
    writer.Line("Eviction", when.empty() ? "requested: release it soon"
                                         : absl::StrCat("requested: released at ", when));
  }
  WriteSpec(assignment.spec(), &writer);
  if (assignment.has_placement()) {
    WritePlacement(assignment.placement(), &writer);
  } else {
    writer.Line("Placement", "");
  }
  if (assignment.has_failure()) WriteFailure(assignment.failure(), now, &writer);
  WriteConditions(assignment.conditions(), now, &writer);
  return writer.text();
}

std::string DescribeExplanation(std::string_view label,
                                const v1::ExplainPlacementResponse& explanation) {
  TextWriter writer;
  const std::string considered = absl::StrCat(explanation.hosts_considered(), " hosts");
  if (explanation.has_placement()) {
    writer.Line(label, absl::StrCat("fits on ", Id(explanation.placement().host())));
    WritePlacement(explanation.placement(), &writer);
  } else {
    writer.Line(label,
                explanation.unsatisfiable()
                    ? absl::StrCat("fits on none of ", considered, ", even if all were empty")
                    : absl::StrCat("fits on none of ", considered, " now"));
  }
  std::vector<TableRow> failures;
  for (const v1::ConstraintFailure& failure : explanation.failures()) {
    failures.push_back(
        {Cell(failure.constraint()), absl::StrCat(failure.hosts()), TextCell(failure.message())});
  }
  if (!failures.empty()) {
    writer.Rows("Hosts that fail", {"CONSTRAINT", "HOSTS", "MESSAGE"}, failures);
  }
  if (!explanation.nearest_host().empty()) {
    writer.Line("Nearest host", Id(explanation.nearest_host()));
    writer.Line("It lacks", explanation.nearest_host_lacks());
  }
  return writer.text();
}

}  // namespace berth::cli
