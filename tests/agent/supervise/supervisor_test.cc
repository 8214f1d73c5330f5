// SPDX-License-Identifier: Apache-2.0
#include "agent/supervise/supervisor.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "lib/base/status.h"
#include "lib/daemon/daemon.h"
#include "lib/daemon/fd_store.h"
#include "tests/testing/poll_until.h"

namespace berth {
namespace {

class PushedSignals : public SignalSource {
 public:
  void Push(Signal signal) {
    absl::MutexLock lock(&mu_);
    signals_.push_back(signal);
    ::eventfd_write(fd_.get(), 1);
  }
  std::optional<Signal> Wait(absl::Duration) override {
    absl::MutexLock lock(&mu_);
    eventfd_t one = 0;
    if (::eventfd_read(fd_.get(), &one) != 0) return std::nullopt;
    const Signal next = signals_.front();
    signals_.pop_front();
    return next;
  }
  [[nodiscard]] int poll_fd() const override { return fd_.get(); }

 private:
  const UniqueFd fd_{::eventfd(0, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC)};
  absl::Mutex mu_;
  std::deque<Signal> signals_;
};

class SupervisorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/berth-supervisor-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // Scripts find the file in which they leave their traces as $0.
  [[nodiscard]] std::string file() const { return folder_ + "/lives"; }
  [[nodiscard]] std::string Written() const {
    std::ostringstream text;
    text << std::ifstream(file()).rdbuf();
    return text.str();
  }
  absl::StatusOr<int> Run(const std::string& script, absl::Duration pause = absl::Milliseconds(1)) {
    return Supervisor::Run({.command = {"/bin/sh", "-c", script, file()},
                            .once = once_,
                            .socket = socket(),
                            .lock = lock(),
                            .restart_min = pause,
                            .restart_max = pause,
                            .log = &log_,
                            .signals = &signals_});
  }

  [[nodiscard]] std::string socket() const { return folder_ + "/notify"; }
  [[nodiscard]] std::string lock() const { return folder_ + "/lock"; }

  std::vector<std::string> once_;
  std::ostringstream err_;
  Logger log_{"test", LogLevel::kInfo, Logger::Format::kJournal, &err_};
  std::string folder_;
  PushedSignals signals_;
};

void ExpectCode(const absl::StatusOr<int>& result, int code) {
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(*result, code);
}

TEST_F(SupervisorTest, StartsAgainWhatDies) {
  ExpectCode(Run("echo x >> $0; case $(wc -l < $0) in 1) exit 1;; 2) kill -9 $$;; esac"), kExitOk);
  EXPECT_EQ(Written(), "x\nx\nx\n");
}

TEST_F(SupervisorTest, WhatARestartDoesNotMendEndsIt) {
  ExpectCode(Run("echo x >> $0; exit 3"), kExitBadConfig);
  ExpectCode(Run("echo x >> $0; exit 2"), kExitUsage);
  EXPECT_EQ(Written(), "x\nx\n");
}

TEST_F(SupervisorTest, PassesSignalsOnAndEndsAsItsChild) {
  absl::StatusOr<int> result;
  std::thread thread([&] {
    result =
        Run("trap 'exit 7' TERM; trap 'echo reloaded >> $0' HUP; echo up >> $0;"
            "while :; do sleep 0.01; done");
  });
  testing::PollUntil([&] { return Written() == "up\n"; });
  signals_.Push(Signal::kReload);
  testing::PollUntil([&] { return Written() == "up\nreloaded\n"; });
  signals_.Push(Signal::kStop);
  thread.join();
  ExpectCode(result, 7);
}

TEST_F(SupervisorTest, AChildThatASignalEndsHasTheCodeThatAShellWouldGive) {
  absl::StatusOr<int> result;
  std::thread thread([&] { result = Run("echo up >> $0; while :; do sleep 0.01; done"); });
  testing::PollUntil([&] { return Written() == "up\n"; });
  signals_.Push(Signal::kStop);
  thread.join();
  ExpectCode(result, 128 + SIGTERM);
}

TEST_F(SupervisorTest, CanBeStoppedWhileItWaits) {
  absl::StatusOr<int> result;
  std::thread thread([&] { result = Run("echo x >> $0; exit 1", absl::Hours(1)); });
  testing::PollUntil([&] { return Written() == "x\n"; });
  signals_.Push(Signal::kStop);
  thread.join();
  ExpectCode(result, 1);
  EXPECT_EQ(Written(), "x\n");
}

TEST_F(SupervisorTest, TheChildFindsTheStoreAndNoOtherManager) {
  ::setenv("WATCHDOG_USEC", "1000000", 1);
  ::setenv("LISTEN_FDNAMES", "foreign", 1);
  const absl::StatusOr<int> result =
      Run("[ \"$LISTEN_PID\" = $$ ] && [ \"$LISTEN_FDS\" = 0 ] && [ -z \"$LISTEN_FDNAMES\" ] &&"
          "[ -S \"$NOTIFY_SOCKET\" ] && [ -z \"$WATCHDOG_USEC\" ] || exit 3");
  ::unsetenv("WATCHDOG_USEC");
  ::unsetenv("LISTEN_FDNAMES");
  ExpectCode(result, kExitOk);
}

TEST_F(SupervisorTest, SomeArgumentsAreOfTheFirstChildAlone) {
  once_ = {"armed"};
  ExpectCode(Run("echo \"<$1>\" >> $0; [ -z \"$1\" ]"), kExitOk);
  EXPECT_EQ(Written(), "<armed>\n<>\n");
}

TEST_F(SupervisorTest, ThereIsOneOfAFolder) {
  const UniqueFd other(::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  ASSERT_EQ(::flock(other.get(), LOCK_EX | LOCK_NB), 0);
  EXPECT_EQ(ReasonOf(Run("exit 0").status()), Reason::kStateConflict);
}

// What another supervisor has left: it locks, stores `fd` when it is told to, and dies.
pid_t LeaveBehind(const std::string& lock, const std::string& socket, int fd) {
  int ready[2];
  EXPECT_EQ(::pipe(ready), 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    sigset_t reload;
    ::sigemptyset(&reload);
    ::sigaddset(&reload, SIGHUP);
    ::sigprocmask(SIG_BLOCK, &reload, nullptr);
    const int file = ::open(lock.c_str(), O_RDWR | O_CREAT, 0600);
    ::flock(file, LOCK_EX);
    ::dprintf(file, "%d\n", ::getpid());
    ::close(ready[1]);
    int signal = 0;
    ::sigwait(&reload, &signal);
    while (fd < 0) ::pause();
    const FdStore store(socket);
    const bool stored = store.Add("kept", fd).ok() && store.Barrier(absl::Seconds(60)).ok();
    ::_exit(stored ? kExitFailed : kExitOk);
  }
  ::close(ready[1]);
  char none = 0;
  EXPECT_EQ(::read(ready[0], &none, 1), 0);
  ::close(ready[0]);
  return pid;
}

TEST_F(SupervisorTest, TakesUpWhatAnotherHasLeftAndStartsTheNext) {
  const UniqueFd kept(::eventfd(0, EFD_CLOEXEC));
  const pid_t left = LeaveBehind(lock(), socket(), kept.get());
  ExpectCode(Run("echo $LISTEN_FDNAMES >> $0"), kExitOk);
  EXPECT_EQ(Written(), "kept\n");
  EXPECT_NE(err_.str().find("took up the agent of a parent before this one"), std::string::npos);
  ::waitpid(left, nullptr, 0);
}

TEST_F(SupervisorTest, WhatItHasTakenUpCanBeStopped) {
  const pid_t left = LeaveBehind(lock(), folder_ + "/elsewhere", -1);
  signals_.Push(Signal::kStop);
  ExpectCode(Run("exit 9"), kExitOk);
  EXPECT_EQ(Written(), "");
  ::waitpid(left, nullptr, 0);
}

}  // namespace
}  // namespace berth
