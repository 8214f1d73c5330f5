// SPDX-License-Identifier: Apache-2.0
#include <google/protobuf/message.h>

#include <CLI/CLI.hpp>

#include "ctl/cli/client.h"
#include "ctl/cli/commands/flags.h"
#include "lib/base/status.h"

namespace berth::cli {
namespace {

struct Options {
  std::vector<std::string> words;
};

absl::Status RunDescribe(const Options& options, Session& session) {
  BERTH_ASSIGN_OR_RETURN(const std::vector<Target> targets, ParseTargets(options.words));
  BERTH_ASSIGN_OR_RETURN(Client * client, session.client());
  const char* separator = "";
  for (const Target& target : targets) {
    std::vector<MessagePtr> resources;
    if (target.name.empty()) {
      BERTH_ASSIGN_OR_RETURN(resources, target.type->List(*client, {}, Detail::kEverything));
    } else {
      auto resource = target.type->Get(*client, target.name);
      session.Report(resource.status());
      if (!resource.ok()) continue;
      resources.push_back(*std::move(resource));
    }
    for (const MessagePtr& resource : resources) {
      session.out() << separator << target.type->Describe(*resource, session.now());
      separator = "\n\n";
    }
  }
  return absl::OkStatus();
}

}  // namespace

void AddDescribe(CLI::App& app, Run* run) {
  auto [command, options] =
      AddCommand(app, "describe", "Show everything about assignments or hosts", run, &RunDescribe);
  AddTargets(command, &options->words);
}

}  // namespace berth::cli
