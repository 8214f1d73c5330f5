// SPDX-License-Identifier: Apache-2.0
#include "agent/daemon/agent_config.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "agent/inventory/device_rules.h"
#include "lib/base/status.h"

namespace berth {
namespace {

namespace fs = std::filesystem;
using internal::v1::AgentConfig;
using internal::v1::AgentLimits;
using internal::v1::BackendConfig;

// sockaddr_un.sun_path has 108 bytes, with the NUL.
constexpr size_t kMaxSocketPath = 107;

template <typename Set>
void Default(const std::string& value, const std::string& fallback, const Set& set) {
  if (value.empty()) set(fallback);
}

absl::Status CheckHostId(std::string_view id) {
  const auto inner = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  };
  if (id.empty()) return Error(Reason::kMissingField, "host_id is missing: the name of this host");
  if (id.size() > 63 || !std::all_of(id.begin(), id.end(), inner) || id.front() == '-' ||
      id.back() == '-') {
    return Error(
        Reason::kInvalidField,
        absl::StrCat("host_id \"", std::string(id),
                     "\" is not a host name: 1-63 of [a-z0-9-], not beginning or ending with -"));
  }
  return absl::OkStatus();
}

absl::Status FinishBackend(const fs::path& folder, const std::string& program_dir,
                           AgentConfig* config) {
  BackendConfig* backend = config->mutable_backend();
  if (backend->has_real()) {
    auto* real = backend->mutable_real();
    Default(real->dev_root(), "/dev", [&](const std::string& v) { real->set_dev_root(v); });
    Default(real->sysfs_root(), "/sys", [&](const std::string& v) { real->set_sysfs_root(v); });
    return absl::OkStatus();
  }
  if (!backend->has_emulated()) {
    return Error(Reason::kMissingField,
                 "backend is missing: \"real: {}\" or \"emulated: {host_file: ...}\"");
  }
  auto* emulated = backend->mutable_emulated();
  Default(emulated->dir(), absl::StrCat(config->runtime_dir(), "/emulator"),
          [&](const std::string& v) { emulated->set_dir(v); });
  Default(emulated->program(), absl::StrCat(program_dir, "/berth-emulator"),
          [&](const std::string& v) { emulated->set_program(v); });
  if (!emulated->external()) {
    if (emulated->host_file().empty()) {
      return Error(
          Reason::kMissingField,
          "backend.emulated.host_file is missing: the file that describes the emulated host "
          "(or say \"external: true\" when something else starts the emulator)");
    }
    emulated->set_host_file((folder / emulated->host_file()).lexically_normal().string());
  }
  return absl::OkStatus();
}

absl::Status FinishLimits(AgentLimits* limits) {
  struct Bound {
    const char* name;
    int64_t value;
    int64_t fallback;
    int64_t max;
  };
  const Bound bounds[] = {
      {"memory_per_grant", limits->memory_per_grant(), int64_t{1} << 40, int64_t{1} << 50},
      {"regions_per_grant", limits->regions_per_grant(), 64, 4096},
      {"workers", limits->workers(), 8, 256},
      {"vmm_connections", limits->vmm_connections(), 1024, 65536},
  };
  for (const Bound& bound : bounds) {
    if (bound.value < 0 || bound.value > bound.max) {
      return Error(Reason::kInvalidField, absl::StrCat("limits.", bound.name, ": ", bound.value,
                                                       " is not 0 to ", bound.max));
    }
  }
  const auto pick = [](const Bound& bound) {
    return bound.value == 0 ? bound.fallback : bound.value;
  };
  limits->set_memory_per_grant(pick(bounds[0]));
  limits->set_regions_per_grant(static_cast<int32_t>(pick(bounds[1])));
  limits->set_workers(static_cast<int32_t>(pick(bounds[2])));
  limits->set_vmm_connections(static_cast<int32_t>(pick(bounds[3])));
  return absl::OkStatus();
}

}  // namespace

absl::Status FinishAgentConfig(const std::string& config_path, const std::string& program_dir,
                               AgentConfig* config) {
  BERTH_RETURN_IF_ERROR(CheckHostId(config->host_id()));
  const fs::path folder = fs::absolute(config_path).parent_path();
  Default(config->runtime_dir(), "/run/berth",
          [&](const std::string& v) { config->set_runtime_dir(v); });
  Default(config->state_dir(), "/var/lib/berth",
          [&](const std::string& v) { config->set_state_dir(v); });
  Default(config->vmm_socket(), absl::StrCat(config->runtime_dir(), "/vmm.sock"),
          [&](const std::string& v) { config->set_vmm_socket(v); });
  Default(config->local_api().address(),
          absl::StrCat("unix:", config->runtime_dir(), "/agent.sock"),
          [&](const std::string& v) { config->mutable_local_api()->set_address(v); });
  Default(config->log().level(), "info",
          [&](const std::string& v) { config->mutable_log()->set_level(v); });
  if (config->vmm_socket().size() > kMaxSocketPath) {
    return Error(Reason::kInvalidField,
                 absl::StrCat("vmm_socket \"", config->vmm_socket(), "\" is longer than ",
                              kMaxSocketPath, " bytes"));
  }
  BERTH_RETURN_IF_ERROR(FinishBackend(folder, program_dir, config));
  if (config->has_controller() && config->controller().addresses().empty()) {
    return Error(
        Reason::kMissingField,
        "controller.addresses is empty: name the agent listener of each controller, or leave "
        "controller out");
  }
  auto* inventory = config->mutable_inventory();
  if (!inventory->has_interval()) inventory->mutable_interval()->set_seconds(5);
  if (inventory->interval().seconds() < 0 ||
      (inventory->interval().seconds() == 0 && inventory->interval().nanos() < 10'000'000)) {
    return Error(Reason::kInvalidField, "inventory.interval is shorter than 10ms");
  }
  BERTH_RETURN_IF_ERROR(ValidateRules(*inventory));
  return FinishLimits(config->mutable_limits());
}

}  // namespace berth
