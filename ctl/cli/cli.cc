// SPDX-License-Identifier: Apache-2.0
#include "ctl/cli/cli.h"

#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ctl/cli/client.h"
#include "ctl/cli/commands/commands.h"

namespace berth::cli {
namespace {

constexpr char kFooter[] =
    "Types of resources: assignment (asg, a), host (ho); as TYPE NAME or TYPE/NAME.\n"
    "Flags win over BERTH_SERVER, BERTH_CONTEXT and BERTH_CONFIG, those over the configuration\n"
    "(~/.config/berth/config.yaml), that over 127.0.0.1:7440.\n\n";

void AddGlobalOptions(CLI::App& app, GlobalOptions* options) {
  SettingsSource& flags = options->flags;
  app.add_option("--server", flags.servers, "The controllers' addresses, tried in turn")
      ->type_name("HOST:PORT,...")
      ->delimiter(',')
      ->allow_extra_args(false);
  app.add_option("--context", flags.context, "A context of the configuration")->type_name("NAME");
  app.add_option("--config", flags.config_path, "The configuration")->type_name("FILE");
  app.add_option("--timeout", options->timeout, "Give up after this time [30s; watch: never]")
      ->type_name("DURATION");
  app.add_option("--tls-ca", flags.tls.ca_file, "What the server's certificate descends from, PEM")
      ->type_name("FILE");
  app.add_option("--tls-cert", flags.tls.certificate_file, "The client's certificate, PEM")
      ->type_name("FILE");
  app.add_option("--tls-key", flags.tls.key_file, "Its private key, PEM")->type_name("FILE");
  app.add_flag("-v,--verbose", options->verbosity, "Show the calls on stderr");
}

void AddCommands(CLI::App& app, Run* run) {
  for (void (*add)(CLI::App&, Run*) :
       {AddGet, AddDescribe, AddCreate, AddDelete, AddWatch, AddWait, AddExplainPlacement, AddRenew,
        AddRotateToken, AddCordon, AddCapacity, AddAudit, AddVersion, AddConfig, AddErrors,
        AddCompletion, AddDebug}) {
    add(app, run);
  }
}

// "berthctl config use-context": what was being parsed when it failed.
std::string CommandPath(const CLI::App& app) {
  std::string path = app.get_name();
  for (const CLI::App* chosen : app.get_subcommands()) {
    absl::StrAppend(&path, " ", CommandPath(*chosen));
  }
  return path;
}

}  // namespace

int RunCli(int argc, const char* const* argv, const CliEnvironment& environment) {
  GlobalOptions options;
  Run run;
  CLI::App app("Operates a fleet of Berth: assigns devices with their IOMMU to VMs.", "berthctl");
  app.require_subcommand(1);
  app.footer(kFooter + ExitCodesHelp());
  AddGlobalOptions(app, &options);
  AddCommands(app, &run);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    // Also thrown for --help, with code 0.
    if (e.get_exit_code() == 0) return app.exit(e, *environment.out, *environment.err);
    const std::vector<std::string> unknown = app.remaining();
    *environment.err << "Error: ";
    if (app.get_subcommands().empty() && !unknown.empty()) {
      *environment.err << "\"" << unknown.front() << "\" is no command";
    } else {
      *environment.err << e.what();
    }
    *environment.err << "\nRun '" << CommandPath(app) << " --help' for usage.\n";
    return kExitUsage;
  }
  Session session(environment, options);
  session.Report(run(session));
  session.out().flush();
  return session.exit_code();
}

void ExitOnInterrupt() {
  struct sigaction action = {};
  action.sa_handler = [](int) { ::_exit(kExitInterrupted); };
  ::sigaction(SIGINT, &action, nullptr);
}

}  // namespace berth::cli
