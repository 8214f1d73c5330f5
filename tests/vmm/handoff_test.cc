// SPDX-License-Identifier: Apache-2.0
//
// berth-handoff between an agent and a QEMU that are played by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "lib/base/status.h"
#include "lib/vmm/berth_vmm_wire.h"
#include "lib/vmm/handoff/exec.h"
#include "lib/vmm/handoff/holder.h"
#include "lib/vmm/handoff/options.h"
#include "lib/vmm/handoff/run.h"
#include "lib/wire/peer.h"
#include "tests/vmm/fake_qemu.h"
#include "tests/vmm/scripted_agent.h"

namespace berth::handoff {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

ino_t InodeOf(int fd) {
  struct stat info = {};
  EXPECT_EQ(::fstat(fd, &info), 0);
  return info.st_ino;
}

class HandoffTest : public ::testing::Test {
 protected:
  HandoffTest() {
    std::string name = ::testing::TempDir() + "berth-XXXXXX";
    folder_ = ::mkdtemp(name.data());
    for (int i = 0; i < 3; ++i) files_.emplace_back(::memfd_create("handed off", MFD_CLOEXEC));
    options_.socket = folder_ + "/vmm.sock";
    options_.assignment = "uid";
    options_.token = "token";
  }
  ~HandoffTest() override {
    agent_.reset();
    std::filesystem::remove_all(folder_);
  }

  [[nodiscard]] std::string qmp() const { return folder_ + "/qmp.sock"; }
  void Play(ScriptedAgent::Script script) {
    agent_ = std::make_unique<ScriptedAgent>(options_.socket, std::vector{std::move(script)});
  }
  // Two devices; `then` is the rest of the conversation.
  void PlayHandOff(ScriptedAgent::Script then) {
    Play([this, then = std::move(then)](AgentConnection& agent) {
      agent.WelcomeHandOff(2);
      agent.GiveHandOff({files_[0].get(), files_[1].get(), files_[2].get()});
      then(agent);
    });
  }
  // The other side ends without a confirmation.
  static void ExpectEnd(AgentConnection& agent) { EXPECT_TRUE(agent.Receive().bytes.empty()); }
  int RunIt() { return handoff::Run(options_, err_); }

  std::string folder_;
  std::vector<UniqueFd> files_;
  std::unique_ptr<ScriptedAgent> agent_;
  Options options_;
  std::ostringstream err_;
};

TEST_F(HandoffTest, GivesEveryFdToQemuAndConfirmsForItsProcess) {
  pid_t confirmed_for = 0;
  PlayHandOff([&](AgentConnection& agent) {
    const Received call = agent.Receive();
    EXPECT_EQ(call.header().type, BERTH_VMM_CONFIRM_HAND_OFF);
    ASSERT_EQ(call.fds.size(), 1u);
    confirmed_for = wire::ReadPidfd(call.fds[0].get())->pid;
    agent.Reply(call, berth_vmm_empty_reply{});
  });
  FakeQemu qemu(qmp());
  options_.qmp = qmp();
  options_.properties = {*ParseProperty("1:bus=pcie.1"), *ParseProperty("x-no-mmap:=true")};
  EXPECT_EQ(RunIt(), 0) << err_.str();
  qemu.Join();
  agent_.reset();
  EXPECT_EQ(confirmed_for, ::getpid());
  EXPECT_THAT(
      qemu.commands(),
      ElementsAre(
          R"(getfd {"fdname":"berth-iommufd"})", R"(getfd {"fdname":"berth-0"})",
          R"(getfd {"fdname":"berth-1"})",
          ::testing::AllOf(HasSubstr("object-add"), HasSubstr(R"("qom-type":"iommufd")"),
                           HasSubstr(R"("id":"berth")"), HasSubstr(R"("fd":"berth-iommufd")")),
          ::testing::AllOf(HasSubstr(R"("driver":"vfio-pci")"), HasSubstr(R"("id":"berth-0")"),
                           HasSubstr(R"("iommufd":"berth")"), HasSubstr(R"("fd":"berth-0")"),
                           HasSubstr(R"("x-no-mmap":true)"), ::testing::Not(HasSubstr("bus"))),
          ::testing::AllOf(HasSubstr(R"("fd":"berth-1")"), HasSubstr(R"("bus":"pcie.1")"))));
  EXPECT_EQ(InodeOf(qemu.fds().at("berth-iommufd").get()), InodeOf(files_[0].get()));
  EXPECT_EQ(InodeOf(qemu.fds().at("berth-0").get()), InodeOf(files_[1].get()));
  EXPECT_EQ(InodeOf(qemu.fds().at("berth-1").get()), InodeOf(files_[2].get()));
}

TEST_F(HandoffTest, TakesEverythingBackWhenQemuRefusesADevice) {
  PlayHandOff(ExpectEnd);
  FakeQemu qemu(qmp(), "device_add");
  options_.qmp = qmp();
  EXPECT_EQ(RunIt(), static_cast<int>(ExitCode::kQemu));
  EXPECT_THAT(err_.str(), HasSubstr("QEMU refuses device_add: no device_add today"));
  qemu.Join();
  EXPECT_THAT(
      std::vector(qemu.commands().begin() + 5, qemu.commands().end()),
      ElementsAre(R"(object-del {"id":"berth"})", R"(closefd {"fdname":"berth-1"})",
                  R"(closefd {"fdname":"berth-0"})", R"(closefd {"fdname":"berth-iommufd"})"));
}

TEST_F(HandoffTest, TellsTheAgentOfNoProcessThatHasNotTheDevices) {
  PlayHandOff(ExpectEnd);
  FakeQemu qemu(qmp());
  // A child that has closed them, as any other process has.
  const pid_t other = ::fork();
  if (other == 0) {
    ::close_range(3, ~0U, 0);
    ::pause();
    ::_exit(0);
  }
  options_.qmp = qmp();
  options_.pid = other;
  // Until the child has closed its copies it looks as if it had them.
  while (CheckHolds(Holder{.pid = other, .pidfd = {}}, std::vector{files_[1].get()}).ok()) {
  }
  EXPECT_EQ(RunIt(), static_cast<int>(ExitCode::kQemu));
  EXPECT_THAT(err_.str(), HasSubstr("does not have the devices"));
  ::kill(other, SIGKILL);
  ::waitpid(other, nullptr, 0);
}

TEST_F(HandoffTest, AttachesOnlyWhenQemuIsThere) {
  options_.qmp = qmp();
  EXPECT_EQ(RunIt(), static_cast<int>(ExitCode::kQemu));
  EXPECT_THAT(err_.str(), HasSubstr("UNAVAILABLE"));
}

TEST_F(HandoffTest, SaysWhyTheAgentRefuses) {
  Play([](AgentConnection& agent) {
    agent.ReplyError(agent.Receive(), BERTH_VMM_REASON_STATE_CONFLICT, 0, "it is BROKERED");
  });
  options_.command = {"true"};
  EXPECT_EQ(RunIt(), static_cast<int>(ExitCode::kRefused));
  EXPECT_THAT(err_.str(), HasSubstr("it is BROKERED (STATE_CONFLICT)"));
}

// What a child that has become the command writes.
TEST_F(HandoffTest, BecomesTheCommandWithTheFdsInherited) {
  pid_t confirmed = 0;
  PlayHandOff([&](AgentConnection& agent) {
    const Received call = agent.Receive();
    EXPECT_TRUE(call.fds.empty());
    confirmed = 1;
    agent.Reply(call, berth_vmm_empty_reply{});
  });
  const std::string out = folder_ + "/out";
  options_.command = {"sh",
                      "-c",
                      "{ echo $$ $1 $2; readlink /proc/$$/fd/$BERTH_IOMMUFD /proc/$$/fd/$3; echo "
                      "$BERTH_DEVICES $BERTH_DEVICE_1_ADDRESS $BERTH_DEVICE_0_ID; } > " +
                          out,
                      "sh",
                      "{address:1}",
                      R"({"x":{}})",
                      "{device:0}"};
  const pid_t child = ::fork();
  if (child == 0) ::_exit(RunIt());
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  agent_.reset();
  EXPECT_EQ(confirmed, 1);
  std::ifstream in(out);
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  EXPECT_EQ(text, std::to_string(child) +
                      " 0000:01:00.0 {\"x\":{}}\n/memfd:handed off (deleted)\n"
                      "/memfd:handed off (deleted)\n2 0000:01:00.0 gpu0\n");
}

TEST_F(HandoffTest, FailsWhenTheCommandCannotBeRun) {
  PlayHandOff(
      [](AgentConnection& agent) { agent.Reply(agent.Receive(), berth_vmm_empty_reply{}); });
  options_.command = {"/no/such/command"};
  EXPECT_EQ(RunIt(), static_cast<int>(ExitCode::kSystem));
}

TEST_F(HandoffTest, RefusesToNameADeviceThatIsNotThere) {
  PlayHandOff(ExpectEnd);
  options_.command = {"true", "fd={device:2}"};
  EXPECT_EQ(RunIt(), static_cast<int>(ExitCode::kUsage));
  EXPECT_THAT(err_.str(), HasSubstr("{device:2}"));
}

std::optional<Options> Parsed(std::vector<std::string> args) {
  args.insert(args.begin(), {"--socket", "s", "--assignment", "a", "--token", "t"});
  Options options;
  int status = 0;
  return ParseOptions(args, &options, &status) ? std::optional(options) : std::nullopt;
}

TEST(HandoffOptionsTest, WantEitherACommandOrQemu) {
  const auto command = Parsed({"--", "qemu", "--", "-x", "--socket"});
  ASSERT_TRUE(command.has_value());
  EXPECT_THAT(command->command, ElementsAre("qemu", "--", "-x", "--socket"));
  const auto qmp = Parsed({"--qmp", "q", "--pid", "7", "--property", "0:addr=05.0"});
  ASSERT_TRUE(qmp.has_value());
  EXPECT_EQ(qmp->pid, 7);
  EXPECT_EQ(qmp->properties.at(0).value.string_value(), "05.0");
  EXPECT_EQ(qmp->properties.at(0).device, 0u);
  EXPECT_FALSE(Parsed({}).has_value());
  EXPECT_FALSE(Parsed({"--qmp", "q", "--", "qemu"}).has_value());
  EXPECT_FALSE(Parsed({"--pid", "7", "--", "qemu"}).has_value());
  EXPECT_FALSE(Parsed({"--qmp", "q", "--property", "bus"}).has_value());
  EXPECT_FALSE(Parsed({"--qmp", "q", "--property", "x:=tru"}).has_value());
  EXPECT_FALSE(Parsed({"--qmp", "q", "--property", "y:bus=x"}).has_value());
}

}  // namespace
}  // namespace berth::handoff
