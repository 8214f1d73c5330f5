// SPDX-License-Identifier: Apache-2.0
#include "berth/internal/v1/controller_config.pb.h"
#include "ctl/controller/daemon/controller_config.h"
#include "ctl/controller/daemon/run_controller.h"
#include "ctl/controller/daemon/store_commands.h"
#include "lib/base/failpoint.h"
#include "lib/base/status.h"
#include "lib/daemon/daemon.h"

int main(int argc, char** argv, char** envp) {
  berth::internal::v1::ControllerConfig config;
  berth::DaemonSpec spec;
  spec.name = "berth-controller";
  spec.description = "Places assignments on hosts and keeps the book of them.";
  spec.default_config = "/etc/berth/controller.yaml";
  spec.config = &config;
  spec.failpoints = berth::FailpointInfo::Home::kController;
  spec.finish_config = [&config](const std::string& path) -> absl::StatusOr<berth::DaemonSettings> {
    BERTH_RETURN_IF_ERROR(berth::FinishControllerConfig(path, &config));
    return berth::DaemonSettings{.log_level = config.log().level(),
                                 .metrics_address = config.metrics().address()};
  };
  spec.run = [&config](berth::Daemon& daemon) { return berth::RunController(config, daemon); };
  spec.commands = berth::StoreCommands(&config, &berth::Clock::Real());
  return berth::RunDaemon(spec, argc, argv, berth::ReadEnvironment(envp));
}
