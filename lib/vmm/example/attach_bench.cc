// SPDX-License-Identifier: Apache-2.0
#include "lib/vmm/example/attach_bench.h"

#include <chrono>
#include <thread>

#include "lib/vmm/example/guest.h"

namespace berth::example {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr std::chrono::seconds kReadyPatience{30};
constexpr std::chrono::milliseconds kReadyPause{2};
// For the fresh context that the assignment gets after each VMM: the agent would keep one that
// comes meanwhile waiting.
constexpr std::chrono::milliseconds kRecycleTime{50};

// The assignment gets a fresh context after each VMM.
bool IsRecycling(const Guest& guest) {
  const uint32_t reason = berth_vmm_last_reason(guest.vmm());
  return reason == BERTH_VMM_REASON_NOT_READY || reason == BERTH_VMM_REASON_ALREADY_ATTACHED;
}

Outcome AttachWhenReady(const Options& options, Guest* guest, SteadyClock::time_point* start) {
  const auto deadline = SteadyClock::now() + kReadyPatience;
  for (;;) {
    *start = SteadyClock::now();
    Outcome outcome = guest->Attach(options.socket, options.assignment, options.token);
    if (outcome.ok() || !IsRecycling(*guest) || *start >= deadline) return outcome;
    std::this_thread::sleep_for(kReadyPause);
  }
}

Outcome Sample(const Options& options, uint64_t* nanoseconds) {
  Guest guest;
  SteadyClock::time_point start;
  BERTH_EXAMPLE_TRY(AttachWhenReady(options, &guest, &start));
  BERTH_EXAMPLE_TRY(guest.AddMemory(options.memory));
  BERTH_EXAMPLE_TRY(guest.MapPage0());
  BERTH_EXAMPLE_TRY(guest.StartQueues(1));
  if (guest.units().empty() || guest.units().front().queues.empty()) {
    return {ExitCode::kUsage, "the assignment has no vCMDQ"};
  }
  CommandQueue& queue = guest.units().front().queues.front();
  queue.Submit({&kCmdSync, 1});
  BERTH_EXAMPLE_TRY(queue.Drain());
  *nanoseconds = static_cast<uint64_t>((SteadyClock::now() - start).count());
  return guest.Detach();
}

}  // namespace

Outcome MeasureAttach(const Options& options, std::vector<uint64_t>* samples) {
  for (uint32_t i = 0; i < options.samples; ++i) {
    BERTH_EXAMPLE_TRY(Sample(options, &samples->emplace_back()));
    std::this_thread::sleep_for(kRecycleTime);
  }
  return {};
}

}  // namespace berth::example
