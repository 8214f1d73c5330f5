// SPDX-License-Identifier: Apache-2.0
#include "agent/grants/event_forwarder.h"

#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "lib/base/status.h"

namespace berth {
namespace {

// A guest that raises events as fast as its VMM reads them gives way to other work after so many.
constexpr size_t kRecordsPerTurn = 256;

berth_vmm_event ToWire(uint32_t unit, Veventq::Type type, const Vevent& record) {
  berth_vmm_event event = {};
  event.unit = unit;
  event.source = type == Veventq::Type::kArmSmmuv3 ? BERTH_VMM_EVENT_SMMUV3 : BERTH_VMM_EVENT_CMDQV;
  event.flags = record.kind == Vevent::Kind::kLost ? BERTH_VMM_EVENT_LOST : 0;
  event.sequence = record.sequence;
  std::copy(record.data.begin(), record.data.end(), event.data);
  return event;
}

}  // namespace

EventForwarder::EventForwarder(FdPoller* poller, PreparedContext* context, Runner run,
                               Observer observe)
    : poller_(poller), run_(std::move(run)), observe_(std::move(observe)) {
  for (uint32_t unit = 0; unit < context->units().size(); ++unit) {
    for (Veventq& events : context->units()[unit].events)
      queues_.push_back({unit, &events, {}, {}});
  }
}

EventForwarder::~EventForwarder() {
  Close();
  if (!started_) return;
  for (const Queue& queue : queues_) poller_->Remove(queue.watch);
}

absl::Status EventForwarder::Start() {
  started_ = true;
  for (size_t i = 0; i < queues_.size(); ++i) {
    BERTH_ASSIGN_OR_RETURN(queues_[i].watch, poller_->Add(queues_[i].events->fd(), 0,
                                                          [run = run_, i](uint32_t) { run(i); }));
  }
  return absl::OkStatus();
}

absl::Status EventForwarder::Open(uint64_t session_id, wire::EventChannel channel) {
  Close();
  BERTH_ASSIGN_OR_RETURN(
      const FdPoller::WatchId watch,
      poller_->Add(channel.fd(), 0, [run = run_, i = queue_count()](uint32_t) { run(i); }));
  session_id_ = session_id;
  channel_ = std::move(channel);
  channel_watch_ = watch;
  return PumpAll();
}

void EventForwarder::Close() {
  if (!channel_.valid()) return;
  poller_->Remove(channel_watch_);
  channel_ = wire::EventChannel();
}

// A queue that waits for the channel is armed again when the channel has room.
uint32_t EventForwarder::WhatToAwait(Pumped pumped) {
  return pumped == Pumped::kEmpty ? uint32_t{EPOLLIN} : 0;
}

absl::StatusOr<std::vector<Vevent>> EventForwarder::Read(const Queue& queue) const {
  absl::StatusOr<std::vector<Vevent>> read = queue.events->Read();
  const bool gone = ReasonOf(read.status()) == Reason::kKernelGone;
  const bool news = !read.ok() || !read->empty();
  if (observe_ && news && !gone) observe_(queue.unit, queue.events->type(), read);
  return read;
}

absl::StatusOr<EventForwarder::Pumped> EventForwarder::Pump(Queue& queue) {
  for (size_t sent = 0;;) {
    if (queue.unsent.empty()) {
      // The fd stays readable, so the poller calls again.
      if (sent >= kRecordsPerTurn) return Pumped::kEmpty;
      BERTH_ASSIGN_OR_RETURN(const std::vector<Vevent> read, Read(queue));
      if (read.empty()) return Pumped::kEmpty;
      queue.unsent.assign(read.begin(), read.end());
    }
    if (!channel_.valid()) return Pumped::kBlocked;
    const berth_vmm_event event = ToWire(queue.unit, queue.events->type(), queue.unsent.front());
    switch (channel_.Send(session_id_, event)) {
      case wire::EventChannel::Result::kSent:
        queue.unsent.pop_front();
        ++sent;
        break;
      case wire::EventChannel::Result::kFull:
        poller_->Arm(channel_watch_, EPOLLOUT);
        return Pumped::kBlocked;
      case wire::EventChannel::Result::kClosed:
        Close();
        return Pumped::kBlocked;
    }
  }
}

absl::Status EventForwarder::PumpAll() {
  for (Queue& queue : queues_) {
    BERTH_ASSIGN_OR_RETURN(const Pumped pumped, Pump(queue));
    poller_->Arm(queue.watch, WhatToAwait(pumped));
  }
  return absl::OkStatus();
}

absl::Status EventForwarder::OnReady(size_t queue) {
  // The channel has room, or its other end is closed: Send() tells.
  if (queue >= queues_.size()) return channel_.valid() ? PumpAll() : absl::OkStatus();
  BERTH_ASSIGN_OR_RETURN(const Pumped pumped, Pump(queues_[queue]));
  poller_->Arm(queues_[queue].watch, WhatToAwait(pumped));
  return absl::OkStatus();
}

}  // namespace berth
