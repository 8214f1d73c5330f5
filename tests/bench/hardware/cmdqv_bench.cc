// SPDX-License-Identifier: Apache-2.0
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "tests/emulator/hardware/guest.h"

namespace berth::emulator::testing {
namespace {

using SteadyClock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;
using Microseconds = std::chrono::duration<double, std::micro>;

struct Percentiles {
  double p50;
  double p99;
};

Percentiles Of(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  return {samples[samples.size() / 2], samples[samples.size() * 99 / 100]};
}

void Print(const std::string& name, double value, const std::string& unit, Percentiles of,
           const std::string& conditions) {
  std::printf(R"({"name":"%s","value":%.3f,"unit":"%s","p50":%.3f,"p99":%.3f,"conditions":{%s}})"
              "\n",
              name.c_str(), value, unit.c_str(), of.p50, of.p99, conditions.c_str());
  std::fflush(stdout);
}

// A unit with `vintfs` VINTFs, all queues of which are mapped and enabled.
class Unit {
 public:
  Unit(int vintfs, uint32_t log2size) {
    for (int i = 0; i < vintfs; ++i) {
      const int vintf = cmdqv_.AllocVintf(i, 0);
      pages_.push_back(MapPage0(cmdqv_, vintf));
      for (int q = 0; q < cmdqv_.lvcmdqs_per_vintf(); ++q) {
        Ring ring(log2size);
        cmdqv_.MapLvcmdq(vintf, q, ring.memory(), log2size);
        queues_.emplace_back(pages_.back().data(), q, ring, [] {});
        if (!queues_.back().Enable()) std::abort();
      }
    }
  }
  GuestQueue& queue(size_t index) { return queues_[index]; }
  [[nodiscard]] size_t queues() const { return queues_.size(); }

 private:
  Tegra241Cmdqv cmdqv_{CmdqvConfig{}, {}};
  std::vector<Mapping> pages_;
  std::vector<GuestQueue> queues_;
};

// The ring is filled once with `tlbis` TLBIs for one CMD_SYNC, so that what is measured is the
// model and not the guest; the guest moves PROD on by 64 wherever there is room.
void CommandsPerSecond(uint32_t tlbis) {
  constexpr uint32_t kLog2Size = 12;
  constexpr uint32_t kBatch = 64;
  constexpr int kRounds = 20;
  Unit unit(1, kLog2Size);
  GuestQueue& queue = unit.queue(0);
  const Ring& ring = queue.ring();
  for (uint32_t i = 0; i < ring.size(); ++i) {
    ring.Write(i, i % (tlbis + 1) == tlbis ? kSync : kTlbiVa);
  }
  const uint32_t mask = 2 * ring.size() - 1;
  std::vector<double> rates;
  uint32_t prod = 0;
  for (int round = 0; round < kRounds; ++round) {
    constexpr uint64_t kCommands = uint64_t{1} << 22;
    const auto start = SteadyClock::now();
    for (uint64_t done = 0; done < kCommands; done += kBatch) {
      while (((prod - queue.cons()) & mask) + kBatch > ring.size()) {
      }
      prod = (prod + kBatch) & mask;
      queue.registers().Store(Register::kProd, prod);
    }
    while (queue.cons() != prod) {
    }
    rates.push_back(static_cast<double>(kCommands) / Seconds(SteadyClock::now() - start).count());
  }
  const Percentiles of = Of(rates);
  Print("hardware_commands_per_second", of.p50, "per_second", of,
        "\"tlbi_per_sync\":" + std::to_string(tlbis) + ",\"log2size\":12,\"queues\":1");
}

double SyncLatency(GuestQueue& queue) {
  queue.Put(kSync);
  const auto start = SteadyClock::now();
  queue.RingDoorbell();
  while (queue.cons() != queue.prod()) {
  }
  return Microseconds(SteadyClock::now() - start).count();
}

void HotSyncLatency(int vintfs) {
  Unit unit(vintfs, 8);
  std::vector<double> samples;
  for (int i = 0; i < 200000; ++i) samples.push_back(SyncLatency(unit.queue(0)));
  const Percentiles of = Of(samples);
  Print("hardware_sync_latency", of.p50, "us", of,
        "\"state\":\"hot\",\"queues\":" + std::to_string(unit.queues()));
}

void IdleSyncLatency() {
  Unit unit(1, 8);
  std::vector<double> samples;
  for (int i = 0; i < 100; ++i) {
    std::this_thread::sleep_for(std::chrono::microseconds(20000 + 37 * i));
    samples.push_back(SyncLatency(unit.queue(0)));
  }
  const Percentiles of = Of(samples);
  Print("hardware_sync_latency", of.p50, "us", of, "\"state\":\"idle\",\"queues\":2");
}

double CpuSeconds() {
  rusage usage = {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

// Percent of a core that this process uses while `wait`, about a second long, runs.
template <typename Wait>
Percentiles CpuDuring(Wait wait) {
  std::vector<double> percents;
  for (int i = 0; i < 5; ++i) {
    const double before = CpuSeconds();
    const auto start = SteadyClock::now();
    wait();
    percents.push_back(100 * (CpuSeconds() - before) / Seconds(SteadyClock::now() - start).count());
  }
  return Of(percents);
}

// Beside it, what this machine takes for a thread that wakes up as often and does nothing.
void IdleCpu() {
  const Percentiles floor = CpuDuring([] {
    for (int i = 0; i < 250; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(4));
  });
  Unit unit(63, 8);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const Percentiles of = CpuDuring([] { std::this_thread::sleep_for(std::chrono::seconds(1)); });
  Print("hardware_idle_cpu", of.p50, "percent_of_core", of,
        "\"queues\":" + std::to_string(unit.queues()) +
            ",\"bare_wakeups_percent\":" + std::to_string(floor.p50));
}

}  // namespace
}  // namespace berth::emulator::testing

int main() {
  using namespace berth::emulator::testing;  // NOLINT(google-build-using-namespace)
  CommandsPerSecond(63);
  CommandsPerSecond(1);
  HotSyncLatency(1);
  HotSyncLatency(63);
  IdleSyncLatency();
  IdleCpu();
  return 0;
}
