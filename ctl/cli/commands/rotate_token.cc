// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <optional>

#include "ctl/cli/client.h"
#include "ctl/cli/commands/flags.h"
#include "lib/base/status.h"

namespace berth::cli {
namespace {

struct Options {
  std::string name;
  std::string request_id;
  Format format = Format::kTable;
  TokenFlags token;
};

absl::Status RunRotateToken(const Options& options, Session& session) {
  v1::RotateTokenRequest request;
  BERTH_ASSIGN_OR_RETURN(*request.mutable_name(), FullName(AssignmentType(), options.name));
  request.set_request_id(RequestIdOr(options.request_id));
  BERTH_ASSIGN_OR_RETURN(Client * client, session.client());
  std::optional<ReplaceFile> file;
  if (!options.token.file.empty()) {
    BERTH_ASSIGN_OR_RETURN(ReplaceFile opened, ReplaceFile::Open(options.token.file));
    file.emplace(std::move(opened));
  }
  BERTH_ASSIGN_OR_RETURN(v1::Assignment assignment, client->RotateToken(request));
  const std::string token = assignment.attach_token();
  if (IsData(options.format)) {
    if (!options.token.show) assignment.clear_attach_token();
    session.out() << WriteMessage(assignment, options.format);
  } else {
    session.out() << LabelOf(AssignmentType(), assignment.name()) << " token rotated (version "
                  << assignment.token_version() << ")\n";
    if (options.token.show) session.out() << "token " << token << "\n";
  }
  return file.has_value() ? file->Commit(token + "\n") : absl::OkStatus();
}

}  // namespace

void AddRotateToken(CLI::App& app, Run* run) {
  auto [command, options] =
      AddCommand(app, "rotate-token", "Make a new attach token; the old one is refused then", run,
                 &RunRotateToken);
  command->add_option("assignment", options->name, "Which assignment")
      ->required()
      ->type_name("NAME");
  AddRequestId(command, &options->request_id);
  AddOutput(command, Formats::kData, &options->format);
  AddTokenFlags(command, &options->token);
}

}  // namespace berth::cli
