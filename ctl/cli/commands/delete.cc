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
  std::string request_id;
  bool ignore_missing = false;
  bool dry_run = false;
  bool wait = false;
};

absl::Status DeleteOne(const Target& target, const Options& options, Client& client,
                       Session& session) {
  BERTH_ASSIGN_OR_RETURN(Deletion deletion,
                         target.type->Delete(client, {.name = target.name,
                                                      .request_id = RequestIdOr(options.request_id),
                                                      .ignore_missing = options.ignore_missing,
                                                      .dry_run = options.dry_run}));
  if (deletion == Deletion::kMissing) {
    session.err() << target.Label() << " not found\n";
    return absl::OkStatus();
  }
  if (deletion == Deletion::kStarted && options.wait && !options.dry_run) {
    BERTH_ASSIGN_OR_RETURN(const Goal gone, target.type->ParseGoal("deleted"));
    BERTH_RETURN_IF_ERROR(WaitFor(client, target, gone, session.err()));
    deletion = Deletion::kDone;
  }
  session.out() << target.Label() << (deletion == Deletion::kDone ? " deleted" : " releasing")
                << (options.dry_run ? " (server dry run)" : "") << std::endl;
  return absl::OkStatus();
}

absl::Status RunDelete(const Options& options, Session& session) {
  BERTH_ASSIGN_OR_RETURN(const std::vector<Target> targets, ParseNamedTargets(options.words));
  if (targets.size() > 1 && !options.request_id.empty()) {
    return UsageError("--request-id is for a single resource");
  }
  BERTH_ASSIGN_OR_RETURN(Client * client, session.client());
  for (const Target& target : targets) session.Report(DeleteOne(target, options, *client, session));
  return absl::OkStatus();
}

}  // namespace

void AddDelete(CLI::App& app, Run* run) {
  auto [command, options] =
      AddCommand(app, "delete", "Release assignments; forget hosts that are gone", run, &RunDelete);
  AddTargets(command, &options->words);
  AddRequestId(command, &options->request_id);
  command->add_flag("--ignore-not-found", options->ignore_missing,
                    "Succeed when there is no such resource");
  command->add_flag("--wait", options->wait, "Wait until it is gone");
  command
      ->add_option_function<std::string>(
          "--dry-run", [options = options](const std::string&) { options->dry_run = true; },
          "Only check")
      ->check(CLI::IsMember({"server"}).description(""))
      ->type_name("server");
}

}  // namespace berth::cli
