// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>

#include "ctl/cli/client.h"
#include "ctl/cli/commands/documents.h"
#include "ctl/cli/commands/flags.h"
#include "ctl/cli/watcher.h"
#include "lib/base/status.h"

namespace berth::cli {
namespace {

struct Options {
  std::vector<std::string> words;
  std::vector<std::string> files;
  std::string request_id;
  bool ignore_missing = false;
  bool dry_run = false;
  bool gone = false;
  bool wait = false;
};

absl::Status DeleteOne(const Target& target, const Options& options, Client& client,
                       Session& session) {
  BERTH_ASSIGN_OR_RETURN(Deletion deletion,
                         target.type->Delete(client, {.name = target.name,
                                                      .request_id = RequestIdOr(options.request_id),
                                                      .ignore_missing = options.ignore_missing,
                                                      .dry_run = options.dry_run,
                                                      .gone = options.gone}));
  if (deletion == Deletion::kMissing) {
    session.err() << target.Label() << " not found\n";
    return absl::OkStatus();
  }
  if (deletion == Deletion::kStarted && options.wait && !options.dry_run) {
    BERTH_ASSIGN_OR_RETURN(const Goal gone, target.type->ParseGoal("deleted"));
    BERTH_RETURN_IF_ERROR(WaitFor(client, target, gone, session.err()));
    deletion = Deletion::kDone;
  }
  const char* const going = options.gone ? " going" : " releasing";
  session.out() << target.Label() << (deletion == Deletion::kDone ? " deleted" : going)
                << (options.dry_run ? " (server dry run)" : "") << std::endl;
  return absl::OkStatus();
}

// What the words name, or what the files describe.
absl::StatusOr<std::vector<Target>> FindTargets(const Options& options, Session& session) {
  if (!options.words.empty() && !options.files.empty()) {
    return UsageError("name resources or give -f FILE, not both");
  }
  if (options.words.empty() && options.files.empty()) {
    return UsageError("say what to delete: TYPE NAME..., TYPE/NAME..., or -f FILE");
  }
  if (options.files.empty()) return ParseNamedTargets(options.words);
  BERTH_ASSIGN_OR_RETURN(const std::vector<v1::Assignment> documents,
                         ReadAssignments(options.files, session));
  std::vector<Target> targets;
  for (const v1::Assignment& document : documents) {
    if (document.name().empty()) {
      return UsageError(
          "a document without a name: what was created from it has a name of its own");
    }
    targets.push_back({.type = &AssignmentType(), .name = document.name()});
  }
  return targets;
}

absl::Status RunDelete(const Options& options, Session& session) {
  BERTH_ASSIGN_OR_RETURN(const std::vector<Target> targets, FindTargets(options, session));
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
  AddTargets(command, &options->words)->required(false);
  AddFiles(command, &options->files)->required(false);
  AddRequestId(command, &options->request_id);
  command->add_flag("--ignore-not-found", options->ignore_missing,
                    "Succeed when there is no such resource");
  command->add_flag("--gone", options->gone,
                    "A host that is LOST will not come back: fail what is placed there");
  command->add_flag("--wait", options->wait, "Wait until it is gone");
  command
      ->add_option_function<std::string>(
          "--dry-run", [options = options](const std::string&) { options->dry_run = true; },
          "Only check")
      ->check(CLI::IsMember({"server"}).description(""))
      ->type_name("server");
}

}  // namespace berth::cli
