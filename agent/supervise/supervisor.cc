// SPDX-License-Identifier: Apache-2.0
#include "agent/supervise/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <iterator>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "agent/supervise/lock_holder.h"
#include "lib/base/status.h"
#include "lib/daemon/daemon.h"

extern char** environ;

namespace berth {
namespace {

constexpr std::string_view kListenPid = "LISTEN_PID=";
constexpr size_t kMostPidDigits = 20;

// What another manager says to us, and not to our child.
bool IsOfManager(std::string_view variable) {
  constexpr std::array<std::string_view, 7> kNames = {
      "NOTIFY_SOCKET=", "WATCHDOG_USEC=",  "WATCHDOG_PID=", kListenPid,
      "LISTEN_FDS=",    "LISTEN_FDNAMES=", "FDSTORE="};
  return std::any_of(kNames.begin(), kNames.end(),
                     [&](std::string_view name) { return variable.starts_with(name); });
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// All that a child needs, made before fork(2): after it only system calls are allowed.
class Launch {
 public:
  Launch(const std::vector<std::string>& command, const FdKeeper& keeper)
      : args_(command), argv_(Pointers(args_)) {
    for (char** entry = environ; *entry != nullptr; ++entry) {
      if (!IsOfManager(*entry)) environment_.emplace_back(*entry);
    }
    std::vector<std::string> names;
    for (const StoredFd& stored : keeper.fds()) {
      fds_.push_back(stored.fd.get());
      names.push_back(stored.name);
    }
    environment_.push_back(absl::StrCat("NOTIFY_SOCKET=", keeper.path()));
    environment_.push_back(absl::StrCat("LISTEN_FDS=", fds_.size()));
    environment_.push_back(absl::StrCat("LISTEN_FDNAMES=", absl::StrJoin(names, ":")));
    // The child writes its number behind this.
    environment_.push_back(std::string(kListenPid));
    environment_.back().resize(kListenPid.size() + kMostPidDigits, '\0');
    envp_ = Pointers(environment_);
  }

  // In the child; returns only when it fails.
  void Execute() {
    if (!PlaceFds()) return;
    char* const digits = environment_.back().data() + kListenPid.size();
    std::to_chars(digits, digits + kMostPidDigits, ::getpid());
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::signal(SIGPIPE, SIG_DFL);
    ::execve(argv_[0], argv_.data(), envp_.data());
  }

 private:
  // Where sd_listen_fds(3) expects them; out of the way first, so that none is overwritten before
  // its turn. All others are close-on-exec.
  bool PlaceFds() {
    const int above = kFirstPassedFd + static_cast<int>(fds_.size());
    for (int& fd : fds_) {
      fd = ::fcntl(fd, F_DUPFD_CLOEXEC, above);
      if (fd < 0) return false;
    }
    for (size_t i = 0; i < fds_.size(); ++i) {
      if (::dup2(fds_[i], kFirstPassedFd + static_cast<int>(i)) < 0) return false;
    }
    return true;
  }

  std::vector<std::string> args_;
  std::vector<char*> argv_;
  std::vector<std::string> environment_;
  std::vector<char*> envp_;
  std::vector<int> fds_;
};

// Each fd that is kept takes two for a moment, in the child.
void AllowManyFds() {
  rlimit limit = {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

bool IsOver(int pidfd) {
  pollfd entry = {.fd = pidfd, .events = POLLIN, .revents = 0};
  return ::poll(&entry, 1, 0) > 0;
}

bool WorthAnotherStart(int code) {
  return code != kExitOk && code != kExitUsage && code != kExitBadConfig;
}

// As long as the fd is open there is no other supervisor whose socket is in the folder.
absl::StatusOr<UniqueFd> LockFolderOf(const std::string& socket) {
  const std::string folder = std::filesystem::path(socket).parent_path();
  UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoToStatus(errno, absl::StrCat("opening ", folder));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
  if (errno != EWOULDBLOCK) return ErrnoToStatus(errno, absl::StrCat("locking ", folder));
  return Error(Reason::kStateConflict,
               absl::StrCat("another berth-agent supervise runs on ", folder, "; stop it first"));
}

}  // namespace

absl::StatusOr<int> Supervisor::Run(const Options& options) {
  AllowManyFds();
  BERTH_ASSIGN_OR_RETURN(const UniqueFd folder, LockFolderOf(options.socket));
  BERTH_ASSIGN_OR_RETURN(std::unique_ptr<FdKeeper> keeper,
                         FdKeeper::Listen(options.socket, options.log));
  return Supervisor(options, std::move(keeper)).RunChildren();
}

absl::StatusOr<int> Supervisor::RunChildren() {
  for (;;) {
    if (!TakeUp()) BERTH_RETURN_IF_ERROR(Start());
    const int code = AwaitEnd();
    if (stopping_ || !WorthAnotherStart(code)) return code;
    options_.log->Warn("the agent has ended and is started again",
                       {{"code", code}, {"after", delay_}, {"fds", keeper_->fds().size()}});
    if (!Pause()) return code;
    delay_ = std::min(delay_ * 2, options_.restart_max);
  }
}

bool Supervisor::TakeUp() {
  std::optional<LockHolder> found = FindLockHolder(options_.lock);
  if (!found.has_value()) return false;
  pid_ = found->pid;
  pidfd_ = std::move(found->pidfd);
  ours_ = false;
  options_.log->Info("took up the agent of a parent before this one", {{"pid", pid_}});
  // It blocked the signal before it took its lock, and comes to it when it serves.
  Send(SIGHUP);
  return true;
}

void Supervisor::Send(int signal) const {
  ::syscall(SYS_pidfd_send_signal, pidfd_.get(), signal, nullptr, 0);
}

absl::Status Supervisor::Start() {
  std::vector<std::string> command = options_.command;
  for (std::string& argument : std::exchange(once_, {})) command.push_back(std::move(argument));
  Launch launch(command, *keeper_);
  const pid_t pid = ::fork();
  if (pid < 0) return ErrnoToStatus(errno, "fork");
  if (pid == 0) {
    launch.Execute();
    ::_exit(127);
  }
  pid_ = pid;
  ours_ = true;
  pidfd_.Reset(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  options_.log->Info("started the agent", {{"pid", pid}});
  if (pidfd_.valid()) return absl::OkStatus();
  absl::Status status = ErrnoToStatus(errno, "pidfd_open");
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  return status;
}

void Supervisor::Await(int child, absl::Duration limit) {
  pollfd entries[] = {{.fd = child, .events = POLLIN, .revents = 0},
                      {.fd = keeper_->fd(), .events = POLLIN, .revents = 0},
                      {.fd = options_.signals->poll_fd(), .events = POLLIN, .revents = 0}};
  const timespec timeout = absl::ToTimespec(limit);
  if (::ppoll(entries, std::size(entries), limit == absl::InfiniteDuration() ? nullptr : &timeout,
              nullptr) <= 0) {
    return;
  }
  if (keeper_->Receive(pid_)) delay_ = options_.restart_min;
  if (entries[2].revents == 0) return;
  const std::optional<Signal> signal = options_.signals->Wait(absl::ZeroDuration());
  if (!signal.has_value()) return;
  if (*signal == Signal::kStop) stopping_ = true;
  if (child >= 0) Send(*signal == Signal::kStop ? SIGTERM : SIGHUP);
}

int Supervisor::AwaitEnd() {
  int status = 0;
  while (!(ours_ ? ::waitpid(pid_, &status, WNOHANG) == pid_ : IsOver(pidfd_.get()))) {
    Await(pidfd_.get(), absl::InfiniteDuration());
  }
  // What it said last.
  keeper_->Receive(pid_);
  pidfd_.Reset();
  pid_ = -1;
  if (!ours_) return stopping_ ? kExitOk : kExitFailed;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

bool Supervisor::Pause() {
  const absl::Time end = absl::Now() + delay_;
  for (;;) {
    const absl::Duration left = end - absl::Now();
    if (stopping_) return false;
    if (left <= absl::ZeroDuration()) return true;
    Await(-1, left);
  }
}

}  // namespace berth
