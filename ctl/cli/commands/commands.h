// SPDX-License-Identifier: Apache-2.0
//
// The commands. Each Add...() adds one subcommand with its options; when the command line chooses
// it, `*run` becomes what it does. Options live as long as `*run` or the app, whichever is longer.
#ifndef BERTH_CTL_CLI_COMMANDS_COMMANDS_H_
#define BERTH_CTL_CLI_COMMANDS_COMMANDS_H_

#include <functional>

#include "absl/status/status.h"
#include "ctl/cli/session.h"

namespace CLI {
class App;
}  // namespace CLI

namespace berth::cli {

using Run = std::function<absl::Status(Session&)>;

void AddGet(CLI::App& app, Run* run);
void AddDescribe(CLI::App& app, Run* run);
void AddCreate(CLI::App& app, Run* run);
void AddDelete(CLI::App& app, Run* run);
void AddWatch(CLI::App& app, Run* run);
void AddWait(CLI::App& app, Run* run);
void AddExplainPlacement(CLI::App& app, Run* run);
void AddCordon(CLI::App& app, Run* run);  // and uncordon, drain
void AddRenew(CLI::App& app, Run* run);
void AddRotateToken(CLI::App& app, Run* run);
void AddAudit(CLI::App& app, Run* run);
void AddCapacity(CLI::App& app, Run* run);
void AddVersion(CLI::App& app, Run* run);
void AddConfig(CLI::App& app, Run* run);
void AddErrors(CLI::App& app, Run* run);
void AddCompletion(CLI::App& app, Run* run);
void AddDebug(CLI::App& app, Run* run);

}  // namespace berth::cli

#endif  // BERTH_CTL_CLI_COMMANDS_COMMANDS_H_
