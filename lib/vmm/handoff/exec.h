// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_VMM_HANDOFF_EXEC_H_
#define BERTH_LIB_VMM_HANDOFF_EXEC_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/vmm/handoff/attachment.h"

namespace berth::handoff {

// `command` with {iommufd}, {device:N} (numbers of fds) and {address:N} replaced. Any other text in
// braces stays: JSON on a command line has them, too. Errors: DEVICE_UNKNOWN.
absl::StatusOr<std::vector<std::string>> Expand(const std::vector<std::string>& command,
                                                const Attachment& attachment);

// "BERTH_IOMMUFD=5", "BERTH_DEVICES=1" and for each device "BERTH_DEVICE_0=6",
// "BERTH_DEVICE_0_ADDRESS=...", "BERTH_DEVICE_0_ID=...".
std::vector<std::string> DescribeInEnvironment(const Attachment& attachment);

// Becomes `command`, found in PATH, with the fds inherited. Returns only when that fails.
absl::Status Exec(const std::vector<std::string>& command, const Attachment& attachment);

}  // namespace berth::handoff

#endif  // BERTH_LIB_VMM_HANDOFF_EXEC_H_
