// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/cluster.h"

#include <google/protobuf/text_format.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "berth/agent/v1/agent_local.grpc.pb.h"
#include "berth/internal/v1/emulator_control.grpc.pb.h"
#include "berth/internal/v1/emulator_faults.grpc.pb.h"
#include "berth/v1/assignment_service.grpc.pb.h"
#include "berth/v1/capacity_service.grpc.pb.h"
#include "berth/v1/host_service.grpc.pb.h"
#include "lib/base/unique_fd.h"
#include "lib/rpc/channel.h"
#include "lib/rpc/error.h"

namespace berth::testing {
namespace {

using v1::Assignment;

std::shared_ptr<grpc::Channel> Dial(const std::string& address) {
  return *MakeChannel({.address = address});
}

// Calls `method` of a new stub. The server need not be up yet.
template <typename Service, typename Request, typename Response>
absl::Status Call(const std::shared_ptr<grpc::Channel>& channel,
                  grpc::Status (Service::StubInterface::*method)(grpc::ClientContext*,
                                                                 const Request&, Response*),
                  const Request& request, Response* response) {
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  const std::unique_ptr<typename Service::StubInterface> stub = Service::NewStub(channel);
  return FromGrpcStatus((stub.get()->*method)(&context, request, response));
}

// The same, of a call that nobody may refuse.
template <typename Service, typename Request, typename Response>
Response Ask(const std::shared_ptr<grpc::Channel>& channel,
             grpc::Status (Service::StubInterface::*method)(grpc::ClientContext*, const Request&,
                                                            Response*),
             const Request& request) {
  Response response;
  const absl::Status status = Call<Service>(channel, method, request, &response);
  EXPECT_TRUE(status.ok()) << status;
  return response;
}

template <typename Request>
absl::StatusOr<Assignment> AssignmentCall(
    const std::shared_ptr<grpc::Channel>& channel,
    grpc::Status (v1::AssignmentService::StubInterface::*method)(grpc::ClientContext*,
                                                                 const Request&, Assignment*),
    const Request& request) {
  Assignment assignment;
  absl::Status status = Call<v1::AssignmentService>(channel, method, request, &assignment);
  if (!status.ok()) return status;
  return assignment;
}

void PrintTail(const std::string& path) {
  constexpr size_t kLines = 60;
  const std::vector<std::string> lines = absl::StrSplit(ReadFile(path), '\n');
  std::cerr << "---- " << path << "\n";
  for (size_t i = lines.size() - std::min(lines.size(), kLines); i < lines.size(); ++i) {
    std::cerr << lines[i] << "\n";
  }
}

// What one of the three records says of a host.
struct Tally {
  int grants = 0;
  int vintfs = 0;
  int devices = 0;

  bool operator==(const Tally&) const = default;
  [[nodiscard]] std::string Text() const {
    return absl::StrCat(grants, " grants, ", vintfs, " VINTFs, ", devices, " devices");
  }
  void Add(const google::protobuf::RepeatedPtrField<v1::UnitPlacement>& units) {
    if (!units.empty()) ++grants;
    for (const v1::UnitPlacement& unit : units) {
      // Only these have VINTFs, and a vIOMMU each.
      if (unit.profile() == v1::Unit::TEGRA241_CMDQV) ++vintfs;
      devices += unit.devices_size();
    }
  }
};

}  // namespace

std::string SourceFile(const std::string& path) { return BERTH_SOURCE_DIR "/" + path; }
std::string ProgramFile(const std::string& name) { return BERTH_PROGRAM_DIR "/" + name; }

v1::CreateAssignmentRequest MakeRequest(const std::string& id, const std::string& spec) {
  v1::CreateAssignmentRequest request;
  request.set_assignment_id(id);
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      spec, request.mutable_assignment()->mutable_spec()));
  return request;
}

std::string OneOf(const std::string& device_class) {
  return absl::StrCat("device_requests { name: 'it' class: '", device_class, "' }");
}

std::vector<Host::Options> ExampleHosts(const std::vector<std::string>& names) {
  std::vector<Host::Options> hosts;
  for (const std::string& name : names) {
    hosts.push_back(
        {.id = name, .host_file = SourceFile("deploy/examples/hosts/" + name + ".yaml")});
  }
  return hosts;
}

// ---- Host

Host::Host(Options options, const std::string& folder, const std::vector<std::string>& controllers)
    : options_(std::move(options)), folder_(folder + "/" + options_.id) {
  std::filesystem::create_directories(folder_);
  const std::string emulator = options_.emulator == Emulator::kExternal
                                   ? "external: true"
                                   : absl::StrCat("host_file: ", options_.host_file);
  WriteFile(config_file(),
            absl::StrCat("host_id: ", options_.id,                                               //
                         "\nruntime_dir: ", folder_, "/run",                                     //
                         "\nstate_dir: ", folder_, "/state",                                     //
                         "\nbackend: {emulated: {", emulator, "}}",                              //
                         "\ncontroller: {addresses: [\"", absl::StrJoin(controllers, "\", \""),  //
                         "\"]}\ninventory: {observe_vintfs: true, interval: 1s}\n"));
}

Host::~Host() {
  // By SIGKILL it would leave its agent behind.
  if (agent_ != nullptr && options_.parent == Parent::kSupervise) agent_->Stop();
  agent_.reset();
  KillEmulator();
}

void Host::StartAgent(const std::vector<std::string>& args) {
  Process::Options options = {.program = ProgramFile("berth-agent"),
                              .args = {"--config", config_file()},
                              .out = log_file(),
                              .err = "",
                              .network = options_.network};
  options.args.insert(options.args.end(), args.begin(), args.end());
  const bool supervised = options_.parent == Parent::kSupervise;
  if (supervised) options.args.insert(options.args.begin(), "supervise");
  agent_.reset();
  if (options_.parent == Parent::kStore) {
    if (store_ == nullptr) store_ = std::make_unique<FdStoreServer>(folder_ + "/notify");
    store_->Pass(&options);
  }
  agent_ = std::make_unique<Process>(options);
  if (store_ != nullptr) store_->Serve(agent_->pid());
  channel_ = Dial(absl::StrCat("unix:", folder_, "/run/agent.sock"));
}

std::vector<std::string> Host::StoredFds() { return store_->names(); }

pid_t Host::supervised_pid() const {
  const std::string parent = absl::StrCat(agent_->pid());
  const std::string children =
      ReadFile(absl::StrCat("/proc/", parent, "/task/", parent, "/children"));
  return static_cast<pid_t>(std::strtol(children.c_str(), nullptr, 10));
}

void Host::RestartAgent(const std::function<void()>& meanwhile) {
  // A connection on which nobody reads keeps a gRPC server from ending before its grace has passed.
  channel_.reset();
  agent_->Signal(SIGTERM);
  if (meanwhile) meanwhile();
  EXPECT_EQ(agent_->Wait(), 0);
  StartAgent();
}

void Host::StartEmulator() {
  emulator_ = std::make_unique<Process>(
      Process::Options{.program = ProgramFile("berth-emulator"),
                       .args = {"--runtime-dir", emulator_dir(), "--host", options_.host_file},
                       .out = folder_ + "/emulator.log",
                       .err = ""});
  WaitFor("the emulator listens", [&] { return emulator_pid() != 0; });
}

pid_t Host::emulator_pid() const {
  return ListenerOf(emulator_dir() + "/emulator.sock", SOCK_SEQPACKET);
}

void Host::KillEmulator() {
  if (emulator_ != nullptr) return emulator_.reset();
  KillStranger(emulator_pid());
}

agent::v1::AgentStatus Host::Status() {
  return Ask<agent::v1::AgentLocal>(channel_, &agent::v1::AgentLocal::StubInterface::GetStatus,
                                    agent::v1::GetStatusRequest());
}

std::vector<agent::v1::LocalGrant> Host::Grants() {
  const auto response = Ask<agent::v1::AgentLocal>(
      channel_, &agent::v1::AgentLocal::StubInterface::ListGrants, agent::v1::ListGrantsRequest());
  return {response.grants().begin(), response.grants().end()};
}

std::vector<agent::v1::KernelObject> Host::Objects(const std::string& assignment_uid) {
  agent::v1::ListObjectsRequest request;
  request.set_assignment_uid(assignment_uid);
  const auto response = Ask<agent::v1::AgentLocal>(
      channel_, &agent::v1::AgentLocal::StubInterface::ListObjects, request);
  return {response.objects().begin(), response.objects().end()};
}

internal::v1::EmulatorStats Host::Stats() {
  internal::v1::EmulatorStats stats;
  if (emulator_pid() == 0) return stats;
  Call<internal::v1::EmulatorControl>(DialEmulator(),
                                      &internal::v1::EmulatorControl::StubInterface::GetStats,
                                      internal::v1::GetStatsRequest(), &stats)
      .IgnoreError();
  return stats;
}

std::shared_ptr<grpc::Channel> Host::DialEmulator() const {
  return Dial(absl::StrCat("unix:", emulator_dir(), "/control.sock"));
}

using internal::v1::EmulatorFaults;

void Host::AddFault(const internal::v1::Fault& fault) {
  internal::v1::CreateFaultRequest request;
  *request.mutable_fault() = fault;
  Ask<EmulatorFaults>(DialEmulator(), &EmulatorFaults::StubInterface::CreateFault, request);
}

std::vector<internal::v1::Fault> Host::Faults() {
  const auto response =
      Ask<EmulatorFaults>(DialEmulator(), &EmulatorFaults::StubInterface::ListFaults,
                          internal::v1::ListFaultsRequest());
  return {response.faults().begin(), response.faults().end()};
}

void Host::ClearFaults() {
  Ask<EmulatorFaults>(DialEmulator(), &EmulatorFaults::StubInterface::ClearFaults,
                      internal::v1::ClearFaultsRequest());
}

OneDeviceHost::OneDeviceHost() {
  constexpr char kFile[] = R"(# SPDX-License-Identifier: Apache-2.0
units:
  - {id: smmu3.0x10000000, vintfs: 4, vcmdqs: 8}
devices:
  - {first_address: "0001:01:00.0", vendor: "10de", device: "2342", class_code: "030200",
     first_serial: "48b02d0a01", unit: smmu3.0x10000000, numa_node: 0}
)";
  std::string file = "/tmp/berth-host.XXXXXX";
  const UniqueFd fd(::mkstemp(file.data()));
  EXPECT_TRUE(fd.valid());
  WriteFile(file, kFile);
  options_ = {.id = "host", .host_file = file, .emulator = Host::Emulator::kExternal};
}

OneDeviceHost::~OneDeviceHost() { std::filesystem::remove(options_.host_file); }

// ---- Cluster

Cluster::Cluster(const std::vector<std::string>& hosts, const std::string& store)
    : Cluster(ExampleHosts(hosts), store) {}

Cluster::Cluster() {
  std::string folder = "/tmp/berth-test.XXXXXX";  // short: it becomes part of socket paths
  EXPECT_NE(::mkdtemp(folder.data()), nullptr);
  folder_ = folder;
}

Cluster::Cluster(const std::vector<Host::Options>& hosts, const std::string& store) : Cluster() {
  const std::string link = absl::StrCat("unix:", folder_, "/link.sock");
  WriteFile(folder_ + "/controller.yaml",
            absl::StrCat(
                "api: {address: \"127.0.0.1:0\"}\nagent_link: {address: \"", link, "\"}\nstore: {",
                store.empty() ? absl::StrCat("sqlite: {path: ", folder_, "/store.db}") : store,
                "}\ncluster_key_file: ", folder_, "/cluster.key\n"));
  StartController();
  AddHosts(hosts, {link});
  for (const auto& [id, host] : hosts_) AwaitReady(id);
}

void Cluster::AddHosts(const std::vector<Host::Options>& hosts,
                       const std::vector<std::string>& controllers) {
  for (const Host::Options& options : hosts) {
    auto host = std::make_unique<Host>(options, folder_, controllers);
    if (options.emulator == Host::Emulator::kExternal) host->StartEmulator();
    host->StartAgent();
    hosts_[options.id] = std::move(host);
  }
}

void Cluster::UseApi(const std::string& address) {
  api_address_ = address;
  api_ = Dial(address);
}

Cluster::~Cluster() {
  if (::testing::Test::HasFailure()) {
    for (const auto& file : std::filesystem::directory_iterator(folder_)) {
      if (file.path().extension() == ".log") PrintTail(file.path());
    }
    for (const auto& [id, host] : hosts_) PrintTail(host->log_file());
  }
  hosts_.clear();
  controller_.reset();
  std::filesystem::remove_all(folder_);
}

void Cluster::StartController(const std::vector<std::string>& args) {
  const std::string log = folder_ + "/controller.log";
  const size_t before = ReadFile(log).size();
  Process::Options options = {.program = ProgramFile("berth-controller"),
                              .args = {"--config", folder_ + "/controller.yaml"},
                              .out = log,
                              .err = ""};
  options.args.insert(options.args.end(), args.begin(), args.end());
  controller_ = std::make_unique<Process>(options);
  const std::string mark = " serving api=";
  std::string address;
  WaitFor("the controller serves", [&] {
    // Looked at first: it may serve, and die at once.
    const bool running = controller_->running();
    const std::string text = ReadFile(log).substr(before);
    const size_t at = text.find(mark);
    const size_t end = at == std::string::npos ? at : text.find(' ', at + mark.size());
    if (end == std::string::npos && !running) {
      PrintTail(log);
      std::abort();  // nothing can be tested
    }
    if (end == std::string::npos) return false;
    address = text.substr(at + mark.size(), end - at - mark.size());
    return true;
  });
  UseApi(address);
}

void Cluster::RestartController() {
  api_.reset();  // as in RestartAgent()
  EXPECT_EQ(controller_->Stop(), 0);
  StartController();
}

void Cluster::AwaitReady(const std::string& host) {
  v1::Host seen;
  absl::Status status;
  const bool ready = WaitFor(host + " is READY and serves what it has", [&] {
    v1::GetHostRequest request;
    request.set_name("hosts/" + host);
    status = Call<v1::HostService>(api_, &v1::HostService::StubInterface::GetHost, request, &seen);
    return status.ok() && seen.state() == v1::Host::READY && seen.device_count() > 0;
  });
  EXPECT_TRUE(ready) << status << " " << seen.ShortDebugString();
}

absl::StatusOr<Assignment> Cluster::Create(const v1::CreateAssignmentRequest& request) {
  return AssignmentCall(api_, &v1::AssignmentService::StubInterface::CreateAssignment, request);
}

absl::StatusOr<Assignment> Cluster::Create(const std::string& id, const std::string& spec) {
  return Create(MakeRequest(id, spec));
}

absl::StatusOr<Assignment> Cluster::Get(const std::string& id) {
  v1::GetAssignmentRequest request;
  request.set_name("assignments/" + id);
  return AssignmentCall(api_, &v1::AssignmentService::StubInterface::GetAssignment, request);
}

absl::StatusOr<Assignment> Cluster::Delete(const std::string& id) {
  v1::DeleteAssignmentRequest request;
  request.set_name("assignments/" + id);
  return AssignmentCall(api_, &v1::AssignmentService::StubInterface::DeleteAssignment, request);
}

v1::Host Cluster::GetHost(const std::string& id) {
  v1::GetHostRequest request;
  request.set_name("hosts/" + id);
  return Ask<v1::HostService>(api_, &v1::HostService::StubInterface::GetHost, request);
}

v1::Capacity Cluster::GetCapacity() {
  v1::GetCapacityRequest request;
  request.set_include_units(true);
  return Ask<v1::CapacityService>(api_, &v1::CapacityService::StubInterface::GetCapacity, request);
}

bool Cluster::AwaitObserved(const std::string& id, Assignment::Observed observed) {
  return WaitFor(absl::StrCat(id, " is ", Assignment::Observed_Name(observed)), [&] {
    const absl::StatusOr<Assignment> now = Get(id);
    return now.ok() && now->observed() == observed;
  });
}

bool Cluster::AwaitGone(const std::string& id) {
  return WaitFor(id + " is gone", [&] { return absl::IsNotFound(Get(id).status()); });
}

Output Cluster::Run(const std::string& program, const std::vector<std::string>& args) {
  const std::string files = absl::StrCat(folder_, "/run", ++runs_);
  Process process({.program = program, .args = args, .out = files + ".out", .err = files + ".err"});
  process.CloseStdin();
  const int code = process.Wait();
  return {.code = code, .out = ReadFile(files + ".out"), .err = ReadFile(files + ".err")};
}

Output Cluster::Berthctl(std::vector<std::string> args) {
  args.insert(args.begin(), {"--server", api_address_});
  return Run(ProgramFile("berthctl"), args);
}

std::unique_ptr<Process> Cluster::StartVmm(const std::string& name, const Assignment& assignment,
                                           const std::vector<std::string>& args) {
  Process::Options options = {
      .program = ProgramFile("berth-example-vmm"),
      .args = {"--socket", assignment.placement().attach_endpoint(), "--assignment",
               assignment.uid(), "--token", assignment.attach_token()},
      .out = absl::StrCat(folder_, "/", name, ".out"),
      .err = absl::StrCat(folder_, "/", name, ".err")};
  options.args.insert(options.args.end(), args.begin(), args.end());
  return std::make_unique<Process>(options);
}

Output Cluster::RunVmm(const Assignment& assignment, const std::vector<std::string>& args) {
  const std::string name = absl::StrCat("vmm", ++runs_);
  const int code = StartVmm(name, assignment, args)->Wait();
  return {.code = code,
          .out = OutputOf(name),
          .err = ReadFile(absl::StrCat(folder_, "/", name, ".err"))};
}

std::string Cluster::OutputOf(const std::string& name) const {
  return ReadFile(absl::StrCat(folder_, "/", name, ".out"));
}

std::string Cluster::Disagreement(int grants) {
  std::map<std::string, Tally> booked;
  const auto list = Ask<v1::AssignmentService>(
      api_, &v1::AssignmentService::StubInterface::ListAssignments, v1::ListAssignmentsRequest());
  for (const Assignment& assignment : list.assignments()) {
    booked[assignment.placement().host()].Add(assignment.placement().units());
  }
  std::string text;
  int held_grants = 0;
  for (const auto& [id, host] : hosts_) {
    const Tally book = booked["hosts/" + id];
    Tally held;
    for (const agent::v1::LocalGrant& grant : host->Grants()) held.Add(grant.status().units());
    const internal::v1::EmulatorStats stats = host->Stats();
    Tally kernel = {.grants = static_cast<int>(stats.contexts()),
                    .devices = static_cast<int>(stats.bound_devices())};
    for (const auto& unit : stats.units()) kernel.vintfs += static_cast<int>(unit.vintfs_used());
    Tally charged = {.grants = book.grants};
    const v1::Host shown = GetHost(id);
    for (const v1::Unit& unit : shown.units()) {
      if (unit.profile() == v1::Unit::TEGRA241_CMDQV) charged.vintfs += unit.used_vintfs();
    }
    for (const v1::Device& device : shown.devices())
      charged.devices += !device.assignment().empty();
    held_grants += held.grants;
    if (book == held && held == kernel && charged == book) continue;
    absl::StrAppend(&text, id, ": booked ", book.Text(), "; charged ", charged.Text(), "; held ",
                    held.Text(), "; in the kernel ", kernel.Text(), ". ");
  }
  if (held_grants != grants) absl::StrAppend(&text, held_grants, " grants, not ", grants);
  return text;
}

void Cluster::ExpectRecordsAgree(int grants) {
  std::string disagreement;
  WaitFor("the records of controller, agents and kernels agree", [&] {
    disagreement = Disagreement(grants);
    return disagreement.empty();
  });
  EXPECT_EQ(disagreement, "");
}

}  // namespace berth::testing
