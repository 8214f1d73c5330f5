// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>

#include "ctl/cli/client.h"
#include "ctl/cli/commands/flags.h"
#include "ctl/cli/printer/text.h"
#include "lib/base/status.h"

namespace berth::cli {
namespace {

struct Options {
  std::vector<std::string> names;
  std::string request_id;
};

absl::Status RunRenew(const Options& options, Session& session) {
  std::vector<v1::RenewAssignmentRequest> requests;
  for (const std::string& name : options.names) {
    v1::RenewAssignmentRequest& request = requests.emplace_back();
    BERTH_ASSIGN_OR_RETURN(*request.mutable_name(), FullName(AssignmentType(), name));
    request.set_request_id(RequestIdOr(options.request_id));
  }
  if (requests.size() > 1 && !options.request_id.empty()) {
    return UsageError("--request-id is for a single assignment");
  }
  BERTH_ASSIGN_OR_RETURN(Client * client, session.client());
  for (const v1::RenewAssignmentRequest& request : requests) {
    const auto renewed = client->RenewAssignment(request);
    session.Report(renewed.status());
    if (!renewed.ok()) continue;
    session.out() << LabelOf(AssignmentType(), renewed->name()) << " renewed until "
                  << TimeAndAge(renewed->expire_time(), session.now()) << std::endl;
  }
  return absl::OkStatus();
}

}  // namespace

void AddRenew(CLI::App& app, Run* run) {
  auto [command, options] =
      AddCommand(app, "renew", "Renew the leases of assignments", run, &RunRenew);
  AddNames(command, "assignment", "Which assignments", &options->names);
  AddRequestId(command, &options->request_id);
}

}  // namespace berth::cli
