// SPDX-License-Identifier: Apache-2.0
#include "lib/base/unique_fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <utility>

namespace berth {
namespace {

int NewFd() { return ::memfd_create("unique_fd_test", MFD_CLOEXEC); }
bool IsOpen(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

TEST(UniqueFdTest, ClosesAtTheEnd) {
  const int fd = NewFd();
  { const UniqueFd owner(fd); }
  EXPECT_FALSE(IsOpen(fd));
}

TEST(UniqueFdTest, MovingMovesTheOwnership) {
  const int fd = NewFd();
  const int other = NewFd();
  UniqueFd first(fd);
  UniqueFd second(std::move(first));
  EXPECT_FALSE(first.valid());  // NOLINT(bugprone-use-after-move): its state is what is tested.
  UniqueFd third(other);
  third = std::move(second);
  EXPECT_EQ(third.get(), fd);
  EXPECT_TRUE(IsOpen(fd));
  EXPECT_FALSE(IsOpen(other)) << "what it owned before is closed";
}

TEST(UniqueFdTest, ReleaseGivesTheFdUp) {
  UniqueFd owner(NewFd());
  const int fd = owner.Release();
  EXPECT_FALSE(owner.valid());
  EXPECT_TRUE(IsOpen(fd));
  owner.Reset(fd);
  owner.Reset();
  EXPECT_FALSE(IsOpen(fd));
}

TEST(UniqueFdTest, NoneIsNotValid) {
  EXPECT_FALSE(UniqueFd().valid());
  EXPECT_EQ(UniqueFd().get(), -1);
  EXPECT_TRUE(UniqueFd(NewFd()).valid());
}

}  // namespace
}  // namespace berth
