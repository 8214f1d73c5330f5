// SPDX-License-Identifier: Apache-2.0
#include "agent/supervise/fd_keeper.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "lib/base/status.h"
#include "lib/daemon/notify.h"

namespace berth {
namespace {

class FdKeeperTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/berth-keeper-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
    auto keeper = FdKeeper::Listen(folder_ + "/notify", &log_);
    ASSERT_TRUE(keeper.ok()) << keeper.status();
    keeper_ = *std::move(keeper);
  }
  void TearDown() override {
    keeper_.reset();
    EXPECT_EQ(::rmdir(folder_.c_str()), 0) << "the socket is left";
  }

  [[nodiscard]] std::string path() const { return folder_ + "/notify"; }
  bool Receive() { return keeper_->Receive(::getpid()); }
  [[nodiscard]] std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const StoredFd& stored : keeper_->fds()) names.push_back(stored.name);
    return names;
  }

  std::ostringstream err_;
  Logger log_{"test", LogLevel::kInfo, Logger::Format::kJournal, &err_};
  std::string folder_;
  std::unique_ptr<FdKeeper> keeper_;
};

using Strings = std::vector<std::string>;

ino_t InodeOf(int fd) {
  struct stat info = {};
  EXPECT_EQ(::fstat(fd, &info), 0);
  return info.st_ino;
}

TEST_F(FdKeeperTest, KeepsFdsUntilTheyAreRemoved) {
  const FdStore store(path());
  const UniqueFd first(::memfd_create("first", MFD_CLOEXEC));
  const UniqueFd second(::memfd_create("second", MFD_CLOEXEC));
  ASSERT_TRUE(store.Add("vm 1", first.get()).ok());
  ASSERT_TRUE(store.Add("vm 2", second.get()).ok());
  ASSERT_TRUE(store.Add("vm 1", second.get()).ok());
  EXPECT_FALSE(Receive());
  ASSERT_EQ(Names(), (Strings{"vm 1", "vm 2", "vm 1"}));
  EXPECT_EQ(InodeOf(keeper_->fds()[0].fd.get()), InodeOf(first.get()));
  EXPECT_EQ(InodeOf(keeper_->fds()[1].fd.get()), InodeOf(second.get()));
  ASSERT_TRUE(store.Remove("vm 1").ok());
  ASSERT_TRUE(store.Remove("nobody").ok());
  Receive();
  EXPECT_EQ(Names(), Strings{"vm 2"});
}

TEST_F(FdKeeperTest, HearsThatItsClientIsReady) {
  const Notifier notifier({.socket = path()});
  ASSERT_TRUE(notifier.State("starting").ok());
  EXPECT_FALSE(Receive());
  ASSERT_TRUE(notifier.Ready().ok());
  ASSERT_TRUE(notifier.Watchdog().ok());
  EXPECT_TRUE(Receive());
  EXPECT_FALSE(Receive());
}

TEST_F(FdKeeperTest, ABarrierIsPassedWhenAllBeforeItIsDone) {
  const FdStore store(path());
  const UniqueFd fd(::memfd_create("kept", MFD_CLOEXEC));
  ASSERT_TRUE(store.Add("kept", fd.get()).ok());
  EXPECT_EQ(ReasonOf(store.Barrier(absl::Milliseconds(1))), Reason::kDeadlineExceeded);
  Receive();
  absl::Status passed;
  std::thread client([&] { passed = store.Barrier(absl::Seconds(60)); });
  pollfd waiting = {.fd = keeper_->fd(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&waiting, 1, 60'000), 1);
  Receive();
  client.join();
  EXPECT_TRUE(passed.ok()) << passed;
  EXPECT_EQ(Names(), Strings{"kept"});
}

TEST_F(FdKeeperTest, ListensToItsClientOnly) {
  const UniqueFd fd(::memfd_create("kept", MFD_CLOEXEC));
  ASSERT_TRUE(FdStore(path()).Add("kept", fd.get()).ok());
  ASSERT_TRUE(Notifier({.socket = path()}).Ready().ok());
  EXPECT_FALSE(keeper_->Receive(::getpid() + 1));
  EXPECT_TRUE(keeper_->fds().empty());
  EXPECT_FALSE(Receive()) << "what a stranger says is dropped";
}

TEST_F(FdKeeperTest, WhatMakesNoSenseIsDropped) {
  const UniqueFd fd(::memfd_create("kept", MFD_CLOEXEC));
  const int fds[] = {fd.get()};
  for (const std::string& message : {std::string("FDSTORE=1\nFDNAME=a:b"),  //
                                     std::string("FDSTORE=1\nFDNAME="),     //
                                     std::string("FDNAME=a"),               //
                                     "FDSTORE=1\nFDNAME=" + std::string(256, 'a'),
                                     "FDSTORE=1\nFDNAME=a\nSTATUS=" + std::string(5000, 'x')}) {
    ASSERT_TRUE(TellManager(path(), message, fds).ok());
    EXPECT_FALSE(Receive());
    EXPECT_TRUE(keeper_->fds().empty()) << message;
  }
  ASSERT_TRUE(TellManager(path(), "FDSTORE=1", {}).ok());
  Receive();
  EXPECT_TRUE(keeper_->fds().empty()) << "no fd came";
  ASSERT_TRUE(TellManager(path(), "FDSTORE=1", fds).ok());
  Receive();
  EXPECT_EQ(Names(), Strings{"stored"}) << "as systemd calls one without a name";
}

TEST_F(FdKeeperTest, SaysWhenItMayNotHaveMoreFds) {
  const UniqueFd fd(::memfd_create("kept", MFD_CLOEXEC));
  ASSERT_TRUE(FdStore(path()).Add("kept", fd.get()).ok());
  rlimit before = {};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  // The lowest number that is free.
  none.rlim_cur = static_cast<rlim_t>(UniqueFd(::dup(fd.get())).get());
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  Receive();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(keeper_->fds().empty());
  EXPECT_NE(err_.str().find("no more may be open here"), std::string::npos) << err_.str();
}

TEST_F(FdKeeperTest, WhatItHasItDoesNotTakeTwice) {
  const FdStore store(path());
  const UniqueFd fd(::memfd_create("kept", MFD_CLOEXEC));
  const UniqueFd other(::memfd_create("other", MFD_CLOEXEC));
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(store.Add("kept", fd.get()).ok());
  ASSERT_TRUE(store.Add("kept", other.get()).ok());
  Receive();
  EXPECT_EQ(Names(), (Strings{"kept", "kept"})) << "two files of one name";
}

TEST_F(FdKeeperTest, ReplacesASocketThatWasLeft) {
  const auto other = FdKeeper::Listen(path(), &log_);
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(ReasonOf(FdKeeper::Listen(std::string(200, 'x'), &log_).status()),
            Reason::kInvalidField);
}

}  // namespace
}  // namespace berth
