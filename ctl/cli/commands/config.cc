// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>

#include "absl/strings/str_join.h"
#include "berth/internal/v1/client_config.pb.h"
#include "ctl/cli/commands/flags.h"
#include "lib/base/status.h"

namespace berth::cli {
namespace {

struct NoOptions {};

struct UseOptions {
  std::string context;
};

absl::Status GetContexts(const NoOptions&, Session& session) {
  BERTH_ASSIGN_OR_RETURN(const auto config, LoadClientConfig(session.config_file()));
  std::vector<TableRow> rows;
  for (const auto& context : config.contexts()) {
    rows.push_back({Cell(context.name()), context.name() == config.current_context() ? "*" : "",
                    context.has_tls() ? "yes" : "no",
                    Cell(absl::StrJoin(context.addresses(), ","))});
  }
  if (rows.empty()) {
    session.err() << "No contexts found.\n";
  } else {
    session.out() << Table({"NAME", "CURRENT", "TLS", "ADDRESSES"}, rows);
  }
  return absl::OkStatus();
}

absl::Status CurrentContext(const NoOptions&, Session& session) {
  BERTH_ASSIGN_OR_RETURN(const auto config, LoadClientConfig(session.config_file()));
  if (config.current_context().empty()) {
    return Error(Reason::kNotFound, "the configuration names no current context");
  }
  session.out() << config.current_context() << "\n";
  return absl::OkStatus();
}

absl::Status Use(const UseOptions& options, Session& session) {
  BERTH_RETURN_IF_ERROR(UseContext(session.config_file(), options.context));
  session.out() << "current context: " << options.context << "\n";
  return absl::OkStatus();
}

}  // namespace

void AddConfig(CLI::App& app, Run* run) {
  CLI::App* config = app.add_subcommand("config", "Show and choose contexts: which controllers");
  config->fallthrough()->require_subcommand(1);
  AddCommand(*config, "get-contexts", "Show the contexts of the configuration", run, &GetContexts);
  AddCommand(*config, "current-context", "Show the current context", run, &CurrentContext);
  auto [use, options] = AddCommand(*config, "use-context",
                                   "Make a context the current one; rewrites the file", run, &Use);
  use->add_option("context", options->context, "Which context")->required()->type_name("NAME");
}

}  // namespace berth::cli
