// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>

#include "ctl/cli/client.h"
#include "ctl/cli/commands/flags.h"
#include "lib/base/status.h"

namespace berth::cli {
namespace {

struct Options {
  bool client_only = false;
};

absl::Status RunVersion(const Options& options, Session& session) {
  session.out() << "berthctl " << BERTH_VERSION << "\n";
  if (options.client_only) return absl::OkStatus();
  BERTH_ASSIGN_OR_RETURN(Client * client, session.client());
  // The API has no call for the controller's version; that it answers is what can be said.
  v1::ListHostsRequest request;
  request.set_page_size(1);
  BERTH_RETURN_IF_ERROR(client->ListHosts(request).status());
  session.out() << "controller at " << client->address() << ": answers, API berth.v1\n";
  return absl::OkStatus();
}

}  // namespace

void AddVersion(CLI::App& app, Run* run) {
  auto [command, options] = AddCommand(
      app, "version", "Show versions, and whether the controller answers", run, &RunVersion);
  command->add_flag("--client", options->client_only, "Only of berthctl");
}

}  // namespace berth::cli
