// SPDX-License-Identifier: Apache-2.0
#include "lib/vmm/example/continuity.h"

#include <array>
#include <atomic>
#include <chrono>
#include <thread>
#include <tuple>

#include "lib/vmm/example/guest.h"

namespace berth::example {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr size_t kBatch = 16;
constexpr Command kTlbiNhAsid = {0x0001000000000011, 0};
// A guest does other things, too.
constexpr std::chrono::microseconds kPause{200};
constexpr std::chrono::milliseconds kBetweenCalls{20};
// Ten million batches are enough for any quantile.
constexpr size_t kMostSamples = 10'000'000;

// Calls the agent again and again, as a monitor does beside its guest. Until it is joined nobody
// else may call.
class Caller {
 public:
  explicit Caller(Guest* guest) : guest_(guest), thread_([this] { Run(); }) {}
  ~Caller() { std::ignore = Join(); }
  Caller(const Caller&) = delete;
  Caller& operator=(const Caller&) = delete;

  // What came of the calls.
  Outcome Join() {
    over_ = true;
    if (thread_.joinable()) thread_.join();
    return outcome_;
  }
  [[nodiscard]] uint64_t calls() const { return calls_; }

 private:
  void Run() {
    while (!over_ && outcome_.ok()) {
      berth_vmm_unit_reply unit = {};
      if (berth_vmm_get_unit(guest_->vmm(), 0, &unit, sizeof(unit)) != 0) {
        outcome_ = guest_->CallFailed("get unit");
      }
      ++calls_;
      std::this_thread::sleep_for(kBetweenCalls);
    }
  }

  Guest* const guest_;
  std::atomic<bool> over_ = false;
  std::atomic<uint64_t> calls_ = 0;
  Outcome outcome_;
  std::thread thread_;  // last: it uses the others
};

}  // namespace

Outcome RunContinuity(const Options& options, const std::function<void()>& begin,
                      const std::function<bool()>& stop, Continuity* result) {
  Guest guest;
  BERTH_EXAMPLE_TRY(guest.Attach(options.socket, options.assignment, options.token));
  BERTH_EXAMPLE_TRY(guest.AddMemory(options.memory));
  BERTH_EXAMPLE_TRY(guest.MapPage0());
  BERTH_EXAMPLE_TRY(guest.StartQueues(1));
  if (guest.units().empty() || guest.units().front().queues.empty()) {
    return {ExitCode::kUsage, "the assignment has no vCMDQ"};
  }
  CommandQueue& queue = guest.units().front().queues.front();
  std::array<Command, kBatch + 1> batch;
  batch.fill(kTlbiNhAsid);
  batch.back() = kCmdSync;
  Caller caller(&guest);
  for (bool begun = false; !stop(); begun = true) {
    const auto start = SteadyClock::now();
    queue.Submit(batch);
    BERTH_EXAMPLE_TRY(queue.Drain());
    if (result->batches_ns.size() < kMostSamples) {
      result->batches_ns.push_back(static_cast<uint64_t>((SteadyClock::now() - start).count()));
    }
    if (!begun) begin();
    std::this_thread::sleep_for(kPause);
  }
  BERTH_EXAMPLE_TRY(caller.Join());
  result->calls = caller.calls();
  result->submitted = queue.counts();
  return guest.Detach();
}

}  // namespace berth::example
