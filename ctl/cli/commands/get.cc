// SPDX-License-Identifier: Apache-2.0
#include <google/protobuf/message.h>

#include <CLI/CLI.hpp>

#include "ctl/cli/client.h"
#include "ctl/cli/commands/flags.h"
#include "ctl/cli/commands/watch.h"
#include "lib/base/status.h"

namespace berth::cli {
namespace {

struct Options {
  std::vector<std::string> words;
  ViewFlags view;
  bool watch = false;
};

// What the targets of one type name.
struct Group {
  const ResourceType* type = nullptr;
  std::vector<MessagePtr> resources = {};
};

absl::StatusOr<std::vector<MessagePtr>> Fetch(const Target& target, const Filter& filter,
                                              Detail detail, Client& client) {
  if (target.name.empty()) return target.type->List(client, filter, detail);
  BERTH_ASSIGN_OR_RETURN(MessagePtr resource, target.type->Get(client, target.name));
  return std::vector<MessagePtr>{std::move(resource)};
}

absl::StatusOr<std::vector<Group>> FetchAll(const std::vector<Target>& targets,
                                            const Options& options, Session& session) {
  BERTH_ASSIGN_OR_RETURN(const Filter filter, options.view.filter());
  BERTH_ASSIGN_OR_RETURN(Client * client, session.client());
  const Detail detail = IsData(options.view.format) ? Detail::kEverything : Detail::kRow;
  std::vector<Group> groups;
  for (const Target& target : targets) {
    auto resources = Fetch(target, filter, detail, *client);
    if (!resources.ok()) {
      session.Report(resources.status());
      continue;
    }
    if (groups.empty() || groups.back().type != target.type)
      groups.push_back({.type = target.type});
    std::vector<MessagePtr>& all = groups.back().resources;
    all.insert(all.end(), resources->begin(), resources->end());
  }
  return groups;
}

void PrintData(const std::vector<Target>& targets, const std::vector<Group>& groups, Format format,
               Session& session) {
  std::vector<MessagePtr> all;
  for (const Group& group : groups) {
    all.insert(all.end(), group.resources.begin(), group.resources.end());
  }
  const bool one = targets.size() == 1 && !targets[0].name.empty();
  if (!one) {
    session.out() << WriteMessages(all, format);
  } else if (!all.empty()) {
    session.out() << WriteMessage(*all[0], format);
  }
}

absl::Status RunGet(const Options& options, Session& session) {
  BERTH_ASSIGN_OR_RETURN(const std::vector<Target> targets, ParseTargets(options.words));
  if (options.watch) return WatchTargets(targets, options.view, session);
  BERTH_ASSIGN_OR_RETURN(const std::vector<Group> groups, FetchAll(targets, options, session));
  if (IsData(options.view.format)) {
    PrintData(targets, groups, options.view.format, session);
    return absl::OkStatus();
  }
  bool first = true;
  for (const Group& group : groups) {
    if (group.resources.empty()) {
      session.err() << "No " << group.type->collection() << " found.\n";
      continue;
    }
    if (!first && options.view.format != Format::kName) session.out() << "\n";
    session.out() << WriteRows(*group.type, group.resources, options.view.format,
                               options.view.headers, session.now());
    first = false;
  }
  return absl::OkStatus();
}

}  // namespace

void AddGet(CLI::App& app, Run* run) {
  auto [command, options] =
      AddCommand(app, "get", "Show assignments or hosts, as a table or as data", run, &RunGet);
  AddTargets(command, &options->words);
  AddViewFlags(command, &options->view);
  command->add_flag("-w,--watch", options->watch, "Go on with the changes, as `watch` does");
}

}  // namespace berth::cli
