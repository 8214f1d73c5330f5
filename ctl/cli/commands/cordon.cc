// SPDX-License-Identifier: Apache-2.0
//
// cordon, uncordon and drain: three calls of one shape.
#include <CLI/CLI.hpp>

#include "ctl/cli/client.h"
#include "ctl/cli/commands/flags.h"
#include "lib/base/status.h"

namespace berth::cli {
namespace {

struct Options {
  std::vector<std::string> hosts;
  std::string request_id;
  std::string deadline;  // of drain
};

template <typename Request>
absl::Status ForEachHost(const Options& options, Session& session, const Request& prototype,
                         absl::StatusOr<v1::Host> (Client::*call)(const Request&),
                         const char* done) {
  std::vector<Request> requests;
  for (const std::string& host : options.hosts) {
    Request& request = requests.emplace_back(prototype);
    BERTH_ASSIGN_OR_RETURN(*request.mutable_name(), FullName(HostType(), host));
    request.set_request_id(RequestIdOr(options.request_id));
  }
  if (requests.size() > 1 && !options.request_id.empty()) {
    return UsageError("--request-id is for a single host");
  }
  BERTH_ASSIGN_OR_RETURN(Client * client, session.client());
  for (const Request& request : requests) {
    const absl::Status status = (client->*call)(request).status();
    session.Report(status);
    if (status.ok()) session.out() << LabelOf(HostType(), request.name()) << done << std::endl;
  }
  return absl::OkStatus();
}

absl::Status RunCordon(const Options& options, Session& session) {
  return ForEachHost(options, session, v1::CordonHostRequest(), &Client::CordonHost, " cordoned");
}

absl::Status RunUncordon(const Options& options, Session& session) {
  return ForEachHost(options, session, v1::UncordonHostRequest(), &Client::UncordonHost,
                     " uncordoned");
}

absl::Status RunDrain(const Options& options, Session& session) {
  v1::DrainHostRequest prototype;
  if (!options.deadline.empty()) {
    BERTH_ASSIGN_OR_RETURN(*prototype.mutable_deadline(),
                           ParseDuration("--deadline", options.deadline));
  }
  return ForEachHost(options, session, prototype, &Client::DrainHost, " draining");
}

std::pair<CLI::App*, Options*> AddHostCommand(CLI::App& app, const char* name,
                                              const char* description, Run* run,
                                              absl::Status (*work)(const Options&, Session&)) {
  auto [command, options] = AddCommand(app, name, description, run, work);
  AddNames(command, "host", "Which hosts", &options->hosts);
  AddRequestId(command, &options->request_id);
  return {command, options};
}

}  // namespace

void AddCordon(CLI::App& app, Run* run) {
  AddHostCommand(app, "cordon", "Place nothing new on hosts", run, &RunCordon);
  AddHostCommand(app, "uncordon", "End a cordon or a drain of hosts", run, &RunUncordon);
  auto [command, options] =
      AddHostCommand(app, "drain", "Cordon hosts and ask the owners of their assignments to leave",
                     run, &RunDrain);
  command
      ->add_option("--deadline", options->deadline,
                   "After this time evictable assignments are released; else none is")
      ->type_name("DURATION");
}

}  // namespace berth::cli
