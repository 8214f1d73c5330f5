// SPDX-License-Identifier: Apache-2.0
#include "lib/daemon/fd_store.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "lib/base/status.h"
#include "lib/daemon/notify.h"

namespace berth {
namespace {

constexpr size_t kMaxName = 255;

absl::Status CheckName(std::string_view name) {
  if (IsFdName(name)) return absl::OkStatus();
  return Error(Reason::kInvalidField,
               absl::StrCat("\"", std::string(name), "\" cannot name an fd of the fd store"));
}

}  // namespace

std::vector<StoredFd> TakePassedFds(const PassedFds& passed) {
  std::vector<StoredFd> taken;
  const size_t count = std::min(kMaxStoredFds, static_cast<size_t>(std::max(passed.count, 0)));
  for (size_t i = 0; i < count; ++i) {
    const int fd = kFirstPassedFd + static_cast<int>(i);
    if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) continue;
    taken.push_back({i < passed.names.size() ? passed.names[i] : "unknown", UniqueFd(fd)});
  }
  if (passed.count > static_cast<int>(kMaxStoredFds)) {
    ::close_range(kFirstPassedFd + static_cast<unsigned>(kMaxStoredFds),
                  kFirstPassedFd + static_cast<unsigned>(passed.count) - 1, 0);
  }
  return taken;
}

bool IsFdName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxName &&
         std::all_of(name.begin(), name.end(),
                     [](char c) { return c >= ' ' && c <= '~' && c != ':'; });
}

absl::Status FdStore::Add(std::string_view name, int fd) const {
  BERTH_RETURN_IF_ERROR(CheckName(name));
  if (socket_.empty()) return absl::OkStatus();
  return TellManager(socket_, absl::StrCat("FDSTORE=1\nFDNAME=", std::string(name), "\nFDPOLL=0"),
                     {&fd, 1});
}

absl::Status FdStore::Remove(std::string_view name) const {
  BERTH_RETURN_IF_ERROR(CheckName(name));
  if (socket_.empty()) return absl::OkStatus();
  return TellManager(socket_, absl::StrCat("FDSTOREREMOVE=1\nFDNAME=", std::string(name)));
}

absl::Status FdStore::Barrier(absl::Duration timeout) const {
  if (socket_.empty()) return absl::OkStatus();
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return ErrnoToStatus(errno, "pipe2");
  const UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  BERTH_RETURN_IF_ERROR(TellManager(socket_, "BARRIER=1", {&ends[1], 1}));
  theirs.Reset();
  // The manager closes its end when it comes to this message.
  const absl::Time deadline = absl::Now() + timeout;
  for (;;) {
    pollfd entry = {.fd = ours.get(), .events = 0, .revents = 0};
    const timespec left = absl::ToTimespec(std::max(deadline - absl::Now(), absl::ZeroDuration()));
    const int ready = ::ppoll(&entry, 1, &left, nullptr);
    if (ready > 0) return absl::OkStatus();
    if (ready < 0 && errno != EINTR) return ErrnoToStatus(errno, "poll");
    if (absl::Now() >= deadline) {
      return Error(Reason::kDeadlineExceeded,
                   absl::StrCat("the service manager did not come to it within ",
                                absl::FormatDuration(timeout)));
    }
  }
}

}  // namespace berth
