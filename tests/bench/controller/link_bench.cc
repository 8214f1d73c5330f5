// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/controller/link_bench.h"

#include <iostream>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "lib/base/status.h"
#include "tests/bench/controller/callers.h"
#include "tests/bench/controller/process_cpu.h"
#include "tests/bench/report.h"

namespace berth::bench {
namespace {

constexpr absl::Duration kIdle = absl::Seconds(10);
constexpr int kCallers = 16;

// When each agent has heard of its grant.
class Arrivals {
 public:
  void Note(const std::string& uid) {
    const absl::Time now = absl::Now();
    absl::MutexLock lock(&mu_);
    times_.emplace(uid, now);
  }
  absl::Time Await(const std::string& uid) {
    absl::MutexLock lock(&mu_);
    const auto there = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return times_.contains(uid); };
    return mu_.AwaitWithTimeout(absl::Condition(&there), absl::Seconds(30))
               ? times_[uid]
               : absl::InfiniteFuture();
  }

 private:
  absl::Mutex mu_;
  std::map<std::string, absl::Time> times_ ABSL_GUARDED_BY(mu_);
};

Conditions ConditionsOf(const LinkBenchOptions& options) {
  return {{"hosts", absl::StrCat(options.shape.hosts)},
          {"devices_per_host",
           absl::StrCat(options.shape.units_per_host * options.shape.gpus_per_unit)}};
}

void PrintSeconds(const std::string& name, double seconds, const Conditions& conditions) {
  PrintMeasure(name, "s", seconds, {.p50 = seconds, .p99 = seconds}, conditions);
}

absl::Status IdleCpu(const LinkBenchOptions& options, const SyntheticFleet& fleet) {
  BERTH_ASSIGN_OR_RETURN(const double before, CpuSeconds(options.controller_pid));
  absl::SleepFor(kIdle);
  BERTH_ASSIGN_OR_RETURN(const double after, CpuSeconds(options.controller_pid));
  const double percent = 100 * (after - before) / absl::ToDoubleSeconds(kIdle);
  Conditions conditions = ConditionsOf(options);
  conditions.emplace_back("heartbeat_s", "1");
  conditions.emplace_back("answered_after_silence_s", JsonNumber(kAsksAfterSilenceSeconds));
  conditions.emplace_back("connections", absl::StrCat(fleet.connections()));
  conditions.emplace_back("cpu_us_per_heartbeat", JsonNumber(percent * 1e4 / options.shape.hosts));
  PrintMeasure("agents_idle_cpu", "percent", percent, {.p50 = percent, .p99 = percent}, conditions);
  return absl::OkStatus();
}

// One assignment for each host.
absl::Status LinkLatency(const LinkBenchOptions& options, Arrivals& arrivals) {
  absl::Mutex mu;
  std::map<std::string, absl::Time> sent;                     // by assignment id
  std::vector<std::pair<std::string, std::string>> answered;  // id, uid
  CreateLoad load = Creates("link", kCallers, options.shape.hosts);
  load.next = [&](int call) {
    v1::CreateAssignmentRequest request = MakeCreate("link", call);
    absl::MutexLock lock(&mu);
    sent[absl::StrCat("assignments/", request.assignment_id())] = absl::Now();
    return request;
  };
  load.check = [&](const grpc::Status& status, const v1::Assignment& created) {
    absl::MutexLock lock(&mu);
    answered.emplace_back(created.name(), created.uid());
    return ToStatus(status);
  };
  BERTH_RETURN_IF_ERROR(Run(options.api, load).status());
  std::vector<double> latencies;
  for (const auto& [name, uid] : answered) {
    const absl::Time arrived = arrivals.Await(uid);
    if (arrived == absl::InfiniteFuture()) {
      return absl::DeadlineExceededError(absl::StrCat("no agent has heard of ", name));
    }
    latencies.push_back(absl::ToDoubleMicroseconds(arrived - sent[name]));
  }
  Conditions conditions = ConditionsOf(options);
  conditions.emplace_back("callers", absl::StrCat(kCallers));
  conditions.emplace_back("from", JsonText("the call of Create"));
  PrintLatency("link_latency", QuantilesOf(std::move(latencies)), conditions);
  return absl::OkStatus();
}

}  // namespace

absl::Status BenchLink(const LinkBenchOptions& options) {
  std::cerr << "connecting " << options.shape.hosts << " agents\n";
  Arrivals arrivals;
  FleetShape shape = options.shape;
  shape.incarnation = options.after_restart ? 2 : 1;
  const absl::Time start = absl::Now();
  SyntheticFleet fleet(options.agents, shape,
                       [&arrivals](const std::string& uid) { arrivals.Note(uid); });
  BERTH_RETURN_IF_ERROR(fleet.AwaitWelcome());
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  Conditions conditions = ConditionsOf(options);
  if (options.after_restart) {
    conditions.emplace_back("assignments", absl::StrCat(fleet.desired()));
    PrintSeconds("resync", seconds, conditions);
    return fleet.Check();
  }
  PrintSeconds("agents_register", seconds, conditions);
  BERTH_RETURN_IF_ERROR(IdleCpu(options, fleet));
  BERTH_RETURN_IF_ERROR(LinkLatency(options, arrivals));
  return fleet.Check();
}

}  // namespace berth::bench
