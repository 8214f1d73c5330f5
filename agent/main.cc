// SPDX-License-Identifier: Apache-2.0
#include <filesystem>
#include <memory>

#include "agent/daemon/agent_config.h"
#include "agent/daemon/agent_daemon.h"
#include "berth/internal/v1/agent_config.pb.h"
#include "lib/base/status.h"
#include "lib/daemon/daemon.h"

int main(int argc, char** argv, char** envp) {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  berth::internal::v1::AgentConfig config;
  berth::DaemonSpec spec;
  spec.name = "berth-agent";
  spec.description = "Owns this host's IOMMU and turns assignments into grants for its VMs.";
  spec.default_config = "/etc/berth/agent.yaml";
  spec.config = &config;
  spec.finish_config = [&](const std::string& path) -> absl::StatusOr<berth::DaemonSettings> {
    BERTH_RETURN_IF_ERROR(berth::FinishAgentConfig(path, self.parent_path().string(), &config));
    return berth::DaemonSettings{.log_level = config.log().level(),
                                 .metrics_address = config.metrics().address()};
  };
  spec.run = [&config](berth::Daemon& daemon) {
    auto agent = berth::AgentDaemon::Start(
        {.config = config, .clock = &berth::Clock::Real(), .log = &daemon.log});
    if (agent.ok()) berth::ServeUntilStopped(daemon);
    return agent.status();
  };
  return berth::RunDaemon(spec, argc, argv, berth::ReadEnvironment(envp));
}
