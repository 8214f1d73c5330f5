// SPDX-License-Identifier: Apache-2.0
#include "lib/base/packet.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

namespace berth {
namespace {

class PacketTest : public ::testing::Test {
 protected:
  PacketTest() {
    int fds[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    left_ = UniqueFd(fds[0]);
    right_ = UniqueFd(fds[1]);
  }

  int Send(const std::string& text, const std::vector<int>& fds = {}) {
    const iovec part = {const_cast<char*>(text.data()), text.size()};
    return SendPacket(left_.get(), {&part, 1}, fds, 0);
  }
  int Receive() { return ReceivePacket(right_.get(), buffer_, MSG_DONTWAIT, &packet_); }
  std::string Text() const { return {reinterpret_cast<const char*>(buffer_.data()), packet_.size}; }

  UniqueFd left_;
  UniqueFd right_;
  std::array<std::byte, 64> buffer_{};
  ReceivedPacket packet_;
};

TEST_F(PacketTest, PartsArriveAsOnePacket) {
  std::string hello = "hello ";
  std::string world = "world";
  const iovec parts[] = {{hello.data(), hello.size()}, {world.data(), world.size()}};
  EXPECT_EQ(SendPacket(left_.get(), parts, {}, 0), 0);
  EXPECT_EQ(Send("next"), 0);
  ASSERT_EQ(Receive(), 0);
  EXPECT_EQ(Text(), "hello world");
  EXPECT_FALSE(packet_.truncated);
  EXPECT_TRUE(packet_.fds.empty());
  ASSERT_EQ(Receive(), 0);
  EXPECT_EQ(Text(), "next");
}

TEST_F(PacketTest, FdsTravelWithTheirPacketAndCloseOnExec) {
  int pipe_fds[2];
  ASSERT_EQ(::pipe(pipe_fds), 0);
  ASSERT_EQ(Send("two", {pipe_fds[0], pipe_fds[1]}), 0);
  ::close(pipe_fds[0]);
  ::close(pipe_fds[1]);
  ASSERT_EQ(Receive(), 0);
  ASSERT_EQ(packet_.fds.size(), 2u);
  EXPECT_FALSE(packet_.fds_truncated);
  for (const UniqueFd& fd : packet_.fds) EXPECT_NE(::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC, 0);
  ASSERT_EQ(::write(packet_.fds[1].get(), "x", 1), 1);
  char c = 0;
  EXPECT_EQ(::read(packet_.fds[0].get(), &c, 1), 1);
  EXPECT_EQ(c, 'x');
}

TEST_F(PacketTest, APacketLargerThanTheBufferIsSaidToBeCut) {
  ASSERT_EQ(Send(std::string(buffer_.size() + 1, 'x')), 0);
  ASSERT_EQ(Receive(), 0);
  EXPECT_TRUE(packet_.truncated);
}

TEST_F(PacketTest, TooManyFdsAreRefusedBySenderAndSurvivedByReceiver) {
  EXPECT_EQ(Send("many", std::vector<int>(kMaxSentFds + 1, left_.get())), -EINVAL);
  EXPECT_EQ(Receive(), -EAGAIN) << "nothing was sent";
  EXPECT_EQ(Send("most", std::vector<int>(kMaxPacketFds, left_.get())), 0);
  ASSERT_EQ(Receive(), 0);
  EXPECT_EQ(packet_.fds.size(), kMaxPacketFds);
  EXPECT_FALSE(packet_.fds_truncated);
  EXPECT_EQ(Send("more", std::vector<int>(kMaxSentFds, left_.get())), 0);
  ASSERT_EQ(Receive(), 0);
  EXPECT_GT(packet_.fds.size(), kMaxPacketFds);
  EXPECT_TRUE(packet_.fds_truncated);
}

TEST_F(PacketTest, TheEndOfTheStreamIsAnEmptyPacketOrAnError) {
  left_.Reset();
  ASSERT_EQ(Receive(), 0);
  EXPECT_EQ(packet_.size, 0u);

  const iovec nothing = {};
  EXPECT_EQ(SendPacket(-1, {&nothing, 1}, {}, 0), -EBADF);
  std::string text = "x";
  const iovec part = {text.data(), text.size()};
  EXPECT_EQ(SendPacket(right_.get(), {&part, 1}, {}, 0), -EPIPE) << "and no SIGPIPE";
}

}  // namespace
}  // namespace berth
