// SPDX-License-Identifier: Apache-2.0
#include "agent/supervise/lock_holder.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "tests/testing/poll_until.h"

namespace berth {
namespace {

class LockHolderTest : public ::testing::Test {
 protected:
  LockHolderTest() : file_(::mkostemp(path_.data(), O_CLOEXEC)) {}
  ~LockHolderTest() override { ::unlink(path_.c_str()); }

  void Lock() const { ASSERT_EQ(::flock(file_.get(), LOCK_EX | LOCK_NB), 0); }
  void Write(const std::string& text) const {
    ASSERT_EQ(::ftruncate(file_.get(), 0), 0);
    ASSERT_EQ(::pwrite(file_.get(), text.data(), text.size(), 0),
              static_cast<ssize_t>(text.size()));
  }

  std::string path_ = "/tmp/berth-lock-XXXXXX";
  const UniqueFd file_;
};

TEST_F(LockHolderTest, IsWhoHoldsItAndHasWrittenItsNumber) {
  Lock();
  Write(std::to_string(::getpid()) + "\n");
  const std::optional<LockHolder> holder = FindLockHolder(path_);
  ASSERT_TRUE(holder.has_value());
  EXPECT_EQ(holder->pid, ::getpid());
  EXPECT_TRUE(holder->pidfd.valid());
}

TEST_F(LockHolderTest, IsNobodyWhereTheFileIsNotLocked) {
  Write(std::to_string(::getpid()));
  EXPECT_FALSE(FindLockHolder(path_).has_value());
  EXPECT_FALSE(FindLockHolder(path_ + "-none").has_value());
}

TEST_F(LockHolderTest, CannotBeToldWithoutItsNumber) {
  Lock();
  for (const char* text : {"", "\n", "berth", "0", "-1", "99999999999"}) {
    Write(text);
    EXPECT_FALSE(FindLockHolder(path_).has_value()) << text;
  }
}

TEST_F(LockHolderTest, IsNoProcessThatDoesNotHaveTheFile) {
  Lock();
  const pid_t stranger = ::fork();
  if (stranger == 0) {
    ::close(file_.get());
    ::pause();
    ::_exit(0);
  }
  Write(std::to_string(stranger));
  // It has it until it comes to closing it.
  testing::PollUntil([&] { return !FindLockHolder(path_).has_value(); });
  ::kill(stranger, SIGKILL);
  ::waitpid(stranger, nullptr, 0);
}

}  // namespace
}  // namespace berth
