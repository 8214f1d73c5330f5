// SPDX-License-Identifier: Apache-2.0
#include "agent/daemon/agent_main.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "agent/link/agent_state.h"
#include "lib/base/status.h"
#include "tests/agent/daemon/emulator_folder.h"
#include "tests/agent/inventory/sysfs_tree.h"

namespace berth {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// berth-agent with a configuration file, run in this process.
class AgentMainTest : public ::testing::Test {
 protected:
  AgentMainTest() {
    std::ofstream(config_file()) << "host_id: left\n"
                                 << "backend: {emulated: {host_file: host.yaml}}\n"
                                 << "runtime_dir: " << folder_.path() << "/run\n"
                                 << "state_dir: " << state_dir()
                                 << "\n"
                                 // Where nobody may listen: a command must not try.
                                 << "metrics: {address: \"255.255.255.255:1\"}\n";
    environment_.out = &out_;
    environment_.err = &err_;
  }

  [[nodiscard]] std::string config_file() const { return folder_.path() + "/agent.yaml"; }
  [[nodiscard]] std::string state_dir() const { return folder_.path() + "/state"; }

  int Run(std::vector<std::string> args) {
    out_.str("");
    err_.str("");
    args.insert(args.begin(), "berth-agent");
    std::vector<const char*> argv;
    for (const std::string& arg : args) argv.push_back(arg.c_str());
    return AgentMain(static_cast<int>(argv.size()), argv.data(), environment_, "/opt/berth/bin");
  }
  std::unique_ptr<AgentState> OpenState() {
    auto state = AgentState::Open(state_dir());
    EXPECT_TRUE(state.ok()) << state.status();
    return state.ok() ? *std::move(state) : nullptr;
  }
  static agent::v1::Epoch MakeEpoch(const std::string& store) {
    agent::v1::Epoch epoch;
    epoch.set_store_uid(store);
    epoch.set_term(1);
    return epoch;
  }

  testing::EmulatorFolder folder_;
  std::ostringstream out_;
  std::ostringstream err_;
  DaemonEnvironment environment_;
};

TEST_F(AgentMainTest, AFencedHostTakesAnotherStoreAfterAcceptStore) {
  {
    const auto state = OpenState();
    ASSERT_TRUE(state->Accept(MakeEpoch("old")).ok());
    EXPECT_EQ(ReasonOf(state->Accept(MakeEpoch("new"))), Reason::kFenced);
  }
  EXPECT_EQ(Run({"accept-store", "--config", config_file()}), kExitOk) << err_.str();
  EXPECT_EQ(out_.str(),
            "left belonged to store old and now takes the store of the next controller that it "
            "meets\n");
  EXPECT_EQ(err_.str(), "");
  const auto state = OpenState();
  EXPECT_EQ(state->incarnation(), 2) << "the command was no start";
  EXPECT_TRUE(state->Accept(MakeEpoch("new")).ok());
}

TEST_F(AgentMainTest, AHostWithoutAStoreSaysSo) {
  EXPECT_EQ(Run({"-c", config_file(), "accept-store"}), kExitOk) << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("left belongs to no store"));
}

TEST_F(AgentMainTest, AcceptStoreNeedsTheAgentToBeStopped) {
  const auto running = OpenState();
  ASSERT_TRUE(running->Accept(MakeEpoch("old")).ok());
  EXPECT_EQ(Run({"accept-store", "-c", config_file()}), kExitFailed);
  EXPECT_THAT(err_.str(), AllOf(HasSubstr("STATE_CONFLICT"), HasSubstr("stop it first")));
  EXPECT_EQ(out_.str(), "");
}

TEST_F(AgentMainTest, ConfigurationIsCheckedAndPrintedWithItsDefaults) {
  EXPECT_EQ(Run({"-c", config_file(), "--check-config"}), kExitOk) << err_.str();
  EXPECT_EQ(Run({"-c", config_file(), "--print-config"}), kExitOk) << err_.str();
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("program: /opt/berth/bin/berth-emulator"),
                                HasSubstr("host_file: " + folder_.host_file())));
  std::ofstream(config_file()) << "host_id: left\n";
  EXPECT_EQ(Run({"-c", config_file(), "--check-config"}), kExitBadConfig);
  EXPECT_THAT(err_.str(), HasSubstr("backend is missing"));
}

TEST_F(AgentMainTest, AnEmulatedHostIsDescribedByAFileThatIsThere) {
  std::ofstream(config_file())
      << "{host_id: left, backend: {emulated: {host_file: nowhere/left.yaml}}}\n";
  EXPECT_EQ(Run({"-c", config_file(), "--check-config"}), kExitBadConfig);
  EXPECT_THAT(err_.str(), AllOf(HasSubstr("backend.emulated.host_file: cannot read "),
                                HasSubstr("/nowhere/left.yaml: No such file or directory")));
  std::ofstream(config_file()) << "{host_id: left, backend: {emulated: {external: true}}}\n";
  EXPECT_EQ(Run({"-c", config_file(), "--check-config"}), kExitOk) << err_.str();
}

TEST_F(AgentMainTest, BindTakesWhatTheConfigurationNamesAndKeepsToItsWord) {
  const testing::SysfsTree tree;
  constexpr char kAddress[] = "0000:01:00.0";
  tree.AddVfio(kAddress, 7, "smmu3.0", "vfio0");
  std::filesystem::remove_all(tree.Device(kAddress) + "/vfio-dev");
  tree.Link(tree.Device(kAddress) + "/driver", "../../drivers/nouveau");
  std::filesystem::create_directories(tree.root() + "/bus/pci/drivers/vfio-pci");
  const std::string overriding = tree.Device(kAddress) + "/driver_override";
  tree.Write(overriding, "(null)\n");
  tree.Write(tree.root() + "/bus/pci/drivers_probe", "");
  const auto configure = [&](const std::string& rules) {
    std::ofstream(config_file()) << "host_id: left\nruntime_dir: " << folder_.path() << "/run\n"
                                 << "backend: {real: {sysfs_root: " << tree.root() << "}}\n"
                                 << "inventory: {rules: [" << rules << "]}\n";
  };
  configure("{vendor: 10de}");
  EXPECT_EQ(Run({"bind", kAddress, "-c", config_file()}), kExitFailed);
  EXPECT_THAT(err_.str(), AllOf(HasSubstr("PERMISSION_DENIED"), HasSubstr("inventory.rules")));
  configure("{vendor: 10de, assignable: true}");
  EXPECT_EQ(Run({"bind", "--dry-run", kAddress, "-c", config_file()}), kExitOk) << err_.str();
  EXPECT_EQ(out_.str(), "0000:01:00.0: nouveau -> vfio-pci (not done: --dry-run)\n");
  // These files do nothing, but one that is not there cannot be written.
  EXPECT_EQ(Run({"bind", kAddress, "-c", config_file()}), kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr("driver/unbind"));
  std::string left;
  std::getline(std::ifstream(overriding), left);
  EXPECT_EQ(left, "") << "the override is taken back";
  EXPECT_EQ(Run({"unbind", kAddress, "-c", config_file()}), kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr("nothing is remembered of it"));
  EXPECT_EQ(Run({"bind", "-c", config_file()}), kExitUsage) << "which?";
}

TEST_F(AgentMainTest, AnEmulatedHostHasNothingToBind) {
  EXPECT_EQ(Run({"bind", "0000:01:00.0", "-c", config_file()}), kExitFailed);
  EXPECT_THAT(err_.str(), AllOf(HasSubstr("UNSUPPORTED"), HasSubstr("emulated")));
}

TEST_F(AgentMainTest, TheHelpNamesTheCommands) {
  EXPECT_EQ(Run({"--help"}), kExitOk);
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("accept-store"), HasSubstr("bind"), HasSubstr("unbind"),
                                HasSubstr("failpoints")));
  EXPECT_EQ(Run({"accept-stroe"}), kExitUsage);
}

}  // namespace
}  // namespace berth
