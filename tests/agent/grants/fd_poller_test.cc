// SPDX-License-Identifier: Apache-2.0
#include "agent/grants/fd_poller.h"

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <atomic>

#include "absl/synchronization/notification.h"

namespace berth {
namespace {

class FdPollerTest : public ::testing::Test {
 protected:
  FdPollerTest() {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    near_.Reset(ends[0]);
    far_.Reset(ends[1]);
  }
  void Write() { EXPECT_EQ(::send(far_.get(), "x", 1, 0), 1); }

  UniqueFd near_;
  UniqueFd far_;
  FdPoller poller_;
};

TEST_F(FdPollerTest, FiresOnceForEachArming) {
  std::atomic<int> fired = 0;
  absl::Notification first;
  absl::Notification second;
  const auto watch = poller_.Add(near_.get(), EPOLLIN, [&](uint32_t events) {
    EXPECT_TRUE((events & EPOLLIN) != 0);
    (fired++ == 0 ? first : second).Notify();
  });
  ASSERT_TRUE(watch.ok());
  Write();
  first.WaitForNotification();
  Write();
  EXPECT_EQ(fired, 1);  // though there is more to read
  poller_.Arm(*watch, EPOLLIN);
  second.WaitForNotification();
}

TEST_F(FdPollerTest, TellsOfTheEndWithoutBeingAsked) {
  absl::Notification ended;
  ASSERT_TRUE(poller_
                  .Add(near_.get(), 0,
                       [&](uint32_t events) {
                         EXPECT_TRUE((events & EPOLLHUP) != 0);
                         ended.Notify();
                       })
                  .ok());
  Write();  // nobody asked for this
  far_.Reset();
  ended.WaitForNotification();
}

TEST_F(FdPollerTest, IsQuietAfterRemove) {
  std::atomic<bool> fired = false;
  const auto watch = poller_.Add(near_.get(), EPOLLIN, [&](uint32_t) { fired = true; });
  ASSERT_TRUE(watch.ok());
  poller_.Remove(*watch);
  poller_.Arm(*watch, EPOLLIN);
  Write();
  poller_.Stop();
  EXPECT_FALSE(fired);
}

TEST_F(FdPollerTest, RefusesWhatCannotBePolled) {
  EXPECT_FALSE(poller_.Add(-1, EPOLLIN, [](uint32_t) {}).ok());
}

}  // namespace
}  // namespace berth
