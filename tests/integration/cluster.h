// SPDX-License-Identifier: Apache-2.0
//
// A small fleet of real processes: one controller, agents with an emulated host each, and the
// clients that a test runs. Everything lives in a folder of its own and ends with the Cluster.
// Its calls fail the test when they cannot be made; what a server refuses is a status.
#ifndef BERTH_TESTS_INTEGRATION_CLUSTER_H_
#define BERTH_TESTS_INTEGRATION_CLUSTER_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "berth/agent/v1/agent_local.pb.h"
#include "berth/internal/v1/emulator_control.pb.h"
#include "berth/internal/v1/emulator_faults.pb.h"
#include "berth/v1/assignment_service.pb.h"
#include "berth/v1/capacity_service.pb.h"
#include "berth/v1/host.pb.h"
#include "tests/integration/fd_store_server.h"
#include "tests/integration/process.h"

namespace grpc {
class Channel;
}

namespace berth::testing {

// Files of this repository, and the programs under test.
std::string SourceFile(const std::string& path);
std::string ProgramFile(const std::string& name);

// What a client printed, and its exit code.
struct Output {
  int code = -1;
  std::string out;
  std::string err;
};

// One agent and the emulator that stands for its kernel.
class Host {
 public:
  enum class Emulator { kOfTheAgent, kExternal };
  // kSupervise: agent() is berth-agent supervise. kStore: the test is the agent's service manager,
  // with a store of fds, from which each start has what the one before has left there.
  enum class Parent { kTest, kSupervise, kStore };
  struct Options {
    std::string id;
    std::string host_file;
    Emulator emulator = Emulator::kOfTheAgent;
    Parent parent = Parent::kTest;
    int network = -1;  // of the agent, as Process::Options
  };
  Host(Options options, const std::string& folder, const std::vector<std::string>& controllers);
  ~Host();  // ends both

  // With more arguments than its configuration.
  void StartAgent(const std::vector<std::string>& args = {});
  // For Parent::kStore: names of the fds that are in it.
  [[nodiscard]] std::vector<std::string> StoredFds();
  Process& agent() { return *agent_; }
  // SIGTERM, end in order, start. `meanwhile` is called when the agent has the signal.
  void RestartAgent(const std::function<void()>& meanwhile = {});

  // For Parent::kSupervise: the agent itself; 0 while there is none.
  [[nodiscard]] pid_t supervised_pid() const;

  // For Emulator::kExternal.
  void StartEmulator();
  void KillEmulator();
  [[nodiscard]] pid_t emulator_pid() const;

  [[nodiscard]] const std::string& id() const { return options_.id; }
  [[nodiscard]] std::string emulator_socket() const { return emulator_dir() + "/emulator.sock"; }
  [[nodiscard]] std::string vmm_socket() const { return folder_ + "/run/vmm.sock"; }
  [[nodiscard]] std::string runtime_dir() const { return folder_ + "/run"; }
  [[nodiscard]] std::string config_file() const { return folder_ + "/agent.yaml"; }
  [[nodiscard]] std::string log_file() const { return folder_ + "/agent.log"; }

  agent::v1::AgentStatus Status();
  std::vector<agent::v1::LocalGrant> Grants();
  std::vector<agent::v1::KernelObject> Objects(const std::string& assignment_uid);
  // Empty when no emulator answers.
  internal::v1::EmulatorStats Stats();

  // ---- What its emulator does wrong
  void AddFault(const internal::v1::Fault& fault);
  std::vector<internal::v1::Fault> Faults();
  void ClearFaults();

 private:
  [[nodiscard]] std::string emulator_dir() const { return folder_ + "/run/emulator"; }
  // A new channel: the emulator may be another one than last time.
  [[nodiscard]] std::shared_ptr<grpc::Channel> DialEmulator() const;

  const Options options_;
  const std::string folder_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<Process> agent_;
  std::unique_ptr<Process> emulator_;
  std::unique_ptr<FdStoreServer> store_;
};

// Those of deploy/examples/hosts/*.yaml.
std::vector<Host::Options> ExampleHosts(const std::vector<std::string>& names);

// One unit with one device and an emulator of its own, so that an agent has nothing to look at
// beside what it prepares. Has a file, which goes with the object.
class OneDeviceHost {
 public:
  OneDeviceHost();
  ~OneDeviceHost();
  OneDeviceHost(const OneDeviceHost&) = delete;
  OneDeviceHost& operator=(const OneDeviceHost&) = delete;

  // Its id is "host".
  [[nodiscard]] const Host::Options& options() const { return options_; }

 private:
  Host::Options options_;
};

class Cluster {
 public:
  // `hosts`: names of deploy/examples/hosts/*.yaml. Returns when all are READY. `store`: what the
  // controller's configuration says of it; empty: a SQLite file.
  explicit Cluster(const std::vector<std::string>& hosts, const std::string& store = "");
  explicit Cluster(const std::vector<Host::Options>& hosts, const std::string& store = "");
  // For a test that runs controllers of its own: a folder, and what the test adds.
  Cluster();
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  // Agents that dial these addresses.
  void AddHosts(const std::vector<Host::Options>& hosts,
                const std::vector<std::string>& controllers);
  // Where calls go from now on.
  void UseApi(const std::string& address);

  // Returns when it serves.
  void StartController(const std::vector<std::string>& args = {});
  Process& controller() { return *controller_; }
  void KillController() { controller_->Kill(); }
  // SIGTERM, end in order, start.
  void RestartController();
  Host& host(const std::string& id) { return *hosts_.at(id); }
  void AwaitReady(const std::string& host);
  [[nodiscard]] const std::string& folder() const { return folder_; }
  [[nodiscard]] const std::string& api_address() const { return api_address_; }

  // ---- The API
  absl::StatusOr<v1::Assignment> Create(const v1::CreateAssignmentRequest& request);
  // `spec`: text format of AssignmentSpec.
  absl::StatusOr<v1::Assignment> Create(const std::string& id, const std::string& spec);
  absl::StatusOr<v1::Assignment> Get(const std::string& id);
  absl::StatusOr<v1::Assignment> Delete(const std::string& id);
  v1::Host GetHost(const std::string& id);
  v1::Capacity GetCapacity();
  bool AwaitObserved(const std::string& id, v1::Assignment::Observed observed);
  bool AwaitGone(const std::string& id);
  [[nodiscard]] std::shared_ptr<grpc::Channel> api() const { return api_; }

  // ---- Clients
  Output Run(const std::string& program, const std::vector<std::string>& args);
  Output Berthctl(std::vector<std::string> args);
  // berth-example-vmm for `assignment`, which has its token; it prints to `name`.out and .err.
  std::unique_ptr<Process> StartVmm(const std::string& name, const v1::Assignment& assignment,
                                    const std::vector<std::string>& args);
  Output RunVmm(const v1::Assignment& assignment, const std::vector<std::string>& args);
  [[nodiscard]] std::string OutputOf(const std::string& name) const;

  // Waits until the controller's book, the agents' grants and the emulated kernels agree about
  // VINTFs, devices and contexts, and `grants` are held in the fleet.
  void ExpectRecordsAgree(int grants);

 private:
  std::string Disagreement(int grants);

  std::string folder_;
  std::string api_address_;
  std::shared_ptr<grpc::Channel> api_;
  std::unique_ptr<Process> controller_;
  std::map<std::string, std::unique_ptr<Host>> hosts_;
  int runs_ = 0;
};

v1::CreateAssignmentRequest MakeRequest(const std::string& id, const std::string& spec);
// One device of a class; the smallest assignment.
std::string OneOf(const std::string& device_class);

}  // namespace berth::testing

#endif  // BERTH_TESTS_INTEGRATION_CLUSTER_H_
