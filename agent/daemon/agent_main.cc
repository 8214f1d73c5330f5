// SPDX-License-Identifier: Apache-2.0
#include "agent/daemon/agent_main.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "agent/daemon/agent_config.h"
#include "agent/daemon/agent_daemon.h"
#include "agent/daemon/bind_devices.h"
#include "agent/link/agent_state.h"
#include "agent/supervise/supervisor.h"
#include "berth/internal/v1/agent_config.pb.h"
#include "lib/base/failpoint.h"
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

absl::Status Serve(const internal::v1::AgentConfig& config, const DaemonEnvironment& environment,
                   Daemon& daemon) {
  auto agent = AgentDaemon::Start({.config = config,
                                   .clock = daemon.clock,
                                   .log = &daemon.log,
                                   .metrics = &daemon.metrics,
                                   .fd_store = FdStore(environment.notify.socket),
                                   .passed = TakePassedFds(environment.passed_fds)});
  if (agent.ok()) ServeUntilStopped(daemon, [&agent] { (*agent)->StoreAgain(); });
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

// What is to be done instead of serving; empty: serve.
using Command =
    std::function<absl::Status(const internal::v1::AgentConfig& config, std::ostream& out)>;

void AddAcceptStore(CLI::App& app, Command* command) {
  app.add_subcommand("accept-store",
                     "Let another store than the one that this host belongs to take it over, and "
                     "exit; the agent must not run")
      ->fallthrough()
      ->callback([command] { *command = AcceptStore; });
}

// supervise: what it needs, and how its agent ended.
struct Supervision {
  bool wanted = false;
  std::vector<std::string> command;
  int code = kExitOk;
};

void AddSupervise(CLI::App& app, Supervision* supervision) {
  app.add_subcommand("supervise",
                     "Serve in a child, which is started again when it dies and keeps its VMMs' "
                     "socket meanwhile; for hosts without systemd")
      ->fallthrough()
      ->callback([supervision] { supervision->wanted = true; });
}

absl::Status Supervise(const internal::v1::AgentConfig& config, Supervision* supervision,
                       Daemon& daemon) {
  std::error_code error;
  std::filesystem::create_directories(config.runtime_dir(), error);
  if (error) {
    return ErrnoToStatus(error.value(), absl::StrCat("making the folder ", config.runtime_dir()));
  }
  // What they end is not to end its successors, too.
  std::vector<std::string> once;
  for (const std::string& failpoint : daemon.failpoints) {
    once.insert(once.end(), {"--failpoint", failpoint});
  }
  std::vector<std::string> command = supervision->command;
  if (daemon.clock_offset != absl::ZeroDuration()) {
    command.insert(command.end(), {"--clock-offset", absl::FormatDuration(daemon.clock_offset)});
  }
  BERTH_ASSIGN_OR_RETURN(supervision->code,
                         Supervisor::Run({.command = std::move(command),
                                          .once = std::move(once),
                                          .socket = config.runtime_dir() + "/supervise.sock",
                                          .lock = AgentState::LockPath(config.state_dir()),
                                          .log = &daemon.log,
                                          .signals = &daemon.signals}));
  return absl::OkStatus();
}

void AddBind(CLI::App& app, BindRequest::To to, BindRequest* request, Command* command) {
  const bool vfio = to == BindRequest::To::kVfio;
  CLI::App* parser =
      vfio
          ? app.add_subcommand("bind",
                               "Take PCI devices that the configuration allows from their drivers "
                               "for vfio-pci, and exit")
          : app.add_subcommand("unbind",
                               "Give PCI devices back to the drivers that \"bind\" took them from, "
                               "and exit");
  parser->fallthrough();
  parser->add_option("address", request->addresses, "PCI addresses, as in 0000:01:00.0")
      ->required()
      ->type_name("ADDRESS");
  parser->add_flag("--dry-run", request->dry_run, "Only check, and say what would be done");
  parser->callback([to, request, command] {
    request->to = to;
    *command = [request](const internal::v1::AgentConfig& config, std::ostream& out) {
      return BindDevices(config, *request, out);
    };
  });
}

}  // namespace

int AgentMain(int argc, const char* const* argv, const DaemonEnvironment& environment,
              const std::string& program_dir) {
  internal::v1::AgentConfig config;
  BindRequest bind_request;
  Command command;
  Supervision supervision;
  DaemonSpec spec;
  spec.name = "berth-agent";
  spec.description = "Owns this host's IOMMU and turns assignments into grants for its VMs.";
  spec.default_config = "/etc/berth/agent.yaml";
  spec.config = &config;
  spec.failpoints = FailpointInfo::Home::kAgent;
  spec.finish_config = [&](const std::string& path) -> absl::StatusOr<DaemonSettings> {
    BERTH_RETURN_IF_ERROR(FinishAgentConfig(path, program_dir, &config));
    // A command at the terminal serves no metrics and logs nothing but its errors.
    if (command) return DaemonSettings{.log_level = "error", .metrics_address = ""};
    BERTH_RETURN_IF_ERROR(CheckHostFile(config.backend()));
    supervision.command = {program_dir + "/berth-agent", "--config", path};
    // The port is the child's.
    if (supervision.wanted) {
      return DaemonSettings{.log_level = config.log().level(), .metrics_address = ""};
    }
    return DaemonSettings{.log_level = config.log().level(),
                          .metrics_address = config.metrics().address()};
  };
  spec.add_options = [&](CLI::App& app) {
    AddAcceptStore(app, &command);
    AddSupervise(app, &supervision);
    AddBind(app, BindRequest::To::kVfio, &bind_request, &command);
    AddBind(app, BindRequest::To::kFormerDriver, &bind_request, &command);
    app.require_subcommand(0, 1);
  };
  spec.run = [&](Daemon& daemon) {
    if (supervision.wanted) return Supervise(config, &supervision, daemon);
    return command ? command(config, *environment.out) : Serve(config, environment, daemon);
  };
  const int code = RunDaemon(spec, argc, argv, environment);
  return code == kExitOk ? supervision.code : code;
}

}  // namespace berth
