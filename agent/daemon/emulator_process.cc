// SPDX-License-Identifier: Apache-2.0
#include "agent/daemon/emulator_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "lib/base/status.h"

extern char** environ;

namespace berth {
namespace {

// The child starts with an empty signal mask and the default actions: the agent blocks its own
// signals.
class SpawnAttributes {
 public:
  SpawnAttributes() {
    ::posix_spawnattr_init(&attributes_);
    sigset_t none;
    ::sigemptyset(&none);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    sigset_t all;
    ::sigfillset(&all);
    ::posix_spawnattr_setsigdefault(&attributes_, &all);
    ::posix_spawnattr_setflags(&attributes_,
                               POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
  }
  ~SpawnAttributes() { ::posix_spawnattr_destroy(&attributes_); }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;

  const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_;
};

// Where the child finds its end of the report pipe.
constexpr int kReportFd = 3;
constexpr size_t kMostReport = 1024;

// The child's fds: 0 to 2 are the agent's, and one for its report; all others of the agent's are
// close-on-exec.
class SpawnFiles {
 public:
  explicit SpawnFiles(int report) {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawn_file_actions_adddup2(&actions_, report, kReportFd);
  }
  ~SpawnFiles() { ::posix_spawn_file_actions_destroy(&actions_); }
  SpawnFiles(const SpawnFiles&) = delete;
  SpawnFiles& operator=(const SpawnFiles&) = delete;

  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
};

std::string DescribeExit(int status) {
  if (WIFSIGNALED(status)) return absl::StrCat("it was killed by signal ", WTERMSIG(status));
  return absl::StrCat("it exited with code ", WEXITSTATUS(status));
}

}  // namespace

EmulatorProcess::EmulatorProcess(Options options) : options_(std::move(options)) {}

std::string EmulatorProcess::socket_path() const {
  return absl::StrCat(options_.dir, "/emulator.sock");
}

bool EmulatorProcess::Listens() const {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = socket_path();
  if (path.size() >= sizeof(address.sun_path)) return false;
  std::memcpy(address.sun_path, path.c_str(), path.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return fd.valid() &&
         // EAGAIN: it listens, and has a full backlog.
         (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 ||
          errno == EAGAIN);
}

bool EmulatorProcess::Reap() {
  if (pid_ < 0) return true;
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) == 0) return false;
  const std::string report = ReadReport();
  ended_ = absl::StrCat(DescribeExit(status), report.empty() ? "; its log says why" : ": ", report);
  pid_ = -1;
  pidfd_.Reset();
  return true;
}

std::string EmulatorProcess::ReadReport() {
  std::string text(kMostReport, '\0');
  const ssize_t size = ::read(report_.get(), text.data(), text.size());
  report_.Reset();
  text.resize(size > 0 ? static_cast<size_t>(size) : 0);
  return text;
}

absl::Status EmulatorProcess::EnsureRunning() {
  const bool no_child = Reap();
  if (Listens()) return absl::OkStatus();
  if (options_.host_file.empty()) {
    return Error(Reason::kKernelGone, absl::StrCat("no emulator listens on ", socket_path()));
  }
  if (no_child) BERTH_RETURN_IF_ERROR(Spawn());
  return AwaitListening();
}

absl::Status EmulatorProcess::Spawn() {
  std::vector<std::string> args = {options_.program,
                                   "--runtime-dir",
                                   options_.dir,
                                   "--host",
                                   options_.host_file,
                                   "--idle-exit",
                                   absl::StrCat(absl::ToInt64Seconds(options_.idle_exit)),
                                   "--report-fd",
                                   absl::StrCat(kReportFd)};
  std::vector<char*> argv;
  for (std::string& arg : args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return ErrnoToStatus(errno, "pipe2");
  report_.Reset(ends[0]);
  const UniqueFd child_end(ends[1]);
  const SpawnAttributes attributes;
  const SpawnFiles files(child_end.get());
  const int error = ::posix_spawn(&pid_, options_.program.c_str(), files.get(), attributes.get(),
                                  argv.data(), environ);
  if (error != 0) {
    pid_ = -1;
    return Error(Reason::kKernelGone,
                 absl::StrCat("starting ", options_.program, ": ", std::strerror(error)));
  }
  pidfd_.Reset(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  return absl::OkStatus();
}

absl::Status EmulatorProcess::AwaitListening() {
  const absl::Time deadline = absl::Now() + options_.start_timeout;
  while (!Listens()) {
    if (Reap()) {
      return Error(Reason::kKernelGone, absl::StrCat(options_.program, " did not start: ", ended_));
    }
    if (absl::Now() > deadline) {
      return Error(Reason::kKernelGone,
                   absl::StrCat(options_.program, " does not listen on ", socket_path(), " after ",
                                absl::FormatDuration(options_.start_timeout)));
    }
    // Wakes up at once when the child ends.
    pollfd child = {.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
    ::poll(&child, 1, 5);
  }
  return absl::OkStatus();
}

}  // namespace berth
