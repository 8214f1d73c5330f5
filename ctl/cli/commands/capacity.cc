// SPDX-License-Identifier: Apache-2.0
#include "ctl/cli/printer/capacity.h"

#include <CLI/CLI.hpp>

#include "ctl/cli/client.h"
#include "ctl/cli/commands/flags.h"
#include "lib/base/status.h"

namespace berth::cli {
namespace {

struct Options {
  std::string host;
  bool units = false;
  Format format = Format::kTable;
};

absl::Status RunCapacity(const Options& options, Session& session) {
  v1::GetCapacityRequest request;
  if (!options.host.empty()) {
    BERTH_ASSIGN_OR_RETURN(*request.mutable_host(), FullName(HostType(), options.host));
  }
  request.set_include_units(options.units);
  BERTH_ASSIGN_OR_RETURN(Client * client, session.client());
  BERTH_ASSIGN_OR_RETURN(const v1::Capacity capacity, client->GetCapacity(request));
  session.out() << (IsData(options.format) ? WriteMessage(capacity, options.format)
                                           : CapacityTables(capacity));
  return absl::OkStatus();
}

}  // namespace

void AddCapacity(CLI::App& app, Run* run) {
  auto [command, options] =
      AddCommand(app, "capacity", "Show what the fleet has and what is free", run, &RunCapacity);
  command->add_option("--host", options->host, "Only this host")->type_name("HOST");
  command->add_flag("--units", options->units, "Also each unit");
  AddOutput(command, Formats::kData, &options->format);
}

}  // namespace berth::cli
