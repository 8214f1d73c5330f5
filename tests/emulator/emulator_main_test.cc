// SPDX-License-Identifier: Apache-2.0
//
// The berth-emulator program as a process.
#include "lib/emulator/emulator_main.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <spawn.h>
#include <sys/wait.h>

#include <csignal>
#include <fstream>
#include <sstream>

#include "berth/internal/v1/emulator_faults.grpc.pb.h"
#include "lib/base/status.h"
#include "lib/rpc/channel.h"
#include "tests/emulator/emulator_fixture.h"

namespace berth::emulator {
namespace {

namespace pb = berth::internal::v1;

class EmulatorMainTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::ofstream(host_file()) << "units: [{id: smmu3.0, vintfs: 4}]\n"
                                  "devices: [{first_address: \"0000:01:00.0\", vendor: \"10de\", "
                                  "device: \"2342\", class_code: \"030200\", unit: smmu3.0}]\n";
  }
  void TearDown() override { Kill(); }

  [[nodiscard]] std::string host_file() const { return dir_.path() + "/host.yaml"; }
  [[nodiscard]] std::string runtime_dir() const { return dir_.path() + "/run"; }
  EmulatorClient& client() { return client_; }

  void Spawn(std::vector<std::string> more = {}) {
    std::vector<std::string> args = {std::getenv("BERTH_EMULATOR"), "--runtime-dir", runtime_dir(),
                                     "--host", host_file()};
    args.insert(args.end(), more.begin(), more.end());
    std::vector<char*> argv;
    for (std::string& arg : args) argv.push_back(arg.data());
    argv.push_back(nullptr);
    ASSERT_EQ(::posix_spawn(&pid_, argv[0], nullptr, nullptr, argv.data(), environ), 0);
  }
  // Waits until the socket is there; the test's own time-out is the limit.
  void SpawnAndAwait() {
    Spawn();
    while (!client_.OpenContext().ok()) {
      ASSERT_EQ(::waitpid(pid_, nullptr, WNOHANG), 0) << "the emulator ended";
      ::poll(nullptr, 0, 1);
    }
  }
  // Its exit status, or minus the signal.
  int Wait() {
    int status = 0;
    EXPECT_EQ(::waitpid(std::exchange(pid_, -1), &status, 0) > 0, true);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  void Kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    Wait();
  }
  struct Output {
    int code;
    std::string out;
    std::string err;
  };
  static Output Run(std::vector<std::string> args) {
    args.insert(args.begin(), "berth-emulator");
    std::vector<const char*> argv;
    for (const std::string& arg : args) argv.push_back(arg.c_str());
    std::ostringstream out;
    std::ostringstream err;
    const int code = EmulatorMain(static_cast<int>(argv.size()), argv.data(), out, err);
    return {code, out.str(), err.str()};
  }
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  TempDir dir_;
  EmulatorClient client_{runtime_dir() + "/emulator.sock"};
  pid_t pid_ = -1;
};

TEST_F(EmulatorMainTest, ListsWhatItDoesNotDo) {
  const Output output = Run({"--list-unsupported"});
  EXPECT_EQ(output.code, 0);
  EXPECT_NE(output.out.find("IOAS_NOIOMMU_GET_PA: "), std::string::npos);
  EXPECT_NE(output.out.find("VFIO_DEVICE_FEATURE, "), std::string::npos);
  EXPECT_EQ(output.out.find("DIRTY_TRACKING"), std::string::npos);
  EXPECT_EQ(output.out.find("C_BAD_CD"), std::string::npos) << "HA and HD are done with httu";
}

TEST_F(EmulatorMainTest, RefusesWrongUsageAndWrongHosts) {
  EXPECT_EQ(Run({"--colour"}).code, 2);
  EXPECT_EQ(Run({"--runtime-dir", runtime_dir()}).code, 2);
  std::ofstream(host_file()) << "units: []\n";
  const Output output = Run({"--runtime-dir", runtime_dir(), "--host", host_file()});
  EXPECT_EQ(output.code, 3);
  EXPECT_NE(output.err.find("MISSING_FIELD"), std::string::npos) << output.err;
}

TEST_F(EmulatorMainTest, ReportsWhyItDidNotStart) {
  const UniqueFd report(::memfd_create("report", MFD_CLOEXEC));
  EXPECT_EQ(Run({"--runtime-dir", runtime_dir(), "--host", "/nowhere.yaml", "--report-fd",
                 std::to_string(::dup(report.get()))})
                .code,
            3);
  std::string text(200, '\0');
  text.resize(static_cast<size_t>(::pread(report.get(), text.data(), text.size(), 0)));
  EXPECT_NE(text.find("/nowhere.yaml: No such file or directory"), std::string::npos) << text;
}

TEST_F(EmulatorMainTest, ServesTellsItsCountsAndEndsInOrder) {
  SpawnAndAwait();
  const auto context = client().OpenContext();
  ASSERT_TRUE(context.ok());
  EXPECT_TRUE(std::filesystem::exists(runtime_dir() + "/sys/bus/pci/devices/0000:01:00.0/config"));
  const Output stats = Run({"--runtime-dir", runtime_dir(), "--stats"});
  EXPECT_EQ(stats.code, 0) << stats.err;
  EXPECT_NE(stats.out.find("\"contexts\": 1"), std::string::npos) << stats.out;
  EXPECT_EQ(Run({"--runtime-dir", runtime_dir(), "--host", host_file()}).code, 1)
      << "a second emulator in the same folder";
  ::kill(pid(), SIGTERM);
  EXPECT_EQ(Wait(), 0);
  EXPECT_FALSE(std::filesystem::exists(runtime_dir() + "/emulator.sock"));
  EXPECT_EQ(Run({"--runtime-dir", runtime_dir(), "--stats"}).code, 1);
}

TEST_F(EmulatorMainTest, APulledOutDeviceIsNotInSysfs) {
  SpawnAndAwait();
  const std::string folder = runtime_dir() + "/sys/bus/pci/devices/0000:01:00.0";
  ChannelOptions options;
  options.address = "unix:" + runtime_dir() + "/control.sock";
  const auto channel = MakeChannel(options);
  ASSERT_TRUE(channel.ok()) << channel.status();
  const auto stub = pb::EmulatorFaults::NewStub(*channel);
  pb::CreateFaultRequest create;
  create.mutable_fault()->mutable_device_gone()->set_device("0000:01:00.0");
  pb::Fault fault;
  grpc::ClientContext create_context;
  ASSERT_TRUE(stub->CreateFault(&create_context, create, &fault).ok());
  EXPECT_FALSE(std::filesystem::exists(folder));
  pb::DeleteFaultRequest remove;
  remove.set_id(fault.id());
  google::protobuf::Empty nothing;
  grpc::ClientContext delete_context;
  ASSERT_TRUE(stub->DeleteFault(&delete_context, remove, &nothing).ok());
  EXPECT_TRUE(std::filesystem::exists(folder + "/config"));
  grpc::ClientContext again_context;
  ASSERT_TRUE(stub->CreateFault(&again_context, create, &fault).ok());
  EXPECT_FALSE(std::filesystem::exists(folder));
  pb::ClearFaultsResponse cleared;
  grpc::ClientContext clear_context;
  ASSERT_TRUE(stub->ClearFaults(&clear_context, {}, &cleared).ok());
  EXPECT_TRUE(std::filesystem::exists(folder + "/config"));
}

TEST_F(EmulatorMainTest, AKilledEmulatorIsNoticedAndItsSuccessorUsed) {
  SpawnAndAwait();
  const auto context = client().OpenContext();
  ASSERT_TRUE(context.ok());
  Kill();
  uapi::IommuIoasAlloc cmd = {};
  cmd.size = sizeof(cmd);
  EXPECT_EQ(client().Ioctl(context->get(), uapi::kIommuIoasAlloc, &cmd), -ESHUTDOWN);
  EXPECT_EQ(ReasonOf(client().OpenContext().status()), Reason::kKernelGone);
  SpawnAndAwait();
  const auto fresh = client().OpenContext();
  ASSERT_TRUE(fresh.ok()) << fresh.status();
  EXPECT_EQ(client().Ioctl(fresh->get(), uapi::kIommuIoasAlloc, &cmd), 0);
  EXPECT_EQ(client().Ioctl(context->get(), uapi::kIommuIoasAlloc, &cmd), -ESHUTDOWN);
}

TEST_F(EmulatorMainTest, EndsByItselfWhenNobodyUsesIt) {
  Spawn({"--idle-exit", "0.01"});
  EXPECT_EQ(Wait(), 0);
}

}  // namespace
}  // namespace berth::emulator
