// SPDX-License-Identifier: Apache-2.0
#include "agent/daemon/agent_main.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "agent/daemon/agent_config.h"
#include "agent/daemon/agent_daemon.h"
#include "agent/link/agent_state.h"
#include "berth/internal/v1/agent_config.pb.h"
#include "lib/base/status.h"

namespace berth {
namespace {

// Not there at the start is a mistake in the configuration; what becomes of the file later shows in
// the host's condition KernelHealthy.
absl::Status CheckHostFile(const internal::v1::BackendConfig& backend) {
  if (!backend.has_emulated() || backend.emulated().external()) return absl::OkStatus();
  const std::string& path = backend.emulated().host_file();
  if (::access(path.c_str(), R_OK) == 0) return absl::OkStatus();
  return Error(Reason::kInvalidField, absl::StrCat("backend.emulated.host_file: cannot read ", path,
                                                   ": ", std::generic_category().message(errno)));
}

absl::Status Serve(const internal::v1::AgentConfig& config, Daemon& daemon) {
  auto agent = AgentDaemon::Start({.config = config, .clock = &Clock::Real(), .log = &daemon.log});
  if (agent.ok()) ServeUntilStopped(daemon);
  return agent.status();
}

// accept-store
absl::Status AcceptStore(const internal::v1::AgentConfig& config, std::ostream& out) {
  BERTH_ASSIGN_OR_RETURN(const std::optional<agent::v1::Epoch> forgotten,
                         AgentState::ForgetStore(config.state_dir()));
  if (forgotten.has_value()) {
    out << config.host_id() << " belonged to store " << forgotten->store_uid()
        << " and now takes the store of the next controller that it meets\n";
  } else {
    out << config.host_id() << " belongs to no store: it takes the first one anyway\n";
  }
  return absl::OkStatus();
}

}  // namespace

int AgentMain(int argc, const char* const* argv, const DaemonEnvironment& environment,
              const std::string& program_dir) {
  internal::v1::AgentConfig config;
  bool accept_store = false;
  DaemonSpec spec;
  spec.name = "berth-agent";
  spec.description = "Owns this host's IOMMU and turns assignments into grants for its VMs.";
  spec.default_config = "/etc/berth/agent.yaml";
  spec.config = &config;
  spec.finish_config = [&](const std::string& path) -> absl::StatusOr<DaemonSettings> {
    BERTH_RETURN_IF_ERROR(FinishAgentConfig(path, program_dir, &config));
    // A command at the terminal serves no metrics and logs nothing but its errors.
    if (accept_store) return DaemonSettings{.log_level = "error", .metrics_address = ""};
    BERTH_RETURN_IF_ERROR(CheckHostFile(config.backend()));
    return DaemonSettings{.log_level = config.log().level(),
                          .metrics_address = config.metrics().address()};
  };
  spec.add_options = [&accept_store](CLI::App& app) {
    app.add_subcommand("accept-store",
                       "Let another store than the one that this host belongs to take it over, and "
                       "exit; the agent must not run")
        ->fallthrough()
        ->callback([&accept_store] { accept_store = true; });
  };
  spec.run = [&](Daemon& daemon) {
    return accept_store ? AcceptStore(config, *environment.out) : Serve(config, daemon);
  };
  return RunDaemon(spec, argc, argv, environment);
}

}  // namespace berth
