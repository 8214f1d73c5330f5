// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>

#include "ctl/cli/client.h"
#include "ctl/cli/commands/flags.h"
#include "ctl/cli/watcher.h"
#include "lib/base/status.h"

namespace berth::cli {
namespace {

struct Options {
  std::vector<std::string> words;
  std::string goal;
};

absl::Status RunWait(const Options& options, Session& session) {
  BERTH_ASSIGN_OR_RETURN(const std::vector<Target> targets, ParseNamedTargets(options.words));
  std::vector<Goal> goals;
  for (const Target& target : targets) {
    BERTH_ASSIGN_OR_RETURN(Goal goal, target.type->ParseGoal(options.goal));
    goals.push_back(std::move(goal));
  }
  BERTH_ASSIGN_OR_RETURN(Client * client, session.client());
  for (size_t i = 0; i < targets.size(); ++i) {
    const absl::Status status = WaitFor(*client, targets[i], goals[i], session.err());
    session.Report(status);
    if (status.ok()) session.out() << targets[i].Label() << " " << goals[i].text << std::endl;
  }
  return absl::OkStatus();
}

}  // namespace

void AddWait(CLI::App& app, Run* run) {
  auto [command, options] =
      AddCommand(app, "wait", "Wait until assignments or hosts are in a state", run, &RunWait);
  AddTargets(command, &options->words);
  command
      ->add_option("--for", options->goal,
                   "prepared, attached, deleted, intent=STATE, observed=STATE; hosts: ready, "
                   "deleted, state=STATE")
      ->type_name("STATE")
      ->required();
  command->footer(
      "--timeout says how long, in all; 30s unless given. Ends early, with the reason,\n"
      "when an assignment fails. prepared and attached mean that its host is not LOST, too.");
}

}  // namespace berth::cli
