// SPDX-License-Identifier: Apache-2.0
#include "tests/cli/cli_test_base.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace berth::cli {
namespace {

absl::Time Noon() {
  return absl::FromCivil(absl::CivilSecond(2026, 1, 2, 12, 0, 0), absl::UTCTimeZone());
}

v1::WatchAssignmentsResponse Event(v1::AssignmentEvent::Type type, const v1::Assignment& assignment,
                                   const std::string& token) {
  v1::WatchAssignmentsResponse response;
  response.set_watch_token(token);
  v1::AssignmentEvent* event = response.add_events();
  event->set_type(type);
  *event->mutable_assignment() = assignment;
  return response;
}

}  // namespace

CliTest::CliTest() : clock_(Noon()) {
  std::string folder = testing::TempDir() + "/cli_test.XXXXXX";
  EXPECT_NE(::mkdtemp(folder.data()), nullptr);
  folder_ = folder;
  environment_.clock = &clock_;
  environment_.home = folder_;
}

CliTest::~CliTest() { std::filesystem::remove_all(folder_); }

CliResult CliTest::Run(const std::vector<std::string>& args, const std::string& in) {
  std::vector<std::string> all = {"--server", server_.address()};
  all.insert(all.end(), args.begin(), args.end());
  return RunPlain(all, in);
}

CliResult CliTest::RunPlain(const std::vector<std::string>& args, const std::string& in) {
  std::istringstream input(in);
  std::ostringstream out;
  std::ostringstream err;
  CliEnvironment environment = environment_;
  environment.in = &input;
  environment.out = &out;
  environment.err = &err;
  std::vector<const char*> argv = {"berthctl"};
  for (const std::string& arg : args) argv.push_back(arg.c_str());
  CliResult result;
  result.exit_code = RunCli(static_cast<int>(argv.size()), argv.data(), environment);
  result.out = out.str();
  result.err = err.str();
  return result;
}

std::string CliTest::Write(const std::string& name, std::string_view text) const {
  std::ofstream(Path(name)) << text;
  return Path(name);
}

std::string CliTest::Read(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

int CliTest::ModeOf(const std::string& path) {
  struct stat info = {};
  EXPECT_EQ(::stat(path.c_str(), &info), 0) << path;
  return static_cast<int>(info.st_mode & 07777);
}

std::vector<std::string> CliTest::FilesInFolder() const {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    names.push_back(entry.path().filename());
  }
  return names;
}

v1::Assignment MakeAssignment(const std::string& id) {
  auto assignment = FromYaml<v1::Assignment>(R"(
uid: 6ba7b810-9dad-11d1-80b4-00c04fd430c8
owner: alice
labels: {team: hpc, app: web}
intent: PLACED
observed: PREPARED
generation: 2
token_version: 1
create_time: "2026-01-02T11:57:00Z"
spec:
  device_requests:
  - {name: gpu, class: gpu, queues: {need: REQUIRED}, requirements: [{key: memory_mib, operator: GT, values: ["1024"]}]}
  - {name: nic, class: nic}
  constraints: [{requests: [gpu], same_unit: {}}]
placement:
  host: hosts/gh200-a
  attach_endpoint: /run/berth/vmm.sock
  units:
  - unit: smmu3.0x11000000
    profile: TEGRA241_CMDQV
    vcmdqs: 2
    devices: [{device: d1, address: "0000:01:00.0", request: gpu}]
  - unit: smmu3.0x12000000
    profile: TEGRA241_CMDQV
    vcmdqs: 2
    devices: [{device: d2, address: "0000:02:00.0", request: nic}, {device: d3, address: "0000:02:00.1"}]
)");
  assignment.set_name("assignments/" + id);
  return assignment;
}

v1::Host MakeHost(const std::string& id) {
  auto host = FromYaml<v1::Host>(R"(
uid: host-uid
labels: {rack: r1}
state: READY
agent_version: 0.1.0
incarnation: 3
device_count: 3
free_device_count: 1
attach_endpoint: /run/berth/vmm.sock
create_time: "2025-12-31T12:00:00Z"
last_heartbeat_time: "2026-01-02T11:59:58Z"
units:
- {id: smmu3.0x11000000, profile: TEGRA241_CMDQV, vintfs: 63, vintf_source: OBSERVED, vcmdqs_per_vintf: 2,
   sids_per_vintf: 16, numa_node: -1, used_vintfs: 1}
devices:
- {address: "0000:01:00.0", class: gpu, unit: smmu3.0x11000000, iommu_group: 4, assignable: true, assignment: assignments/web}
- {address: "0000:02:00.0", class: gpu, unit: smmu3.0x11000000, iommu_group: 5, assignable: true}
- {address: "0000:03:00.0", class: nic, unit: smmu3.0x11000000, iommu_group: 6, unassignable_reason: no reset}
conditions:
- {type: Ready, status: true, last_transition_time: "2026-01-02T11:00:00Z"}
)");
  host.set_name("hosts/" + id);
  return host;
}

v1::WatchAssignmentsResponse PutEvent(const v1::Assignment& assignment, const std::string& token) {
  return Event(v1::AssignmentEvent::PUT, assignment, token);
}

v1::WatchAssignmentsResponse DeleteEvent(const v1::Assignment& assignment,
                                         const std::string& token) {
  return Event(v1::AssignmentEvent::DELETE, assignment, token);
}

}  // namespace berth::cli
