// SPDX-License-Identifier: Apache-2.0
#include "lib/daemon/notify.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <string>

#include "lib/base/status.h"
#include "lib/base/unique_fd.h"

namespace berth {
namespace {

// Stands for systemd: a datagram socket that says what came.
class Manager {
 public:
  explicit Manager(const std::string& name) : fd_(::socket(AF_UNIX, SOCK_DGRAM, 0)) {
    struct sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, name.data(), name.size());
    if (name[0] == '@') address.sun_path[0] = '\0';
    const size_t length = offsetof(struct sockaddr_un, sun_path) + name.size();
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<struct sockaddr*>(&address),
                     static_cast<socklen_t>(length)),
              0);
  }
  std::string Next() {
    std::string message(256, '\0');
    const ssize_t n = ::recv(fd_.get(), message.data(), message.size(), MSG_DONTWAIT);
    message.resize(n < 0 ? 0 : static_cast<size_t>(n));
    return message;
  }

 private:
  UniqueFd fd_;
};

TEST(NotifierTest, SpeaksTheProtocolOfSdNotify) {
  char folder[] = "/tmp/berth-notify-XXXXXX";
  ASSERT_NE(::mkdtemp(folder), nullptr);
  const std::string path = std::string(folder) + "/notify";
  {
    Manager manager(path);
    const Notifier notifier({.socket = path});
    ASSERT_TRUE(notifier.Ready().ok());
    ASSERT_TRUE(notifier.Watchdog().ok());
    ASSERT_TRUE(notifier.State("3 grants\nREADY=0").ok());
    ASSERT_TRUE(notifier.Stopping().ok());
    EXPECT_EQ(manager.Next(), "READY=1");
    EXPECT_EQ(manager.Next(), "WATCHDOG=1");
    EXPECT_EQ(manager.Next(), "STATUS=3 grants READY=0");
    EXPECT_EQ(manager.Next(), "STOPPING=1");
  }
  EXPECT_EQ(ReasonOf(Notifier({.socket = path}).Ready()), Reason::kUnavailable)
      << "the manager has gone";
  ::unlink(path.c_str());
  EXPECT_EQ(ReasonOf(Notifier({.socket = path}).Ready()), Reason::kNotFound);
  ::rmdir(folder);
}

TEST(NotifierTest, AnAtSignMeansTheAbstractNamespace) {
  const std::string name = "@berth-notify-test-" + std::to_string(::getpid());
  Manager manager(name);
  ASSERT_TRUE(Notifier({.socket = name}).Ready().ok());
  EXPECT_EQ(manager.Next(), "READY=1");
}

TEST(NotifierTest, WithoutASocketNothingHappens) {
  const Notifier notifier({});
  EXPECT_TRUE(notifier.Ready().ok());
  EXPECT_TRUE(notifier.Stopping().ok());
}

TEST(NotifierTest, ATooLongPathIsRefused) {
  EXPECT_EQ(ReasonOf(Notifier({.socket = std::string(200, 'x')}).Ready()), Reason::kInvalidField);
}

TEST(NotifierTest, TheWatchdogIsFedTwiceAsOftenAsNeeded) {
  EXPECT_EQ(Notifier({.socket = "", .watchdog = absl::Seconds(10)}).watchdog_period(),
            absl::Seconds(5));
  EXPECT_EQ(Notifier({}).watchdog_period(), absl::InfiniteDuration());
}

}  // namespace
}  // namespace berth
