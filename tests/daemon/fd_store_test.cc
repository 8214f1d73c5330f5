// SPDX-License-Identifier: Apache-2.0
//
// What is sent. A manager that understands it is in tests/agent/supervise.
#include "lib/daemon/fd_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>

#include "lib/base/packet.h"
#include "lib/base/status.h"

namespace berth {
namespace {

// A datagram socket in the abstract namespace.
class Manager {
 public:
  Manager() : name_("@berth-fd-store-" + std::to_string(::getpid())) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    name_.copy(address.sun_path + 1, name_.size() - 1, 1);
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name_.size());
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
  }
  [[nodiscard]] const std::string& name() const { return name_; }
  // "text + number of fds"; empty: nothing came.
  std::string Next() {
    std::array<std::byte, 1024> buffer;
    ReceivedPacket packet;
    if (ReceivePacket(fd_.get(), buffer, MSG_DONTWAIT, &packet) != 0) return "";
    return std::string(reinterpret_cast<const char*>(buffer.data()), packet.size) + " + " +
           std::to_string(packet.fds.size());
  }

 private:
  const std::string name_;
  const UniqueFd fd_{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
};

TEST(FdStoreTest, SpeaksTheProtocolOfSystemd) {
  Manager manager;
  const FdStore store(manager.name());
  const UniqueFd fd(::memfd_create("kept", MFD_CLOEXEC));
  ASSERT_TRUE(store.Add("vm listener", fd.get()).ok());
  EXPECT_EQ(manager.Next(), "FDSTORE=1\nFDNAME=vm listener\nFDPOLL=0 + 1");
  ASSERT_TRUE(store.Remove("vm listener").ok());
  EXPECT_EQ(manager.Next(), "FDSTOREREMOVE=1\nFDNAME=vm listener + 0");
  EXPECT_EQ(ReasonOf(store.Barrier(absl::Milliseconds(1))), Reason::kDeadlineExceeded);
  EXPECT_EQ(manager.Next(), "BARRIER=1 + 1");
}

TEST(FdStoreTest, RefusesNamesThatSystemdWouldChange) {
  Manager manager;
  const FdStore store(manager.name());
  const UniqueFd fd(::memfd_create("kept", MFD_CLOEXEC));
  for (const std::string& name : {std::string(), std::string("a:b"), std::string("a\nFDPOLL=1"),
                                  std::string("\xc3\xa9"), std::string(256, 'a')}) {
    EXPECT_EQ(ReasonOf(store.Add(name, fd.get())), Reason::kInvalidField) << name;
    EXPECT_EQ(ReasonOf(store.Remove(name)), Reason::kInvalidField) << name;
  }
  EXPECT_EQ(manager.Next(), "");
  EXPECT_TRUE(store.Add(std::string(255, 'a'), fd.get()).ok());
}

TEST(FdStoreTest, WithoutAManagerNothingIsKept) {
  const FdStore store;
  EXPECT_TRUE(store.Add("a", 0).ok());
  EXPECT_TRUE(store.Remove("a").ok());
  EXPECT_TRUE(store.Barrier(absl::InfiniteDuration()).ok());
  EXPECT_FALSE(FdStore("@berth-nobody-listens-here").Add("a", 0).ok());
}

// Exits with 0 when all is as it should be: the fds from 3 on are not the test's to change.
[[noreturn]] void TakeThree() {
  const int file = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ::dup2(file, 100);
  for (const int fd : {kFirstPassedFd, kFirstPassedFd + 1}) ::dup2(100, fd);
  ::close(kFirstPassedFd + 2);
  const std::vector<StoredFd> taken = TakePassedFds({.count = 3, .names = {"a"}});
  if (taken.size() != 2 || taken[0].name != "a" || taken[1].name != "unknown") std::_Exit(1);
  for (size_t i = 0; i < 2; ++i) {
    const int fd = taken[i].fd.get();
    if (fd != kFirstPassedFd + static_cast<int>(i) || ::fcntl(fd, F_GETFD) != FD_CLOEXEC)
      std::_Exit(2);
  }
  std::_Exit(0);
}

[[noreturn]] void TakeTooMany() {
  rlimit limit = {};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  const int last = kFirstPassedFd + static_cast<int>(kMaxStoredFds);
  const int file = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (::dup2(file, last) != last || ::dup2(file, last + 1) != last + 1) std::_Exit(1);
  const std::vector<StoredFd> taken =
      TakePassedFds({.count = static_cast<int>(kMaxStoredFds) + 1, .names = {}});
  if (::fcntl(last, F_GETFD) >= 0) std::_Exit(2);
  if (::fcntl(last + 1, F_GETFD) < 0) std::_Exit(3);
  std::_Exit(0);
}

TEST(PassedFdsTest, MoreThanTheStoreHoldsAreClosed) {
  rlimit limit = {};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  if (limit.rlim_max < kMaxStoredFds + 8) GTEST_SKIP() << "so many fds are not allowed here";
  EXPECT_EXIT(TakeTooMany(), ::testing::ExitedWithCode(0), "");
}

TEST(PassedFdsTest, AreTakenWithTheirNames) {
  EXPECT_EXIT(TakeThree(), ::testing::ExitedWithCode(0), "");
  EXPECT_TRUE(TakePassedFds({}).empty());
  EXPECT_TRUE(TakePassedFds({.count = -1, .names = {}}).empty());
}

}  // namespace
}  // namespace berth
