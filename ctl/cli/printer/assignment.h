// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CLI_PRINTER_ASSIGNMENT_H_
#define BERTH_CTL_CLI_PRINTER_ASSIGNMENT_H_

#include <string>

#include "absl/time/time.h"
#include "berth/v1/assignment.pb.h"
#include "berth/v1/assignment_service.pb.h"
#include "ctl/cli/printer/table.h"
#include "ctl/cli/printer/text.h"

namespace berth::cli {

// Its host is lost: nobody knows whether it is what it was observed to be.
bool IsHostLost(const v1::Assignment& assignment);
// "PREPARED", or "PREPARED,HOST_LOST".
std::string ObservedText(const v1::Assignment& assignment);

TableRow AssignmentHeader(Width width);
TableRow AssignmentRow(const v1::Assignment& assignment, Width width, absl::Time now);
std::string DescribeAssignment(const v1::Assignment& assignment, absl::Time now);

// Host, units and devices, below "Placement:".
void WritePlacement(const v1::Placement& placement, TextWriter* writer);
// The answer of ExplainPlacement for one document; `label` names it.
std::string DescribeExplanation(std::string_view label,
                                const v1::ExplainPlacementResponse& explanation);

}  // namespace berth::cli

#endif  // BERTH_CTL_CLI_PRINTER_ASSIGNMENT_H_
