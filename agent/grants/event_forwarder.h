// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_GRANTS_EVENT_FORWARDER_H_
#define BERTH_AGENT_GRANTS_EVENT_FORWARDER_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "agent/grants/fd_poller.h"
#include "agent/grants/prepared_context.h"
#include "lib/wire/event_channel.h"

namespace berth {

// Reads the vEVENTQs of a context, alone, and passes their records on to the VMM's event channel.
// While the channel is full, or there is none, records stay in the kernel's queues, which are
// bounded and count what they drop. Runs on the grant's executor.
class EventForwarder {
 public:
  // `run` puts a call of OnReady(queue) on the grant's executor; it is called on the poller's
  // thread, also while the forwarder is being destroyed. `poller` and `context` outlive the
  // forwarder.
  using Runner = std::function<void(size_t queue)>;
  // `observe` hears of each read of a queue before its records go on, also of one that failed (but
  // for KERNEL_GONE, which is no news of that queue). On the grant's executor. May be empty.
  using Observer = std::function<void(uint32_t unit, Veventq::Type type,
                                      const absl::StatusOr<std::vector<Vevent>>& read)>;
  EventForwarder(FdPoller* poller, PreparedContext* context, Runner run, Observer observe = {});
  ~EventForwarder();
  EventForwarder(const EventForwarder&) = delete;
  EventForwarder& operator=(const EventForwarder&) = delete;

  // Watches the queues' fds for the end of the kernel behind them. Errors: FdPoller::Add().
  absl::Status Start();

  // From now on records go to `channel`, in place of any other before.
  absl::Status Open(uint64_t session_id, wire::EventChannel channel);
  void Close();

  // The fd of queue number `queue` (or, for queue_count(), the channel) has something to say.
  // KERNEL_GONE when the context is dead; other errors end forwarding of that queue.
  absl::Status OnReady(size_t queue);

  [[nodiscard]] size_t queue_count() const { return queues_.size(); }

 private:
  struct Queue {
    uint32_t unit;
    Veventq* events;
    FdPoller::WatchId watch = {};
    std::deque<Vevent> unsent;  // of one read
  };
  enum class Pumped : uint8_t { kEmpty, kBlocked };
  static uint32_t WhatToAwait(Pumped pumped);
  absl::StatusOr<Pumped> Pump(Queue& queue);
  [[nodiscard]] absl::StatusOr<std::vector<Vevent>> Read(const Queue& queue) const;
  absl::Status PumpAll();

  FdPoller* const poller_;
  const Runner run_;
  const Observer observe_;
  std::vector<Queue> queues_;
  bool started_ = false;
  uint64_t session_id_ = 0;
  wire::EventChannel channel_;
  FdPoller::WatchId channel_watch_ = {};
};

}  // namespace berth

#endif  // BERTH_AGENT_GRANTS_EVENT_FORWARDER_H_
