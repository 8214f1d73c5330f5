// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/vmm/cores.h"

#include <sched.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/base/unique_fd.h"

namespace berth::bench {

absl::StatusOr<std::vector<int>> OwnCores() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) {
    return ErrnoToStatus(errno, "sched_getaffinity");
  }
  std::vector<int> cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  }
  return cores;
}

absl::Status PinThread(pid_t thread, const std::vector<int>& cores) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int core : cores) CPU_SET(core, &set);
  // ESRCH: it has ended.
  if (::sched_setaffinity(thread, sizeof(set), &set) == 0 || errno == ESRCH) {
    return absl::OkStatus();
  }
  return ErrnoToStatus(errno, "sched_setaffinity");
}

absl::Status PinProcess(pid_t process, const std::vector<int>& cores) {
  std::error_code error;
  const std::filesystem::directory_iterator threads(absl::StrCat("/proc/", process, "/task"),
                                                    error);
  if (error) return ErrnoToStatus(error.value(), "threads of a process");
  for (const auto& entry : threads) {
    int thread = 0;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &thread)) continue;
    BERTH_RETURN_IF_ERROR(PinThread(thread, cores));
  }
  return absl::OkStatus();
}

absl::StatusOr<pid_t> ListenerAt(const std::string& path) {
  const UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return ErrnoToStatus(errno, "socket");
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path))
    return absl::InvalidArgumentError("the path of a socket is too long");
  std::memcpy(address.sun_path, path.data(), path.size());
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  ucred peer = {};
  socklen_t size = sizeof(peer);
  if (::connect(socket.get(), generic, sizeof(address)) != 0 ||
      ::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    return ErrnoToStatus(errno, absl::StrCat("connecting to ", path));
  }
  return peer.pid;
}

}  // namespace berth::bench
