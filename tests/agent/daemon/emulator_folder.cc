// SPDX-License-Identifier: Apache-2.0
#include "tests/agent/daemon/emulator_folder.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

namespace berth::testing {

EmulatorFolder::EmulatorFolder() {
  path_ = std::filesystem::temp_directory_path() / "berth-agent-XXXXXX";
  EXPECT_NE(::mkdtemp(path_.data()), nullptr);
  std::ofstream(host_file()) << R"(
units: [{id: smmu3.0, vintfs: 4}]
devices:
- {count: 2, first_address: "0000:01:00.0", vendor: "10de", device: "2342", class_code: "030200",
   unit: smmu3.0}
)";
}

EmulatorFolder::~EmulatorFolder() {
  if (const pid_t pid = Find(); pid > 0 && pid != ::getpid()) Kill(pid);
  std::filesystem::remove_all(path_);
}

std::string EmulatorFolder::Program() { return BERTH_EMULATOR_PROGRAM; }

pid_t EmulatorFolder::Find() {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::string socket = emulator_dir() + "/emulator.sock";
  std::strncpy(address.sun_path, socket.c_str(), sizeof(address.sun_path) - 1);
  const UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  ucred peer = {};
  socklen_t size = sizeof(peer);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      ::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    return -1;
  }
  return peer.pid;
}

void EmulatorFolder::Kill(pid_t pid) {
  const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  ASSERT_TRUE(process.valid()) << pid;
  ASSERT_EQ(::kill(pid, SIGKILL), 0);
  pollfd ended = {.fd = process.get(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(::poll(&ended, 1, -1), 1);
}

}  // namespace berth::testing
