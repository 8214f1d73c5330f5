// SPDX-License-Identifier: Apache-2.0
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "tests/bench/hardware/filled_caches.h"
#include "tests/bench/hardware/unit.h"
#include "tests/bench/report.h"

namespace berth::bench {
namespace {

using emulator::Poller;
using emulator::Register;
using emulator::testing::GuestQueue;
using emulator::testing::kSync;
using SteadyClock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;
using Microseconds = std::chrono::duration<double, std::micro>;

enum class Caches { kNone, kFilled };
std::string ToJson(Caches caches) {
  return JsonText(caches == Caches::kFilled ? "filled" : "none: commands are only counted");
}

void Sleep(std::chrono::microseconds time) { std::this_thread::sleep_for(time); }

double CpuSeconds() {
  rusage usage = {};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

// Rings are filled before, and each is published by one write of PROD, so that the guest costs
// nothing: `threads` cores do the work. Two VINTFs for each thread.
void CommandsPerSecond(uint32_t tlbis, Caches caches, int threads) {
  constexpr uint32_t kLog2Size = 18;
  constexpr int kRounds = 15;
  const int vintfs = 2 * threads;
  FilledCaches filled(vintfs);
  Poller poller({.threads = threads});
  Unit unit(vintfs, kLog2Size, &poller, caches == Caches::kFilled ? filled.smmu() : nullptr);
  for (size_t q = 0; q < unit.queues(); ++q) FillRing(unit.queue(q).ring(), tlbis);
  const uint32_t size = 1U << kLog2Size;
  const uint32_t mask = 2 * size - 1;
  std::vector<double> rates;
  std::vector<double> cpu_rates;
  for (int round = 1; round <= kRounds; ++round) {
    const uint32_t prod = static_cast<uint32_t>(round) * size & mask;
    const double cpu = CpuSeconds();
    const auto start = SteadyClock::now();
    for (size_t q = 0; q < unit.queues(); ++q)
      unit.queue(q).registers().Store(Register::kProd, prod);
    for (size_t q = 0; q < unit.queues(); ++q) {
      while (unit.queue(q).cons() != prod) Sleep(std::chrono::microseconds(100));
    }
    const auto commands = static_cast<double>(unit.queues() * size);
    rates.push_back(commands / Seconds(SteadyClock::now() - start).count());
    cpu_rates.push_back(commands / (CpuSeconds() - cpu));
  }
  uint64_t cached = FilledCaches::kPages;
  for (int vmid = 1; vmid <= vintfs; ++vmid) {
    cached = std::min(cached, filled.CountCached(static_cast<uint16_t>(vmid)));
  }
  std::sort(rates.begin(), rates.end());
  const double median = rates[rates.size() / 2];
  // Of rates the low end is the bad one.
  PrintMeasure("vcmdq_commands_per_second", "per_second", median, {median, rates.front()},
               {{"mix", JsonText(absl::StrCat(tlbis, " TLBI : 1 SYNC"))},
                {"iotlb", ToJson(caches)},
                {"pages_cached_at_the_end", absl::StrCat(caches == Caches::kFilled ? cached : 0)},
                {"hardware_threads", absl::StrCat(threads)},
                {"queues", absl::StrCat(unit.queues())},
                {"per_second_of_cpu", JsonNumber(QuantilesOf(cpu_rates).p50)}});
}

// `meanwhile` is done again and again from the doorbell on.
template <typename Meanwhile>
double SyncLatency(GuestQueue& queue, Meanwhile meanwhile) {
  queue.Put(kSync);
  meanwhile();
  const auto start = SteadyClock::now();
  queue.RingDoorbell();
  while (queue.cons() != queue.prod()) meanwhile();
  return Microseconds(SteadyClock::now() - start).count();
}

void PrintSyncLatency(const std::vector<double>& samples, const char* state, const Unit& unit) {
  PrintLatency("sync_latency", QuantilesOf(samples),
               {{"state", JsonText(state)},
                {"iotlb", ToJson(Caches::kFilled)},
                {"queues", absl::StrCat(unit.queues())}});
}

void HotSyncLatency(int vintfs) {
  FilledCaches filled(1);
  Poller poller({});
  Unit unit(vintfs, 8, &poller, filled.smmu());
  std::vector<double> samples;
  for (int i = 0; i < 200000; ++i) samples.push_back(SyncLatency(unit.queue(0), [] {}));
  PrintSyncLatency(samples, "hot", unit);
}

void IdleSyncLatency() {
  FilledCaches filled(1);
  Poller poller({});
  Unit unit(1, 8, &poller, filled.smmu());
  std::vector<double> samples;
  // A guest does not know when it is looked at: commands come at any time between two looks.
  std::minstd_rand random(1);
  std::uniform_int_distribution<int> rest_us(20'000, 40'000);
  for (int i = 0; i < 250; ++i) {
    Sleep(std::chrono::microseconds(rest_us(random)));
    samples.push_back(SyncLatency(unit.queue(0), [] {}));
  }
  PrintSyncLatency(samples, "idle", unit);
}

// Percent of a core that this process uses while `wait`, about a second long, runs.
template <typename Wait>
Quantiles CpuDuring(Wait wait) {
  std::vector<double> percents;
  for (int i = 0; i < 5; ++i) {
    const double before = CpuSeconds();
    const auto start = SteadyClock::now();
    wait();
    percents.push_back(100 * (CpuSeconds() - before) / Seconds(SteadyClock::now() - start).count());
  }
  return QuantilesOf(percents);
}

// Beside it, what this machine takes for a thread that wakes up as often and does nothing. 128
// queues of guests are more than one unit has beside the host's own.
void IdleCpu() {
  const auto wait = absl::ToChronoMicroseconds(emulator::PollerOptions().max_wait);
  const Quantiles floor = CpuDuring([wait] {
    for (int i = 0; i < std::chrono::seconds(1) / wait; ++i) Sleep(wait);
  });
  FilledCaches filled(1);
  Poller poller({});
  Unit one(63, 8, &poller, filled.smmu());
  Unit other(1, 8, &poller, filled.smmu());
  Sleep(std::chrono::milliseconds(100));
  const Quantiles of = CpuDuring([] { Sleep(std::chrono::seconds(1)); });
  PrintMeasure("idle_cpu", "percent", of.p50, of,
               {{"queues", absl::StrCat(one.queues() + other.queues())},
                {"units", "2"},
                {"bare_wakeups_percent", JsonNumber(floor.p50)}});
}

// Latencies of a CMD_SYNC, in microseconds: those of queue q, and all in the order of sending.
struct Turns {
  std::vector<double> means;
  std::vector<double> samples;
};

// Each queue but the first, which has the filled ring, sends a CMD_SYNC in turn. One guest thread
// does it all, so that what is seen is not how a machine of few cores schedules guests.
Turns TakeTurns(Unit& unit, bool flood) {
  constexpr int kTurns = 2000;
  GuestQueue& flooding = unit.queue(0);
  const uint32_t size = flooding.ring().size();
  Turns turns;
  turns.means.resize(unit.queues());
  for (int turn = 0; turn < kTurns; ++turn) {
    for (size_t q = 1; q < unit.queues(); ++q) {
      turns.samples.push_back(SyncLatency(unit.queue(q), [&] {
        // A ring that is always full: as far ahead of CONS as PROD may be.
        if (!flood) return;
        flooding.registers().Store(Register::kProd, (flooding.cons() + size) & (2 * size - 1));
      }));
      turns.means[q] += turns.samples.back() / kTurns;
    }
  }
  return turns;
}

double MeanOf(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// The queue that fares worst while another floods, against what queues have without the flood; and
// against the mean of all while it lasts.
void FairnessUnderFlood(int vintfs) {
  FilledCaches filled(vintfs);
  Poller poller({});
  Unit unit(vintfs, 14, &poller, filled.smmu());
  FillRing(unit.queue(0).ring(), 63);
  const Turns quiet = TakeTurns(unit, false);
  const uint64_t before = unit.Executed(0);
  const Turns flooded = TakeTurns(unit, true);
  const uint64_t executed = unit.Executed(0) - before;
  const double total_us = std::accumulate(flooded.samples.begin(), flooded.samples.end(), 0.0);
  const double quiet_mean = MeanOf(quiet.samples);
  const double flooded_mean = MeanOf(flooded.samples);
  const double worst = *std::max_element(flooded.means.begin(), flooded.means.end());
  std::vector<double> ratios;
  for (const double sample : flooded.samples) ratios.push_back(sample / quiet_mean);
  PrintMeasure(
      "queue_fairness", "ratio", worst / quiet_mean, QuantilesOf(ratios),
      {{"load", JsonText("one queue floods, the others send a CMD_SYNC each in turn")},
       {"value_is", JsonText("worst mean latency of a queue over the mean of all "
                             "without the flood; quantiles are those of latencies")},
       {"iotlb", ToJson(Caches::kFilled)},
       {"queues", absl::StrCat(unit.queues())},
       {"mean_without_flood_us", JsonNumber(quiet_mean)},
       {"mean_us", JsonNumber(flooded_mean)},
       {"worst_queue_us", JsonNumber(worst)},
       {"worst_over_mean_of_all", JsonNumber(worst / flooded_mean)},
       {"flood_commands_per_second", JsonNumber(static_cast<double>(executed) / total_us * 1e6)}});
}

// All guests have full rings; when the first has been served completely, how far is the last?
void FairnessOfFloods() {
  constexpr uint32_t kLog2Size = 17;
  FilledCaches filled(8);
  Poller poller({});
  Unit unit(8, kLog2Size, &poller, filled.smmu());
  const uint32_t size = 1U << kLog2Size;
  for (size_t q = 0; q < unit.queues(); ++q) FillRing(unit.queue(q).ring(), 63);
  for (size_t q = 0; q < unit.queues(); ++q) unit.queue(q).registers().Store(Register::kProd, size);
  const auto sum = [](const std::vector<uint64_t>& counts) {
    return std::accumulate(counts.begin(), counts.end(), uint64_t{0});
  };
  std::vector<uint64_t> counts(unit.queues());
  while (sum(counts) < unit.queues() * size / 2) {
    for (size_t q = 0; q < unit.queues(); ++q) counts[q] = unit.Executed(q);
  }
  std::vector<double> shares;
  const double mean = static_cast<double>(sum(counts)) / static_cast<double>(counts.size());
  for (const uint64_t count : counts) shares.push_back(mean / static_cast<double>(count + 1));
  const double worst = *std::max_element(shares.begin(), shares.end());
  PrintMeasure("queue_fairness", "ratio", worst, QuantilesOf(shares),
               {{"load", JsonText("all queues flood")},
                {"value_is", JsonText("mean of executed commands over those of the worst queue")},
                {"iotlb", ToJson(Caches::kFilled)},
                {"queues", absl::StrCat(unit.queues())}});
}

void All() {
  for (const uint32_t tlbis : {63U, 1U}) {
    CommandsPerSecond(tlbis, Caches::kNone, 1);
    CommandsPerSecond(tlbis, Caches::kFilled, 1);
  }
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  for (int threads = 2; threads <= cores; threads *= 2) {
    CommandsPerSecond(63, Caches::kFilled, threads);
  }
  HotSyncLatency(1);
  HotSyncLatency(63);
  IdleSyncLatency();
  IdleCpu();
  FairnessUnderFlood(8);
  FairnessUnderFlood(63);
  FairnessOfFloods();
}

}  // namespace
}  // namespace berth::bench

int main() {
  berth::bench::All();
  return 0;
}
