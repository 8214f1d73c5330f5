// SPDX-License-Identifier: Apache-2.0
#include "ctl/cli/printer/audit.h"

#include <CLI/CLI.hpp>
#include <string>
#include <utility>

#include "ctl/cli/client.h"
#include "ctl/cli/commands/flags.h"
#include "lib/base/status.h"

namespace berth::cli {
namespace {

struct Options {
  std::string host;
  bool try_devices = false;
  Format format = Format::kTable;
};

// All pages as one.
absl::StatusOr<v1::AuditResponse> AuditAll(v1::AuditRequest request, Client* client) {
  v1::AuditResponse all;
  do {
    BERTH_ASSIGN_OR_RETURN(v1::AuditResponse page, client->Audit(request));
    for (v1::HostAudit& host : *page.mutable_hosts()) *all.add_hosts() = std::move(host);
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return all;
}

absl::Status RunAudit(const Options& options, Session& session) {
  v1::AuditRequest request;
  if (!options.host.empty()) {
    BERTH_ASSIGN_OR_RETURN(*request.mutable_host(), FullName(HostType(), options.host));
  }
  request.set_try_devices(options.try_devices);
  BERTH_ASSIGN_OR_RETURN(Client * client, session.client());
  BERTH_ASSIGN_OR_RETURN(const v1::AuditResponse audit, AuditAll(std::move(request), client));
  session.out() << (IsData(options.format) ? WriteMessage(audit, options.format)
                                           : AuditTables(audit, session.now()));
  session.out().flush();
  session.err() << AuditSummary(audit);
  if (!AllAgree(audit)) session.Conclude(kExitDiffers);
  return absl::OkStatus();
}

}  // namespace

void AddAudit(CLI::App& app, Run* run) {
  auto [command, options] =
      AddCommand(app, "audit",
                 "Hold the controller's book against what is on the hosts; exits with 9 when they "
                 "differ",
                 run, &RunAudit);
  command->add_option("host", options->host, "Only this host")->type_name("HOST");
  command->add_flag("--try-devices", options->try_devices,
                    "Also bind, and so reset, devices that no assignment has, to find those that "
                    "somebody holds");
  AddOutput(command, Formats::kData, &options->format);
}

}  // namespace berth::cli
