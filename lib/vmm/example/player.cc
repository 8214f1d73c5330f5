// SPDX-License-Identifier: Apache-2.0
#include "lib/vmm/example/player.h"

#include <algorithm>
#include <span>
#include <string>
#include <utility>

#include "lib/vmm/example/spin.h"

namespace berth::example {
namespace {

using SteadyClock = std::chrono::steady_clock;

// One stream on its way into one queue: what a CPU of the guest is busy with.
class Lane {
 public:
  Lane(CommandQueue* queue, Stream stream, uint32_t repeat)
      : queue_(queue), stream_(std::move(stream)), rounds_left_(repeat) {}

  [[nodiscard]] bool done() const { return rounds_left_ == 0 && !waiting_; }
  [[nodiscard]] const CommandQueue& queue() const { return *queue_; }

  // Does what can be done now. Returns whether that was anything.
  bool Step(PlayResult* result) {
    if (waiting_) {
      if (!queue_->drained()) return false;
      result->sync_ns.push_back(static_cast<uint64_t>((SteadyClock::now() - rung_).count()));
      waiting_ = false;
    }
    return rounds_left_ > 0 && SubmitBatch(result);
  }

 private:
  bool SubmitBatch(PlayResult* result) {
    // A ring that is smaller than the recorded one takes a batch in parts.
    const uint32_t count =
        std::min(stream_.batches[batch_] - batch_done_, 1u << queue_->log2size());
    if (queue_->space() < count) {
      if (!std::exchange(found_full_, true)) ++result->full_waits;
      return false;
    }
    found_full_ = false;
    const auto commands = std::span<const Command>(stream_.commands).subspan(next_, count);
    queue_->Submit(commands);
    rung_ = SteadyClock::now();
    ++result->doorbells;
    result->commands += count;
    next_ += count;
    batch_done_ += count;
    waiting_ = OpcodeOf(commands.back()) == Opcode::kCmdSync;
    if (batch_done_ == stream_.batches[batch_]) NextBatch();
    return true;
  }

  void NextBatch() {
    batch_done_ = 0;
    if (++batch_ < stream_.batches.size()) return;
    batch_ = next_ = 0;
    --rounds_left_;
  }

  CommandQueue* queue_;
  Stream stream_;
  uint32_t rounds_left_;
  size_t batch_ = 0;
  uint32_t batch_done_ = 0;
  size_t next_ = 0;
  bool waiting_ = false;
  bool found_full_ = false;
  SteadyClock::time_point rung_;
};

std::vector<Lane> MakeLanes(const Trace& trace, uint32_t repeat, Guest* guest) {
  std::vector<Lane> lanes;
  for (Unit& unit : guest->units()) {
    if (unit.queues.empty()) continue;
    for (const Stream& stream : trace.streams) {
      CommandQueue* queue = &unit.queues[stream.queue % unit.queues.size()];
      lanes.emplace_back(queue, WithVsids(stream, unit.vsids), repeat);
    }
  }
  return lanes;
}

Outcome Stuck(const std::vector<Lane>& lanes) {
  for (const Lane& lane : lanes) {
    if (lane.done()) continue;
    const CommandQueue& queue = lane.queue();
    const std::string name = "vCMDQ " + std::to_string(queue.index());
    if (queue.in_error()) {
      return {ExitCode::kHardware,
              name + " stopped with CONS.ERR " + std::to_string(queue.error_code())};
    }
    if (!queue.drained()) return {ExitCode::kHardware, "CMD_SYNC timeout on " + name};
  }
  return {ExitCode::kHardware, "the queues do not get on"};
}

bool AnyError(const std::vector<Lane>& lanes) {
  return std::any_of(lanes.begin(), lanes.end(),
                     [](const Lane& lane) { return lane.queue().in_error(); });
}

}  // namespace

Outcome Play(const Trace& trace, uint32_t repeat, Guest* guest, PlayResult* result) {
  std::vector<Lane> lanes = MakeLanes(trace, repeat, guest);
  const SteadyClock::time_point start = SteadyClock::now();
  while (!std::all_of(lanes.begin(), lanes.end(), [](const Lane& lane) { return lane.done(); })) {
    Spinner spinner(CommandQueue::kPatience);
    bool progress = false;
    while (!progress) {
      for (Lane& lane : lanes) progress |= lane.Step(result);
      if (!progress && (AnyError(lanes) || !spinner.Pause())) return Stuck(lanes);
      progress |=
          std::all_of(lanes.begin(), lanes.end(), [](const Lane& lane) { return lane.done(); });
    }
  }
  result->elapsed += SteadyClock::now() - start;
  return {};
}

}  // namespace berth::example
