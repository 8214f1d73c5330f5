// SPDX-License-Identifier: Apache-2.0
//
// The program as a process: its environment, streams and signals.
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/unique_fd.h"
#include "tests/cli/cli_test_base.h"

namespace berth::cli {
namespace {

class MainTest : public CliTest {
 protected:
  // Starts berthctl with its stdout in out_.
  pid_t Start(const std::vector<std::string>& args, const std::vector<std::string>& variables) {
    int ends[2] = {-1, -1};
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    out_ = UniqueFd(ends[0]);
    const UniqueFd write_end(ends[1]);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, write_end.get(), STDOUT_FILENO);
    std::vector<char*> argv = {const_cast<char*>("berthctl")};
    for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
    argv.push_back(nullptr);
    std::vector<char*> envp;
    for (const std::string& entry : variables) envp.push_back(const_cast<char*>(entry.c_str()));
    envp.push_back(nullptr);
    pid_t pid = -1;
    EXPECT_EQ(::posix_spawn(&pid, BERTHCTL, &actions, nullptr, argv.data(), envp.data()), 0);
    ::posix_spawn_file_actions_destroy(&actions);
    return pid;
  }

  // Blocks until `text` has come or the program has closed its end.
  std::string ReadUntil(std::string_view text) {
    std::string all;
    char byte = 0;
    while (all.find(text) == std::string::npos && ::read(out_.get(), &byte, 1) == 1) all += byte;
    return all;
  }

  static int ExitCodeOfProcess(pid_t pid) {
    int status = 0;
    EXPECT_EQ(::waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  UniqueFd out_;
};

TEST_F(MainTest, TakesTheServerFromTheEnvironment) {
  server_.Put(MakeAssignment("web"));
  const pid_t pid =
      Start({"get", "asg", "-o", "name"}, {"BERTH_SERVER=" + server_.address(), "HOME=/nowhere"});
  EXPECT_EQ(ReadUntil("\n"), "assignments/web\n");
  EXPECT_EQ(ExitCodeOfProcess(pid), kExitOk);
}

TEST_F(MainTest, AnInterruptEndsAWatchWith130) {
  server_.Expect({.messages = {PutEvent(MakeAssignment("web"), "s/1")}, .end = {}});
  const pid_t pid = Start({"watch", "asg", "-o", "name", "--server", server_.address()}, {});
  EXPECT_EQ(ReadUntil("\n"), "assignments/web\n");
  EXPECT_EQ(::kill(pid, SIGINT), 0);
  EXPECT_EQ(ExitCodeOfProcess(pid), kExitInterrupted);
}

}  // namespace
}  // namespace berth::cli
