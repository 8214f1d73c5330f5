// SPDX-License-Identifier: Apache-2.0
#include "agent/daemon/agent_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/status.h"
#include "lib/config/config.h"

namespace berth {
namespace {

using internal::v1::AgentConfig;
using ::testing::HasSubstr;

AgentConfig Parse(const std::string& yaml) {
  AgentConfig config;
  const absl::Status status = ParseYaml(yaml, "agent.yaml", &config);
  EXPECT_TRUE(status.ok()) << status;
  return config;
}

// As berth-agent in /opt/berth/bin reads it from /etc/berth/agent.yaml.
AgentConfig Finish(const std::string& yaml) {
  AgentConfig config = Parse(yaml);
  const absl::Status status = FinishAgentConfig("/etc/berth/agent.yaml", "/opt/berth/bin", &config);
  EXPECT_TRUE(status.ok()) << status;
  return config;
}

TEST(AgentConfig, ARealHostNeedsOnlyItsName) {
  const AgentConfig config = Finish("{host_id: left, backend: {real: {}}}");
  EXPECT_EQ(ToYaml(config), ToYaml(Parse(R"(
host_id: left
backend: {real: {dev_root: /dev, sysfs_root: /sys}}
runtime_dir: /run/berth
state_dir: /var/lib/berth
vmm_socket: /run/berth/vmm.sock
local_api: {address: "unix:/run/berth/agent.sock"}
inventory: {interval: 5s}
limits: {memory_per_grant: 1099511627776, regions_per_grant: 64, workers: 8, vmm_connections: 1024}
log: {level: info}
)")));
}

TEST(AgentConfig, DefaultsFollowTheRuntimeFolder) {
  const AgentConfig config = Finish(
      "{host_id: left, runtime_dir: /tmp/b, backend: {emulated: {host_file: /hosts/a.yaml}}}");
  EXPECT_EQ(config.vmm_socket(), "/tmp/b/vmm.sock");
  EXPECT_EQ(config.local_api().address(), "unix:/tmp/b/agent.sock");
  EXPECT_EQ(config.backend().emulated().dir(), "/tmp/b/emulator");
  EXPECT_EQ(config.backend().emulated().program(), "/opt/berth/bin/berth-emulator");
  EXPECT_EQ(config.backend().emulated().host_file(), "/hosts/a.yaml");
}

TEST(AgentConfig, WhatIsSaidStays) {
  const std::string yaml = R"(
host_id: left
labels: {rack: r1}
backend: {emulated: {dir: /e, host_file: /h.yaml, program: /p}}
controller: {addresses: ["127.0.0.1:7441"]}
runtime_dir: /r
state_dir: /s
vmm_socket: /v.sock
local_api: {address: "127.0.0.1:1"}
inventory: {rules: [{vendor: "10de", class: h100}], vintfs: {smmu3.0: 63}, interval: 0.01s}
limits: {memory_per_grant: 1, regions_per_grant: 2, workers: 3, vmm_connections: 4}
log: {level: debug}
metrics: {address: "127.0.0.1:2"}
)";
  EXPECT_EQ(ToYaml(Finish(yaml)), ToYaml(Parse(yaml)));
}

TEST(AgentConfig, TheHostFileIsRelativeToTheConfiguration) {
  const auto host_file = [](const std::string& path) {
    return Finish("{host_id: left, backend: {emulated: {host_file: " + path + "}}}")
        .backend()
        .emulated()
        .host_file();
  };
  EXPECT_EQ(host_file("hosts/a.yaml"), "/etc/berth/hosts/a.yaml");
  EXPECT_EQ(host_file("../a.yaml"), "/etc/a.yaml");
  EXPECT_EQ(host_file("/a.yaml"), "/a.yaml");
}

TEST(AgentConfig, AnEmulatorOfSomebodyElsesNeedsNoHostFile) {
  const AgentConfig config = Finish("{host_id: left, backend: {emulated: {external: true}}}");
  EXPECT_EQ(config.backend().emulated().host_file(), "");
}

TEST(AgentConfig, EachMistakeHasAMessage) {
  const std::string real = "backend: {real: {}}";
  const std::string host = "host_id: left, ";
  struct Case {
    std::string yaml;
    Reason reason;
    const char* message;
  };
  const Case cases[] = {
      {real, Reason::kMissingField, "host_id is missing"},
      {"host_id: Left, " + real, Reason::kInvalidField, "host_id \"Left\" is not a host name"},
      {"host_id: -left, " + real, Reason::kInvalidField, "not beginning or ending with -"},
      {"host_id: left-, " + real, Reason::kInvalidField, "not beginning or ending with -"},
      {"host_id: le/ft, " + real, Reason::kInvalidField, "1-63 of [a-z0-9-]"},
      {"host_id: " + std::string(64, 'a') + ", " + real, Reason::kInvalidField, "1-63"},
      {"host_id: left", Reason::kMissingField, "backend is missing"},
      {host + "backend: {}", Reason::kMissingField, "backend is missing"},
      {host + "backend: {emulated: {}}", Reason::kMissingField,
       "backend.emulated.host_file is missing"},
      {host + real + ", controller: {}", Reason::kMissingField, "controller.addresses is empty"},
      {host + real + ", vmm_socket: /" + std::string(107, 'x'), Reason::kInvalidField,
       "is longer than 107 bytes"},
      {host + real + ", inventory: {interval: 0s}", Reason::kInvalidField, "shorter than 10ms"},
      {host + real + ", inventory: {interval: 0.009s}", Reason::kInvalidField, "shorter than 10ms"},
      {host + real + ", inventory: {interval: -1s}", Reason::kInvalidField, "shorter than 10ms"},
      {host + real + ", inventory: {rules: [{vendor: x}]}", Reason::kInvalidField,
       "inventory.rules[0]"},
      {host + real + ", limits: {memory_per_grant: -1}", Reason::kInvalidField,
       "limits.memory_per_grant: -1 is not 0 to"},
      {host + real + ", limits: {regions_per_grant: 4097}", Reason::kInvalidField,
       "limits.regions_per_grant: 4097 is not 0 to 4096"},
      {host + real + ", limits: {workers: 257}", Reason::kInvalidField,
       "limits.workers: 257 is not 0 to 256"},
      {host + real + ", limits: {vmm_connections: 65537}", Reason::kInvalidField,
       "limits.vmm_connections: 65537 is not 0 to 65536"},
  };
  for (const Case& c : cases) {
    AgentConfig config = Parse("{" + c.yaml + "}");
    const absl::Status status = FinishAgentConfig("agent.yaml", "/bin", &config);
    EXPECT_EQ(ReasonOf(status), c.reason) << c.yaml;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message));
  }
}

TEST(AgentConfig, ASocketPathMayBeAsLongAsTheKernelAllows) {
  Finish("{host_id: left, backend: {real: {}}, vmm_socket: /" + std::string(106, 'x') + "}");
}

}  // namespace
}  // namespace berth
