// SPDX-License-Identifier: Apache-2.0
#include "agent/grants/fd_poller.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "lib/base/status.h"

namespace berth {
namespace {
constexpr int kEventsPerWait = 64;
}  // namespace

FdPoller::FdPoller()
    : epoll_(::epoll_create1(EPOLL_CLOEXEC)), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (Control(EPOLL_CTL_ADD, wake_.get(), EPOLLIN, 0).ok())
    thread_ = std::thread([this] { Run(); });
}

FdPoller::~FdPoller() { Stop(); }

absl::Status FdPoller::Control(int operation, int fd, uint32_t events, uint64_t id) const {
  epoll_event event = {};
  event.events = events | EPOLLONESHOT;
  event.data.u64 = id;
  if (::epoll_ctl(epoll_.get(), operation, fd, &event) == 0) return absl::OkStatus();
  return ErrnoToStatus(errno, "epoll_ctl");
}

absl::StatusOr<FdPoller::WatchId> FdPoller::Add(int fd, uint32_t events, Callback callback) {
  absl::MutexLock lock(&mu_);
  const uint64_t id = next_id_++;
  // The thread cannot look the id up before it is there: it needs the mutex.
  BERTH_RETURN_IF_ERROR(Control(EPOLL_CTL_ADD, fd, events, id));
  watches_[id] = {fd, std::make_shared<const Callback>(std::move(callback))};
  return WatchId{id};
}

void FdPoller::Arm(WatchId id, uint32_t events) {
  absl::MutexLock lock(&mu_);
  const auto it = watches_.find(static_cast<uint64_t>(id));
  // It was added, so MOD cannot fail but for want of memory; then the next event is missed.
  if (it != watches_.end()) Control(EPOLL_CTL_MOD, it->second.fd, events, it->first).IgnoreError();
}

void FdPoller::Remove(WatchId id) {
  absl::MutexLock lock(&mu_);
  const auto it = watches_.find(static_cast<uint64_t>(id));
  if (it == watches_.end()) return;
  Control(EPOLL_CTL_DEL, it->second.fd, 0, 0).IgnoreError();
  watches_.erase(it);
}

void FdPoller::Stop() {
  if (!thread_.joinable()) return;
  ::eventfd_write(wake_.get(), 1);
  thread_.join();
}

void FdPoller::Run() {
  std::array<epoll_event, kEventsPerWait> events;
  for (;;) {
    const int count = ::epoll_wait(epoll_.get(), events.data(), kEventsPerWait, -1);
    if (count < 0 && errno != EINTR) return;
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<size_t>(i)];
      // A copy: the structure is packed, and its fields are no targets of references.
      const uint64_t id = event.data.u64;
      if (id == 0) return;
      std::shared_ptr<const Callback> callback;
      {
        absl::MutexLock lock(&mu_);
        const auto it = watches_.find(id);
        if (it == watches_.end()) continue;
        callback = it->second.callback;
      }
      (*callback)(event.events);
    }
  }
}

}  // namespace berth
