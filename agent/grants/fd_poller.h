// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_GRANTS_FD_POLLER_H_
#define BERTH_AGENT_GRANTS_FD_POLLER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "lib/base/unique_fd.h"

namespace berth {

// One thread that waits for the fds of all grants (epoll(7)). Each watch fires once and then waits
// to be armed again, so that nothing piles up for a busy grant. Thread-safe.
class FdPoller {
 public:
  enum class WatchId : uint64_t {};
  // Given the EPOLL* events, on the poller's thread; must not block.
  using Callback = std::function<void(uint32_t events)>;

  FdPoller();
  ~FdPoller();
  FdPoller(const FdPoller&) = delete;
  FdPoller& operator=(const FdPoller&) = delete;

  // Waits for `events` (EPOLLIN, EPOLLOUT; 0: for EPOLLHUP and EPOLLERR alone, which are always
  // told). `fd` stays the caller's and must stay open until Remove(). Errors: of epoll_ctl(2).
  absl::StatusOr<WatchId> Add(int fd, uint32_t events, Callback callback);
  // An unknown id is ignored.
  void Arm(WatchId id, uint32_t events);
  // The callback may still be running when this returns.
  void Remove(WatchId id);
  // Ends the thread. Idempotent; not from a callback.
  void Stop();

 private:
  struct Watch {
    int fd;
    std::shared_ptr<const Callback> callback;
  };
  void Run();
  absl::Status Control(int operation, int fd, uint32_t events, uint64_t id) const;

  UniqueFd epoll_;
  UniqueFd wake_;
  absl::Mutex mu_;
  std::map<uint64_t, Watch> watches_ ABSL_GUARDED_BY(mu_);
  uint64_t next_id_ ABSL_GUARDED_BY(mu_) = 1;  // 0 is the wake-up
  std::thread thread_;
};

}  // namespace berth

#endif  // BERTH_AGENT_GRANTS_FD_POLLER_H_
