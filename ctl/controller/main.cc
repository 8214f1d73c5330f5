// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <csignal>
#include <memory>

#include "berth/internal/v1/controller_config.pb.h"
#include "ctl/controller/daemon/controller_config.h"
#include "ctl/controller/daemon/controller_daemon.h"
#include "ctl/controller/daemon/store_commands.h"
#include "lib/base/status.h"
#include "lib/daemon/daemon.h"

int main(int argc, char** argv, char** envp) {
  berth::internal::v1::ControllerConfig config;
  berth::DaemonSpec spec;
  spec.name = "berth-controller";
  spec.description = "Places assignments on hosts and keeps the book of them.";
  spec.default_config = "/etc/berth/controller.yaml";
  spec.config = &config;
  spec.finish_config = [&config](const std::string& path) -> absl::StatusOr<berth::DaemonSettings> {
    BERTH_RETURN_IF_ERROR(berth::FinishControllerConfig(path, &config));
    return berth::DaemonSettings{.log_level = config.log().level(),
                                 .metrics_address = config.metrics().address()};
  };
  spec.run = [&config](berth::Daemon& daemon) {
    // The service manager starts it again, and the store is read back.
    const auto stop = [] { ::kill(::getpid(), SIGTERM); };
    auto controller = berth::ControllerDaemon::Start({.config = config,
                                                      .clock = &berth::Clock::Real(),
                                                      .log = &daemon.log,
                                                      .metrics = &daemon.metrics,
                                                      .on_fatal = stop});
    if (controller.ok()) berth::ServeUntilStopped(daemon);
    return controller.status();
  };
  spec.commands = berth::StoreCommands(&config, &berth::Clock::Real());
  return berth::RunDaemon(spec, argc, argv, berth::ReadEnvironment(envp));
}
