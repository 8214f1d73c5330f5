// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CLI_PRINTER_AUDIT_H_
#define BERTH_CTL_CLI_PRINTER_AUDIT_H_

#include <string>

#include "absl/time/time.h"
#include "berth/v1/audit_service.pb.h"

namespace berth::cli {

// A table of what all know of each grant, and one of the differences when there are any.
std::string AuditTables(const v1::AuditResponse& audit, absl::Time now);
// A line for each host that could not be looked at, and one for all.
std::string AuditSummary(const v1::AuditResponse& audit);
// Every host was looked at as a whole, and nothing differs.
bool AllAgree(const v1::AuditResponse& audit);

}  // namespace berth::cli

#endif  // BERTH_CTL_CLI_PRINTER_AUDIT_H_
