// SPDX-License-Identifier: Apache-2.0
#include "agent/daemon/emulator_process.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "lib/base/status.h"
#include "lib/emulator/emulator_client.h"
#include "lib/emulator/server.h"
#include "tests/agent/daemon/emulator_folder.h"
#include "tests/emulator/emulator_fixture.h"

namespace berth {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

class EmulatorProcessTest : public ::testing::Test {
 protected:
  // As the agent's configuration would have it.
  EmulatorProcess::Options Options() {
    EmulatorProcess::Options options;
    options.program = testing::EmulatorFolder::Program();
    options.dir = folder_.emulator_dir();
    options.host_file = folder_.host_file();
    return options;
  }
  bool Answers() {
    return emulator::EmulatorClient(folder_.emulator_dir() + "/emulator.sock").OpenContext().ok();
  }
  static std::string WhyNot(EmulatorProcess& process) {
    const absl::Status status = process.EnsureRunning();
    EXPECT_EQ(ReasonOf(status), Reason::kKernelGone) << status;
    return std::string(status.message());
  }

  testing::EmulatorFolder folder_;
};

TEST_F(EmulatorProcessTest, StartsOneWhereNoneListens) {
  EmulatorProcess process(Options());
  EXPECT_FALSE(Answers());
  ASSERT_TRUE(process.EnsureRunning().ok());
  EXPECT_TRUE(Answers());
  EXPECT_NE(folder_.Find(), ::getpid());
  EXPECT_TRUE(fs::exists(folder_.emulator_dir() + "/sys/bus/pci/devices/0000:01:00.1"));
}

TEST_F(EmulatorProcessTest, LeavesTheOneThatRunsAlone) {
  EmulatorProcess process(Options());
  ASSERT_TRUE(process.EnsureRunning().ok());
  const pid_t pid = folder_.Find();
  ASSERT_TRUE(process.EnsureRunning().ok());
  EXPECT_EQ(folder_.Find(), pid);
}

TEST_F(EmulatorProcessTest, ItOutlivesItsAgentAndTheNextOneFindsIt) {
  auto first = std::make_unique<EmulatorProcess>(Options());
  ASSERT_TRUE(first->EnsureRunning().ok());
  const pid_t pid = folder_.Find();
  EXPECT_EQ(::getsid(pid), pid) << "a session of its own: the agent's terminal is not its";
  first.reset();
  EXPECT_TRUE(Answers());
  EmulatorProcess second(Options());
  ASSERT_TRUE(second.EnsureRunning().ok());
  EXPECT_EQ(folder_.Find(), pid);
}

TEST_F(EmulatorProcessTest, StartsAnotherAfterOneWasKilled) {
  EmulatorProcess process(Options());
  ASSERT_TRUE(process.EnsureRunning().ok());
  for (int i = 0; i < 2; ++i) {
    const pid_t pid = folder_.Find();
    folder_.Kill(pid);
    EXPECT_FALSE(Answers());
    ASSERT_TRUE(process.EnsureRunning().ok());
    EXPECT_TRUE(Answers());
    EXPECT_NE(folder_.Find(), pid);
    EXPECT_NE(::kill(pid, 0), 0) << "the dead one was reaped";
  }
}

TEST_F(EmulatorProcessTest, SaysThatTheHostFileIsBadAndTriesAgain) {
  fs::rename(folder_.host_file(), folder_.path() + "/good.yaml");
  std::ofstream(folder_.host_file()) << "units: []\n";
  EmulatorProcess process(Options());
  EXPECT_THAT(WhyNot(process),
              AllOf(HasSubstr("did not start: it exited with code 3: "), HasSubstr("units")));
  fs::remove(folder_.host_file());
  EXPECT_THAT(WhyNot(process),
              AllOf(HasSubstr("it exited with code 3: "), HasSubstr("No such file or directory")));
  fs::rename(folder_.path() + "/good.yaml", folder_.host_file());
  EXPECT_TRUE(process.EnsureRunning().ok());
}

TEST_F(EmulatorProcessTest, SaysWhatWasInTheWay) {
  fs::create_directories(folder_.emulator_dir());
  fs::create_directories(folder_.emulator_dir() + "/control.sock");
  EmulatorProcess process(Options());
  EXPECT_THAT(WhyNot(process),
              AllOf(HasSubstr("it exited with code 1: "), HasSubstr("control.sock")));
  fs::remove(folder_.emulator_dir() + "/control.sock");
  EXPECT_TRUE(process.EnsureRunning().ok());
}

TEST_F(EmulatorProcessTest, SaysThatTheProgramIsMissing) {
  EmulatorProcess::Options options = Options();
  options.program = folder_.path() + "/nothing";
  EmulatorProcess process(options);
  EXPECT_THAT(WhyNot(process), HasSubstr("/nothing: No such file or directory"));
}

TEST_F(EmulatorProcessTest, SaysThatItWasKilled) {
  EmulatorProcess::Options options = Options();
  options.program = folder_.path() + "/suicide";
  std::ofstream(options.program) << "#!/bin/sh\nkill -9 $$\n";
  ::chmod(options.program.c_str(), 0700);
  EmulatorProcess process(options);
  EXPECT_THAT(WhyNot(process), HasSubstr("it was killed by signal 9; its log says why"));
}

TEST_F(EmulatorProcessTest, DoesNotWaitForEverForOneThatNeverListens) {
  EmulatorProcess::Options options = Options();
  options.program = folder_.path() + "/lazy";
  const std::string lock = folder_.path() + "/lock";
  const UniqueFd held(::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(::flock(held.get(), LOCK_EX), 0);
  // Waits as long as this test does, however that ends.
  std::ofstream(options.program) << "#!/bin/sh\nexec flock \"" << lock << "\" true\n";
  ::chmod(options.program.c_str(), 0700);
  options.start_timeout = absl::Milliseconds(20);
  EmulatorProcess process(options);
  EXPECT_THAT(WhyNot(process), HasSubstr("does not listen on"));
  EXPECT_THAT(WhyNot(process), HasSubstr("after 20ms")) << "and it does not start a second one";
}

TEST_F(EmulatorProcessTest, AnExternalOneIsFoundButNeverStarted) {
  EmulatorProcess::Options options = Options();
  options.host_file = "";
  EmulatorProcess process(options);
  EXPECT_THAT(WhyNot(process), HasSubstr("no emulator listens on " + process.socket_path()));
  EXPECT_FALSE(Answers());
  fs::create_directories(folder_.emulator_dir());
  emulator::Server::Options server;
  server.socket_path = process.socket_path();
  server.host = emulator::SmallHost();
  const auto external = emulator::Server::Start(std::move(server));
  ASSERT_TRUE(external.ok()) << external.status();
  EXPECT_TRUE(process.EnsureRunning().ok());
}

}  // namespace
}  // namespace berth
