// SPDX-License-Identifier: Apache-2.0
#include "agent/journal/keeper.h"

#include <gmock/gmock.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <sstream>
#include <thread>

#include "agent/supervise/fd_keeper.h"
#include "lib/base/failpoint.h"
#include "lib/base/status.h"

namespace berth {
namespace {

using internal::v1::JournaledGrant;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

ino_t InodeOf(int fd) {
  struct stat info = {};
  EXPECT_EQ(::fstat(fd, &info), 0);
  return info.st_ino;
}

// With a manager on a thread of its own.
class KeeperTest : public ::testing::Test {
 protected:
  KeeperTest() {
    folder_ = std::filesystem::temp_directory_path() / "berth-keeper-XXXXXX";
    EXPECT_NE(::mkdtemp(folder_.data()), nullptr);
    StartManager();
    keeper_ = Open();
  }
  ~KeeperTest() override {
    StopManager();
    keeper_.reset();
    manager_.reset();
    std::filesystem::remove_all(folder_);
  }

  std::unique_ptr<Keeper> Open() {
    auto keeper = Keeper::Open({.path = folder_ + "/journal.db",
                                .boot_id = "boot",
                                .store = FdStore(folder_ + "/notify"),
                                .log = &log_});
    EXPECT_TRUE(keeper.ok()) << keeper.status();
    return *std::move(keeper);
  }
  void StartManager() {
    auto manager = FdKeeper::Listen(folder_ + "/notify", &log_);
    EXPECT_TRUE(manager.ok()) << manager.status();
    manager_ = *std::move(manager);
    stop_ = false;
    thread_ = std::thread([this] {
      while (!stop_) {
        pollfd entry = {.fd = manager_->fd(), .events = POLLIN, .revents = 0};
        if (::poll(&entry, 1, 1) > 0) manager_->Receive(::getpid());
      }
    });
  }
  void StopManager() {
    if (!thread_.joinable()) return;
    stop_ = true;
    thread_.join();
  }
  // What the next process is started with.
  std::vector<StoredFd> Passed() {
    StopManager();
    std::vector<StoredFd> passed;
    for (const StoredFd& stored : manager_->fds()) {
      passed.push_back({stored.name, UniqueFd(::dup(stored.fd.get()))});
    }
    return passed;
  }
  static JournaledGrant Grant(const std::string& uid, const std::string& life) {
    JournaledGrant grant;
    grant.mutable_desired()->set_assignment_uid(uid);
    grant.mutable_desired()->set_generation(3);
    grant.set_life(life);
    return grant;
  }
  static std::vector<std::string> Roles(const KeptGrant& grant) {
    std::vector<std::string> roles;
    for (const auto& [role, fd] : grant.fds) roles.push_back(role);
    return roles;
  }

  std::ostringstream err_;
  Logger log_{"test", LogLevel::kInfo, Logger::Format::kJournal, &err_};
  std::string folder_;
  std::unique_ptr<FdKeeper> manager_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
  std::unique_ptr<Keeper> keeper_;
  const UniqueFd context_{::memfd_create("context", MFD_CLOEXEC)};
  const UniqueFd process_{::memfd_create("process", MFD_CLOEXEC)};
  const std::vector<Keeper::Fd> fds_ = {{"context", context_.get()}, {"process", process_.get()}};
};

TEST_F(KeeperTest, GivesTheNextProcessRecordAndFds) {
  ASSERT_TRUE(keeper_->Keep(Grant("a", "life"), fds_).ok());
  JournaledGrant changed = Grant("a", "life");
  changed.mutable_session()->set_last_call_id(9);
  ASSERT_TRUE(keeper_->Note(changed).ok());
  std::vector<StoredFd> passed = Passed();
  passed.push_back({"vmm-listener", UniqueFd(::dup(0))});
  const std::vector<KeptGrant> kept = Open()->Take(&passed);
  ASSERT_EQ(kept.size(), 1);
  EXPECT_EQ(kept[0].uid.str(), "a");
  EXPECT_EQ(kept[0].generation, 3);
  ASSERT_TRUE(kept[0].record.has_value());
  EXPECT_EQ(kept[0].record->session().last_call_id(), 9);
  EXPECT_THAT(Roles(kept[0]), ElementsAre("context", "process"));
  EXPECT_EQ(InodeOf(kept[0].fds.at("context").get()), InodeOf(context_.get()));
  ASSERT_EQ(passed.size(), 1) << "what is not a grant's is left";
  EXPECT_EQ(passed[0].name, "vmm-listener");
}

TEST_F(KeeperTest, KeptAgainHasTheNewFdsOnce) {
  ASSERT_TRUE(keeper_->Keep(Grant("a", "life"), fds_).ok());
  const std::vector<Keeper::Fd> other = {{"process", context_.get()}};
  ASSERT_TRUE(keeper_->Keep(Grant("a", "life"), other).ok());
  std::vector<StoredFd> passed = Passed();
  ASSERT_EQ(passed.size(), 2);
  const std::vector<KeptGrant> kept = Open()->Take(&passed);
  ASSERT_EQ(kept.size(), 1);
  EXPECT_EQ(InodeOf(kept[0].fds.at("process").get()), InodeOf(context_.get()));
}

TEST_F(KeeperTest, DroppedLeavesNothing) {
  ASSERT_TRUE(keeper_->Keep(Grant("a", "life"), fds_).ok());
  ASSERT_TRUE(keeper_->Keep(Grant("b", "life"), fds_).ok());
  keeper_->Drop(AssignmentUid("a"));
  EXPECT_EQ(keeper_->KeptRoles().size(), 1);
  std::vector<StoredFd> passed = Passed();
  const std::vector<KeptGrant> kept = Open()->Take(&passed);
  ASSERT_EQ(kept.size(), 1);
  EXPECT_EQ(kept[0].uid.str(), "b");
}

TEST_F(KeeperTest, WithoutFdsTheRecordRemains) {
  ASSERT_TRUE(keeper_->Keep(Grant("a", "life"), fds_).ok());
  keeper_->DropFds(AssignmentUid("a"));
  std::vector<StoredFd> passed = Passed();
  EXPECT_THAT(passed, IsEmpty());
  const std::vector<KeptGrant> kept = Open()->Take(&passed);
  ASSERT_EQ(kept.size(), 1);
  EXPECT_TRUE(kept[0].record.has_value());
  EXPECT_THAT(kept[0].fds, IsEmpty());
}

TEST_F(KeeperTest, FdsOfAnotherLifeThanTheRecordsHaveNone) {
  ASSERT_TRUE(keeper_->Keep(Grant("a", "life"), fds_).ok());
  keeper_->KeepFdsOnly(Grant("a", "life"), "after", fds_);
  // As if the journal had not taken the removal either.
  ASSERT_TRUE(keeper_->Note(Grant("a", "life")).ok());
  std::vector<StoredFd> passed = Passed();
  const std::vector<KeptGrant> kept = Open()->Take(&passed);
  ASSERT_EQ(kept.size(), 1);
  EXPECT_FALSE(kept[0].record.has_value());
  EXPECT_EQ(kept[0].life, "after");
  EXPECT_EQ(kept[0].generation, 3);
  EXPECT_THAT(Roles(kept[0]), ElementsAre("context", "process"));
}

TEST_F(KeeperTest, KeepsAllOrNothing) {
  for (const char* setting : {"keep.store_fds=error:EIO", "keep.write_record=error:ENOSPC"}) {
    const auto armed = ArmedFailpoints::Arm(FailpointInfo::Home::kAgent, {setting});
    ASSERT_TRUE(armed.ok()) << armed.status();
    EXPECT_FALSE(keeper_->Keep(Grant("a", "life"), fds_).ok()) << setting;
  }
  std::vector<StoredFd> passed = Passed();
  EXPECT_THAT(passed, IsEmpty());
  EXPECT_THAT(Open()->Take(&passed), IsEmpty());
}

TEST_F(KeeperTest, HasTheRecordAloneWhenItsManagerIsGone) {
  Passed();
  manager_.reset();
  EXPECT_TRUE(keeper_->Keep(Grant("a", "life"), fds_).ok());
  EXPECT_THAT(keeper_->KeptRoles(), IsEmpty());
  std::vector<StoredFd> none;
  const std::vector<KeptGrant> kept = Open()->Take(&none);
  ASSERT_EQ(kept.size(), 1);
  EXPECT_TRUE(kept[0].record.has_value());
  EXPECT_THAT(kept[0].fds, IsEmpty());
}

TEST_F(KeeperTest, StoresAgainWithAnotherManager) {
  ASSERT_TRUE(keeper_->Keep(Grant("a", "life"), fds_).ok());
  StopManager();
  manager_.reset();
  // Meanwhile one more comes, of which nothing can be stored.
  EXPECT_TRUE(keeper_->Keep(Grant("b", "other"), fds_).ok());
  StartManager();
  // The second time it is the manager that has them already.
  for (int i = 0; i < 2; ++i) {
    keeper_->StoreAgain(AssignmentUid("a"), 3, "life", fds_);
    keeper_->StoreAgain(AssignmentUid("b"), 3, "other", fds_);
  }
  EXPECT_EQ(keeper_->KeptRoles().size(), 2);
  std::vector<StoredFd> passed = Passed();
  EXPECT_EQ(passed.size(), 4);
  const std::vector<KeptGrant> kept = Open()->Take(&passed);
  ASSERT_EQ(kept.size(), 2);
  for (const KeptGrant& grant : kept) {
    EXPECT_TRUE(grant.record.has_value());
    EXPECT_THAT(Roles(grant), ElementsAre("context", "process"));
  }
}

TEST_F(KeeperTest, WhatIsStoredAgainCanBeDropped) {
  ASSERT_TRUE(keeper_->Keep(Grant("a", "life"), fds_).ok());
  StopManager();
  manager_.reset();
  StartManager();
  keeper_->StoreAgain(AssignmentUid("a"), 3, "life", fds_);
  keeper_->Drop(AssignmentUid("a"));
  EXPECT_THAT(Passed(), IsEmpty());
}

}  // namespace
}  // namespace berth
