// SPDX-License-Identifier: Apache-2.0
#include "agent/daemon/agent_daemon.h"

#include <gmock/gmock.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "agent/daemon/agent_config.h"
#include "agent/daemon/backend.h"
#include "berth/agent/v1/agent_local.grpc.pb.h"
#include "lib/base/status.h"
#include "lib/config/config.h"
#include "lib/emulator/argument.h"
#include "lib/emulator/emulator_client.h"
#include "lib/emulator/host_file.h"
#include "lib/emulator/host_tree.h"
#include "lib/emulator/server.h"
#include "lib/rpc/channel.h"
#include "lib/rpc/error.h"
#include "tests/agent/daemon/emulator_folder.h"
#include "tests/agent/grants/emulated_host.h"
#include "tests/agent/link/fake_controller.h"
#include "tests/testing/poll_until.h"

namespace berth {
namespace {

namespace fs = std::filesystem;
using agent::v1::AgentMessage;
using ::testing::AllOf;
using testing::FakeController;
using ::testing::HasSubstr;

using State = v1::Assignment;

// An agent in this process, with an emulator in this process, too, unless the test wants the
// program; and a controller on a UNIX socket.
class AgentDaemonTest : public ::testing::Test {
 protected:
  AgentDaemonTest() {
    absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kAbort);
    config_.set_host_id("left");
    config_.set_runtime_dir(folder_.path() + "/run");
    config_.set_state_dir(folder_.path() + "/state");
    config_.mutable_backend()->mutable_emulated()->set_dir(folder_.emulator_dir());
    config_.mutable_backend()->mutable_emulated()->set_external(true);
    config_.mutable_controller()->add_addresses("unix:" + ControllerSocket());
    config_.mutable_inventory()->mutable_interval()->set_nanos(10'000'000);
  }
  ~AgentDaemonTest() override {
    agent_.reset();
    controller_.reset();
    emulator_.reset();
  }

  [[nodiscard]] std::string ControllerSocket() const { return folder_.path() + "/controller.sock"; }
  void StartController() { controller_ = std::make_unique<FakeController>(ControllerSocket()); }
  FakeController& controller() { return *controller_; }
  void StopController() { controller_.reset(); }

  void StartEmulator() {
    const auto host = emulator::LoadHostFile(folder_.host_file());
    ASSERT_TRUE(host.ok()) << host.status();
    fs::create_directories(folder_.emulator_dir());
    emulator::Server::Options options;
    options.socket_path = folder_.emulator_dir() + "/emulator.sock";
    options.host = *host;
    ASSERT_TRUE(emulator::WriteHostTree(folder_.emulator_dir() + "/sys", *host).ok());
    auto server = emulator::Server::Start(std::move(options));
    ASSERT_TRUE(server.ok()) << server.status();
    emulator_ = *std::move(server);
  }
  void StopEmulator() { emulator_.reset(); }
  emulator::Snapshot Hardware() {
    // Before it serves a call the emulator sees to the closes that came before.
    emulator::EmulatorClient client(folder_.emulator_dir() + "/emulator.sock");
    EXPECT_FALSE(client.OpenDevice("none").ok());
    return emulator_->kernel().TakeSnapshot();
  }
  // The agent is to start the program itself.
  void UseEmulatorProgram() {
    auto* emulated = config_.mutable_backend()->mutable_emulated();
    emulated->set_external(false);
    emulated->set_program(testing::EmulatorFolder::Program());
    emulated->set_host_file(folder_.host_file());
  }

  absl::Status TryStart() {
    internal::v1::AgentConfig config = config_;
    BERTH_RETURN_IF_ERROR(FinishAgentConfig(folder_.path() + "/agent.yaml", "/none", &config));
    metrics_.push_back(std::make_unique<Metrics>());
    auto agent = AgentDaemon::Start({.config = config,
                                     .clock = &Clock::Real(),
                                     .log = &log_,
                                     .metrics = metrics_.back().get()});
    BERTH_RETURN_IF_ERROR(agent.status());
    agent_ = *std::move(agent);
    return absl::OkStatus();
  }
  void StartAgent() {
    const absl::Status status = TryStart();
    ASSERT_TRUE(status.ok()) << status;
  }
  void StopAgent() { agent_.reset(); }

  agent::v1::AgentStatus LocalStatus() {
    ChannelOptions options;
    options.address = "unix:" + folder_.path() + "/run/agent.sock";
    const auto stub = agent::v1::AgentLocal::NewStub(*MakeChannel(options));
    grpc::ClientContext context;
    agent::v1::AgentStatus status;
    const grpc::Status answer = stub->GetStatus(&context, {}, &status);
    EXPECT_TRUE(answer.ok()) << answer.error_message();
    return status;
  }

  // The agent's series of this name and labels, as its operator sees it.
  [[nodiscard]] bool Counts(const std::string& series, int value) const {
    return MetricsText().find("\n" + series + " " + std::to_string(value) + "\n") !=
           std::string::npos;
  }

  [[nodiscard]] std::string MetricsText() const { return metrics_.back()->Text(); }

  // It has no condition to wait for; the test's own time-out is the limit.
  void AwaitConnected() {
    testing::PollUntil([this] { return LocalStatus().connected(); });
  }

  // Whether an inventory of this kind, or a grant in this state, is in `message`.
  static bool SaysHealth(const AgentMessage& message, bool healthy) {
    return message.has_inventory() && message.inventory().conditions_size() == 1 &&
           message.inventory().conditions(0).status() == healthy;
  }
  static bool SaysGrant(const AgentMessage& message, State::Observed observed) {
    const auto& grants = message.grants().grants();
    return std::any_of(grants.begin(), grants.end(), [observed](const auto& status) {
      return status.assignment_uid() == "u1" && status.observed() == observed;
    });
  }
  agent::v1::Inventory AwaitHealth(bool healthy) {
    return controller()
        .Await([=](const AgentMessage& message) { return SaysHealth(message, healthy); })
        .inventory();
  }
  void AwaitGrant(State::Observed observed) {
    controller().Await([=](const AgentMessage& message) { return SaysGrant(message, observed); });
  }
  // The host healthy and the grant prepared, in either order: both find out by themselves.
  void AwaitRecovery() {
    bool healthy = false;
    bool prepared = false;
    controller().Await([&](const AgentMessage& message) {
      healthy = healthy || SaysHealth(message, true);
      prepared = prepared || SaysGrant(message, State::PREPARED);
      return healthy && prepared;
    });
  }
  // "u1" with the first GPU.
  static agent::v1::DesiredGrant Wanted() {
    agent::v1::DesiredGrant grant = testing::Desired("u1", {});
    v1::UnitPlacement* unit = grant.mutable_units(0);
    unit->set_unit("smmu3.0");
    unit->add_devices()->set_device("0000-01-00-0-10de-2342-0");
    return grant;
  }
  static agent::v1::Welcome WelcomeWanting(const std::vector<agent::v1::DesiredGrant>& grants) {
    agent::v1::Welcome welcome = FakeController::DefaultWelcome();
    *welcome.mutable_desired() = {grants.begin(), grants.end()};
    return welcome;
  }

  testing::EmulatorFolder folder_;
  internal::v1::AgentConfig config_;
  std::ostringstream log_text_;

 private:
  Logger log_{"berth-agent", LogLevel::kInfo, Logger::Format::kPlain, &log_text_};
  std::vector<std::unique_ptr<Metrics>> metrics_;  // of each start
  std::unique_ptr<FakeController> controller_;
  std::unique_ptr<emulator::Server> emulator_;
  std::unique_ptr<AgentDaemon> agent_;
};

TEST_F(AgentDaemonTest, TellsTheControllerWhoItIsAndWhatItHas) {
  StartEmulator();
  StartController();
  StartAgent();
  const agent::v1::Hello hello = controller().AwaitHello();
  EXPECT_EQ(hello.host_id(), "left");
  EXPECT_EQ(hello.host_uid().size(), 36U);
  EXPECT_EQ(hello.incarnation(), 1);
  EXPECT_EQ(hello.protocol_version(), 1);
  EXPECT_NE(hello.agent_version(), "");
  EXPECT_FALSE(hello.has_highest_epoch());
  ASSERT_EQ(hello.inventory().devices_size(), 2);
  EXPECT_TRUE(hello.inventory().devices(0).assignable())
      << hello.inventory().devices(0).unassignable_reason();
  EXPECT_EQ(hello.inventory().attach_endpoint(), folder_.path() + "/run/vmm.sock");
  EXPECT_EQ(hello.grants_size(), 0);

  AwaitConnected();
  StopAgent();
  StartAgent();
  const agent::v1::Hello again = controller().AwaitHello();
  EXPECT_EQ(again.host_uid(), hello.host_uid());
  EXPECT_EQ(again.incarnation(), 2);
  EXPECT_EQ(again.highest_epoch().store_uid(), "store") << "what it took, it remembers";
}

TEST_F(AgentDaemonTest, BuildsWhatIsWantedAndTearsItDown) {
  StartEmulator();
  StartController();
  controller().Greet(WelcomeWanting({Wanted()}));
  StartAgent();
  AwaitGrant(State::PREPARED);
  EXPECT_EQ(Hardware().bound_devices, 1);

  agent::v1::ControllerMessage release;
  *release.mutable_delta()->mutable_epoch() = FakeController::DefaultWelcome().epoch();
  agent::v1::DesiredGrant* grant = release.mutable_delta()->add_upserts();
  *grant = Wanted();
  grant->set_intent(State::RELEASING);
  controller().Send(release);
  AwaitGrant(State::GONE);
  EXPECT_EQ(Hardware().bound_devices, 0);
}

TEST_F(AgentDaemonTest, AnOlderControllerCommandsNothing) {
  StartEmulator();
  StartController();
  agent::v1::Welcome welcome = FakeController::DefaultWelcome();
  welcome.mutable_epoch()->set_term(5);
  controller().Greet(welcome);
  StartAgent();
  controller().AwaitHello();
  AwaitConnected();
  agent::v1::ControllerMessage command;
  command.mutable_delta()->mutable_epoch()->set_store_uid("store");
  command.mutable_delta()->mutable_epoch()->set_term(4);
  *command.mutable_delta()->add_upserts() = Wanted();
  // It is not greeted again, so that the error stays.
  controller().BeSilent();
  controller().Send(command);
  EXPECT_EQ(controller().AwaitHello().grants_size(), 0);
  EXPECT_THAT(LocalStatus().last_error(), HasSubstr("older than the one seen last"));
  EXPECT_EQ(LocalStatus().epoch().term(), 5);
  EXPECT_TRUE(Counts("berth_agent_fenced_total{what=\"epoch\"}", 1)) << MetricsText();
  EXPECT_TRUE(Counts("berth_agent_fenced_total{what=\"store\"}", 0)) << MetricsText();
}

TEST_F(AgentDaemonTest, CountsWhatItRefusesAndShowsWhatItHas) {
  StartEmulator();
  StartController();
  agent::v1::DesiredGrant wanted = Wanted();
  wanted.set_generation(3);
  controller().Greet(WelcomeWanting({wanted}));
  StartAgent();
  AwaitGrant(State::PREPARED);
  EXPECT_TRUE(Counts("berth_agent_grants{state=\"PREPARED\"}", 1)) << MetricsText();
  EXPECT_TRUE(Counts("berth_agent_grants{state=\"PREPARING\"}", 0)) << MetricsText();
  EXPECT_TRUE(Counts("berth_agent_sessions_total", 1)) << MetricsText();
  EXPECT_TRUE(Counts("berth_agent_fenced_total{what=\"generation\"}", 0)) << MetricsText();

  agent::v1::ControllerMessage older;
  *older.mutable_delta()->mutable_epoch() = FakeController::DefaultWelcome().epoch();
  wanted.set_generation(2);
  *older.mutable_delta()->add_upserts() = wanted;
  controller().Send(older);
  testing::PollUntil([this] { return Counts("berth_agent_fenced_total{what=\"generation\"}", 1); });

  // Another store, of which nobody has said that it is to take over.
  agent::v1::Welcome other = FakeController::DefaultWelcome();
  other.mutable_epoch()->set_store_uid("another");
  controller().Greet(other);
  controller().EndSession(Error(Reason::kUnavailable, "dial again"));
  testing::PollUntil([this] {
    return MetricsText().find("berth_agent_fenced_total{what=\"store\"} 0") == std::string::npos;
  });
  EXPECT_TRUE(Counts("berth_agent_sessions_total", 1)) << MetricsText();
}

TEST_F(AgentDaemonTest, StatusIsShownToWhoStandsAtTheHost) {
  StartEmulator();
  StartAgent();
  const agent::v1::AgentStatus status = LocalStatus();
  EXPECT_EQ(status.host_id(), "left");
  EXPECT_EQ(status.incarnation(), 1);
  EXPECT_EQ(status.backend(), "emulated");
  EXPECT_TRUE(status.kernel_healthy());
  EXPECT_FALSE(status.connected()) << "there is no controller";
  EXPECT_EQ(status.attach_endpoint(), folder_.path() + "/run/vmm.sock");
}

TEST_F(AgentDaemonTest, AHostWhoseKernelIsGoneIsBrokenUntilItIsBack) {
  StartEmulator();
  StartController();
  controller().Greet(WelcomeWanting({Wanted()}));
  StartAgent();
  AwaitGrant(State::PREPARED);
  StopEmulator();
  const agent::v1::Inventory broken = AwaitHealth(false);
  EXPECT_EQ(broken.conditions(0).reason(), "KERNEL_GONE");
  EXPECT_EQ(broken.devices_size(), 2) << "what was known stays";
  EXPECT_FALSE(LocalStatus().kernel_healthy());
  StartEmulator();
  AwaitRecovery();
  EXPECT_EQ(Hardware().bound_devices, 1) << "prepared anew, in the new kernel";
}

TEST_F(AgentDaemonTest, StartsOnABrokenHostAndRecovers) {
  StartController();
  StartAgent();
  const agent::v1::Hello hello = controller().AwaitHello();
  ASSERT_EQ(hello.inventory().conditions_size(), 1);
  EXPECT_FALSE(hello.inventory().conditions(0).status());
  EXPECT_EQ(hello.inventory().devices_size(), 0);
  StartEmulator();
  EXPECT_EQ(AwaitHealth(true).devices_size(), 2);
}

TEST_F(AgentDaemonTest, AnEmulatorOfItsOwnThatDiesIsReportedBeforeItIsReplaced) {
  UseEmulatorProgram();
  StartController();
  controller().Greet(WelcomeWanting({Wanted()}));
  StartAgent();
  EXPECT_EQ(controller().AwaitHello().inventory().devices_size(), 2);
  AwaitGrant(State::PREPARED);
  const pid_t pid = folder_.Find();
  folder_.Kill(pid);
  EXPECT_EQ(AwaitHealth(false).conditions(0).reason(), "KERNEL_GONE");
  AwaitRecovery();
  EXPECT_NE(folder_.Find(), pid);
}

TEST_F(AgentDaemonTest, AHostFileThatIsWrongMakesTheHostBrokenNotTheAgent) {
  UseEmulatorProgram();
  const std::string file = folder_.path() + "/later.yaml";
  config_.mutable_backend()->mutable_emulated()->set_host_file(file);
  StartController();
  StartAgent();
  const v1::Condition health = controller().AwaitHello().inventory().conditions(0);
  EXPECT_FALSE(health.status());
  EXPECT_EQ(health.reason(), "KERNEL_GONE");
  EXPECT_THAT(health.message(), AllOf(HasSubstr("it exited with code 3"),
                                      HasSubstr("/later.yaml: No such file or directory")));
  EXPECT_EQ(LocalStatus().kernel_healthy(), false);
  std::filesystem::rename(folder_.host_file(), file);
  EXPECT_EQ(AwaitHealth(true).devices_size(), 2) << "the agent goes on trying";
  StopAgent();
  EXPECT_THAT(log_text_.str(), HasSubstr("it exited with code 3"));
}

TEST_F(AgentDaemonTest, MemoryThatCannotBePinnedIsNotPromised) {
  rlimit before = {};
  ASSERT_EQ(::getrlimit(RLIMIT_MEMLOCK, &before), 0);
  rlimit low = before;
  low.rlim_cur = 4096;
  ASSERT_EQ(::setrlimit(RLIMIT_MEMLOCK, &low), 0);
  internal::v1::BackendConfig real;
  real.mutable_real();
  EXPECT_EQ(Backend(real).lockable_memory(),
            emulator::HasCapability(CAP_IPC_LOCK) ? UINT64_MAX : 4096);
  EXPECT_EQ(Backend(config_.backend()).lockable_memory(), UINT64_MAX) << "nothing is pinned there";
  EXPECT_EQ(::setrlimit(RLIMIT_MEMLOCK, &before), 0);
}

TEST_F(AgentDaemonTest, ASecondAgentOnTheSameFoldersDoesNotStart) {
  StartEmulator();
  StartAgent();
  EXPECT_EQ(ReasonOf(TryStart()), Reason::kStateConflict) << "the state folder is taken";
  config_.set_state_dir(folder_.path() + "/other-state");
  EXPECT_FALSE(TryStart().ok()) << "the sockets are taken";
  EXPECT_EQ(LocalStatus().incarnation(), 1) << "and the first one is well";
}

TEST_F(AgentDaemonTest, StartingAndStoppingLeaksNothing) {
  StartEmulator();
  StartController();
  controller().Greet(WelcomeWanting({Wanted()}));
  const auto cycle = [this] {
    StartAgent();
    AwaitGrant(State::PREPARED);
    StopAgent();
  };
  // What gRPC sets up once in a process is set up then.
  cycle();
  cycle();
  const auto settled = [this] {
    // Connections of an agent that stopped are closed a moment later, by gRPC's own threads.
    return Hardware().contexts == 0 && Hardware().open_cdevs == 0;
  };
  testing::PollUntil(settled);
  const size_t before = testing::OpenFds();
  for (int i = 0; i < 5; ++i) cycle();
  testing::PollUntil([&] { return settled() && testing::OpenFds() <= before; });
  EXPECT_EQ(Hardware().bound_devices, 0);
}

}  // namespace
}  // namespace berth
