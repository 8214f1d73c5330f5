// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <charconv>
#include <cstring>
#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/time/clock.h"

extern char** environ;

namespace berth::testing {
namespace {

constexpr absl::Duration kLookAgain = absl::Milliseconds(5);

UniqueFd PidFd(pid_t pid) { return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))); }

bool AwaitReadable(int fd, absl::Duration limit) {
  pollfd entry = {.fd = fd, .events = POLLIN, .revents = 0};
  const timespec timeout = absl::ToTimespec(limit);
  return ::ppoll(&entry, 1, &timeout, nullptr) == 1;
}

// What the one who runs the tests has set for daemons and clients is not for these.
std::vector<std::string> Environment(const std::vector<std::string>& more) {
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string variable = *entry;
    if (absl::StartsWith(variable, "BERTH_") || absl::StartsWith(variable, "NOTIFY_SOCKET=") ||
        absl::StartsWith(variable, "JOURNAL_STREAM=") || absl::StartsWith(variable, "HOME=")) {
      continue;
    }
    environment.push_back(variable);
  }
  environment.emplace_back("BERTH_DETECT_DEADLOCKS=1");
  environment.emplace_back("HOME=/nonexistent");
  environment.insert(environment.end(), more.begin(), more.end());
  return environment;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

int OpenAppend(const std::string& path) {
  return ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

}  // namespace

bool WaitFor(std::string_view what, const std::function<bool()>& condition, absl::Duration limit) {
  const absl::Time deadline = absl::Now() + limit;
  while (!condition()) {
    if (absl::Now() > deadline) {
      ADD_FAILURE() << "waited in vain until " << what;
      return false;
    }
    const timespec pause = absl::ToTimespec(kLookAgain);
    ::ppoll(nullptr, 0, &pause, nullptr);
  }
  return true;
}

std::string ReadFile(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

void WriteFile(const std::string& path, std::string_view text) {
  std::ofstream file(path, std::ios::trunc);
  file << text;
  EXPECT_TRUE(file.flush()) << path;
}

Process::Process(const Options& options) {
  std::vector<std::string> args = {options.program};
  args.insert(args.end(), options.args.begin(), options.args.end());
  std::vector<std::string> environment = Environment(options.environment);
  // The child writes its number behind this.
  constexpr std::string_view kListenPid = "LISTEN_PID=";
  environment.emplace_back(kListenPid).resize(kListenPid.size() + 20, '\0');
  char* const listen_pid = environment.back().data() + kListenPid.size();
  std::vector<int> fds = options.fds;
  const std::vector<char*> argv = Pointers(args);
  const std::vector<char*> envp = Pointers(environment);
  const UniqueFd out(OpenAppend(options.out));
  const UniqueFd err(options.err.empty() ? ::dup(out.get()) : OpenAppend(options.err));
  int ends[2] = {-1, -1};
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd in(ends[0]);
  stdin_.Reset(ends[1]);
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) {
    // Only system calls: the parent has threads.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);
    ::setpgid(0, 0);
    if (options.network >= 0 && ::setns(options.network, CLONE_NEWNET) != 0) ::_exit(127);
    ::dup2(in.get(), 0);
    ::dup2(out.get(), 1);
    ::dup2(err.get(), 2);
    // Out of the way first, so that none is overwritten before its turn.
    for (int& fd : fds) fd = ::fcntl(fd, F_DUPFD_CLOEXEC, 3 + static_cast<int>(fds.size()));
    for (size_t i = 0; i < fds.size(); ++i) ::dup2(fds[i], 3 + static_cast<int>(i));
    if (!fds.empty()) std::to_chars(listen_pid, listen_pid + 19, ::getpid());
    ::execve(argv[0], argv.data(), envp.data());
    ::_exit(127);
  }
  EXPECT_GT(pid_, 0);
  pidfd_ = PidFd(pid_);
}

Process::~Process() { Kill(); }

bool Process::running() { return !result_.has_value() && !AwaitReadable(pidfd_.get(), {}); }

bool Process::stopped() const {
  siginfo_t info = {};
  constexpr int kLook = WSTOPPED | WNOHANG | WNOWAIT;
  return !result_.has_value() && ::waitid(P_PID, static_cast<id_t>(pid_), &info, kLook) == 0 &&
         info.si_pid == pid_;
}

void Process::Signal(int signal) const {
  if (!result_.has_value()) ::kill(pid_, signal);
}

int Process::Wait(absl::Duration limit) {
  if (result_.has_value()) return *result_;
  if (!AwaitReadable(pidfd_.get(), limit)) {
    ADD_FAILURE() << "process " << pid_ << " does not end";
    Signal(SIGKILL);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(pid_, &status, 0), pid_);
  result_ = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
  return *result_;
}

int Process::Stop() {
  Signal(SIGTERM);
  return Wait();
}

void Process::Kill() {
  Signal(SIGKILL);
  Wait();
}

void KillStranger(pid_t pid) {
  if (pid <= 0) return;
  const UniqueFd pidfd = PidFd(pid);
  if (!pidfd.valid()) return;
  ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
  EXPECT_TRUE(AwaitReadable(pidfd.get(), kPatience)) << "process " << pid << " does not end";
}

pid_t ListenerOf(const std::string& socket_path, int socket_type) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  socket_path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  const UniqueFd fd(::socket(AF_UNIX, socket_type | SOCK_CLOEXEC, 0));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    return 0;
  ucred peer = {};
  socklen_t size = sizeof(peer);
  return ::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 ? peer.pid : 0;
}

}  // namespace berth::testing
