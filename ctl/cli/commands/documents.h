// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CLI_COMMANDS_DOCUMENTS_H_
#define BERTH_CTL_CLI_COMMANDS_DOCUMENTS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "berth/v1/assignment.pb.h"
#include "berth/v1/assignment_service.pb.h"
#include "ctl/cli/session.h"

namespace berth::cli {

// All documents of all files ("-": the session's input), in order; at least one. Names are full or
// empty. Errors, all of exit code kExitUsage: those of lib/config/config.h with "file:line:column",
// files that cannot be read, wrong names.
absl::StatusOr<std::vector<v1::Assignment>> ReadAssignments(absl::Span<const std::string> files,
                                                            Session& session);

// The one document of the one file that describes a gang: a BatchCreateAssignmentsRequest, in which
// an assignment's name does for its assignment_id. Errors as above.
absl::StatusOr<v1::BatchCreateAssignmentsRequest> ReadGang(absl::Span<const std::string> files,
                                                           Session& session);

}  // namespace berth::cli

#endif  // BERTH_CTL_CLI_COMMANDS_DOCUMENTS_H_
