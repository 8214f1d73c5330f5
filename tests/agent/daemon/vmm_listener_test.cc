// SPDX-License-Identifier: Apache-2.0
#include "agent/daemon/vmm_listener.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "agent/supervise/fd_keeper.h"
#include "lib/base/status.h"
#include "lib/wire/server.h"

namespace berth {
namespace {

class VmmListenerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/berth-listener-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
    auto keeper = FdKeeper::Listen(folder_ + "/notify", &log_);
    ASSERT_TRUE(keeper.ok()) << keeper.status();
    keeper_ = *std::move(keeper);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  [[nodiscard]] std::string path() const { return folder_ + "/vmm.sock"; }

  // As an agent that starts, with a manager that keeps fds on a thread of its own meanwhile.
  absl::StatusOr<UniqueFd> Start(const std::string& path) {
    const UniqueFd done(::eventfd(0, EFD_CLOEXEC));
    std::thread manager([&] {
      pollfd entries[] = {{.fd = keeper_->fd(), .events = POLLIN, .revents = 0},
                          {.fd = done.get(), .events = POLLIN, .revents = 0}};
      do {
        ::poll(entries, 2, -1);
        keeper_->Receive(::getpid());
      } while (entries[1].revents == 0);
    });
    absl::StatusOr<UniqueFd> listener =
        ListenForVmms(path, FdStore(folder_ + "/notify"), std::exchange(passed_, {}), &log_);
    ::eventfd_write(done.get(), 1);
    manager.join();
    // What the next agent is passed.
    for (const StoredFd& stored : keeper_->fds()) {
      passed_.push_back({stored.name, UniqueFd(::dup(stored.fd.get()))});
    }
    return listener;
  }
  [[nodiscard]] std::vector<std::string> Kept() const {
    std::vector<std::string> names;
    for (const StoredFd& stored : keeper_->fds()) names.push_back(stored.name);
    return names;
  }
  void Pass(const std::string& name, UniqueFd fd) { passed_.push_back({name, std::move(fd)}); }

  std::ostringstream err_;
  Logger log_{"test", LogLevel::kInfo, Logger::Format::kJournal, &err_};
  std::string folder_;
  std::unique_ptr<FdKeeper> keeper_;
  std::vector<StoredFd> passed_;
};

using Strings = std::vector<std::string>;

ino_t InodeOf(const UniqueFd& fd) {
  struct stat info = {};
  EXPECT_EQ(::fstat(fd.get(), &info), 0);
  return info.st_ino;
}

TEST_F(VmmListenerTest, TheNextAgentListensOnTheSameSocket) {
  absl::StatusOr<UniqueFd> first = Start(path());
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(Kept(), Strings{"vmm-listener"});
  const ino_t inode = InodeOf(*first);
  first->Reset();
  const absl::StatusOr<UniqueFd> second = Start(path());
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(InodeOf(*second), inode);
  EXPECT_EQ(Kept(), Strings{"vmm-listener"});
  EXPECT_EQ(err_.str(), "");
}

TEST_F(VmmListenerTest, ASocketThatNobodyFindsIsReplaced) {
  ASSERT_TRUE(Start(path()).ok());
  ASSERT_EQ(::unlink(path().c_str()), 0);
  const absl::StatusOr<UniqueFd> again = Start(path());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(std::filesystem::is_socket(path()));
  EXPECT_EQ(Kept(), Strings{"vmm-listener"});

  const absl::StatusOr<UniqueFd> elsewhere = Start(folder_ + "/other.sock");
  ASSERT_TRUE(elsewhere.ok()) << elsewhere.status();
  EXPECT_NE(InodeOf(*elsewhere), InodeOf(*again));
  EXPECT_EQ(Kept(), Strings{"vmm-listener"});
}

TEST_F(VmmListenerTest, WhatIsNoListenerIsDropped) {
  Pass("vmm-listener", UniqueFd(::eventfd(0, EFD_CLOEXEC)));
  const UniqueFd stranger(::eventfd(0, EFD_CLOEXEC));
  ASSERT_TRUE(FdStore(folder_ + "/notify").Add("of another release", stranger.get()).ok());
  keeper_->Receive(::getpid());
  Pass("of another release", UniqueFd(::dup(stranger.get())));
  const absl::StatusOr<UniqueFd> listener = Start(path());
  ASSERT_TRUE(listener.ok()) << listener.status();
  EXPECT_EQ(Kept(), Strings{"vmm-listener"});
}

TEST_F(VmmListenerTest, AManagerThatIsGoneIsOnlyWorthAWarning) {
  const absl::StatusOr<UniqueFd> listener =
      ListenForVmms(path(), FdStore(folder_ + "/nobody"), {}, &log_);
  ASSERT_TRUE(listener.ok()) << listener.status();
  EXPECT_NE(err_.str().find("keeps no fds"), std::string::npos);
}

TEST_F(VmmListenerTest, APathThatIsServedIsRefused) {
  const absl::StatusOr<UniqueFd> other = wire::WireServer::Listen(path(), 0600);
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(ReasonOf(Start(path()).status()), Reason::kAlreadyExists);
  EXPECT_TRUE(Kept().empty());
}

}  // namespace
}  // namespace berth
