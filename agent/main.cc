// SPDX-License-Identifier: Apache-2.0
#include <filesystem>

#include "agent/daemon/agent_main.h"

int main(int argc, char** argv, char** envp) {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  return berth::AgentMain(argc, argv, berth::ReadEnvironment(envp), self.parent_path().string());
}
