// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CLI_COMMANDS_WATCH_H_
#define BERTH_CTL_CLI_COMMANDS_WATCH_H_

#include <vector>

#include "absl/status/status.h"
#include "ctl/cli/commands/flags.h"

namespace berth::cli {

// Prints the present state of the targets, all of one type, and every change of it, until the
// command is interrupted or its time is over. A resource that no longer matches the filter shows as
// deleted.
absl::Status WatchTargets(const std::vector<Target>& targets, const ViewFlags& view,
                          Session& session);

}  // namespace berth::cli

#endif  // BERTH_CTL_CLI_COMMANDS_WATCH_H_
