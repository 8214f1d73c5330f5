// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>

#include "absl/strings/str_cat.h"
#include "ctl/cli/client.h"
#include "ctl/cli/commands/documents.h"
#include "ctl/cli/commands/flags.h"
#include "ctl/cli/printer/assignment.h"
#include "lib/base/status.h"

namespace berth::cli {
namespace {

struct Options {
  std::vector<std::string> files;
  Format format = Format::kTable;
};

absl::Status RunExplainPlacement(const Options& options, Session& session) {
  BERTH_ASSIGN_OR_RETURN(const std::vector<v1::Assignment> documents,
                         ReadAssignments(options.files, session));
  BERTH_ASSIGN_OR_RETURN(Client * client, session.client());
  std::vector<MessagePtr> explanations;
  for (size_t i = 0; i < documents.size(); ++i) {
    v1::ExplainPlacementRequest request;
    *request.mutable_spec() = documents[i].spec();
    BERTH_ASSIGN_OR_RETURN(v1::ExplainPlacementResponse explanation,
                           client->ExplainPlacement(request));
    if (IsData(options.format)) {
      explanations.push_back(
          std::make_shared<v1::ExplainPlacementResponse>(std::move(explanation)));
      continue;
    }
    const std::string label = documents[i].name().empty()
                                  ? absl::StrCat("document ", i + 1)
                                  : LabelOf(AssignmentType(), documents[i].name());
    session.out() << (i == 0 ? "" : "\n") << DescribeExplanation(label, explanation);
  }
  if (explanations.size() == 1) {
    session.out() << WriteMessage(*explanations[0], options.format);
  } else if (!explanations.empty()) {
    session.out() << WriteMessages(explanations, options.format);
  }
  return absl::OkStatus();
}

}  // namespace

void AddExplainPlacement(CLI::App& app, Run* run) {
  auto [command, options] =
      AddCommand(app, "explain-placement",
                 "Say where assignments would go, or why they fit nowhere; changes nothing", run,
                 &RunExplainPlacement);
  command->alias("explain");
  AddFiles(command, &options->files);
  AddOutput(command, Formats::kData, &options->format);
}

}  // namespace berth::cli
