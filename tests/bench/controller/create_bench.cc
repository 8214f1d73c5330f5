// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/controller/create_bench.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/base/unique_fd.h"
#include "tests/bench/controller/callers.h"
#include "tests/bench/controller/process_cpu.h"
#include "tests/bench/report.h"

namespace berth::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr int kBatch = 32;
constexpr int kBatchCallers = 8;
constexpr int kUnloadedCalls = 1000;
constexpr int kSlices = 5;

BatchLoad Batches(const std::string& prefix, int calls) {
  BatchLoad load;
  load.callers = kBatchCallers;
  load.calls = calls;
  load.next = [prefix](int call) {
    v1::BatchCreateAssignmentsRequest request;
    request.set_mode(v1::BatchCreateAssignmentsRequest::INDEPENDENT);
    for (int i = 0; i < kBatch; ++i) {
      *request.add_requests() = MakeCreate(prefix, call * kBatch + i);
    }
    return request;
  };
  load.start = [](Stub& stub, auto* context, const auto* request, auto* response, auto done) {
    stub.async()->BatchCreateAssignments(context, request, response, std::move(done));
  };
  load.check = [](const v1::BatchCreateAssignmentsResponse& response) -> absl::Status {
    for (const v1::BatchCreateResult& result : response.results()) {
      if (result.has_failure()) return absl::InternalError(result.failure().message());
    }
    return absl::OkStatus();
  };
  return load;
}

// Adds one slice to the whole.
void Add(LoadResult slice, LoadResult* whole) {
  whole->seconds += slice.seconds;
  whole->latencies_us.insert(whole->latencies_us.end(), slice.latencies_us.begin(),
                             slice.latencies_us.end());
}

struct Pair {
  LoadResult controller;
  LoadResult echo;
  double cpu_seconds = 0;  // of the controller
  [[nodiscard]] static double Rate(const LoadResult& of, int per_call) {
    return per_call * static_cast<double>(of.latencies_us.size()) / of.seconds;
  }
};

// The same load on both, in turns, so that a busy machine harms both alike.
template <typename MakeLoad>
absl::StatusOr<Pair> RunPair(const CreateBenchOptions& options, const std::string& prefix,
                             int calls, const MakeLoad& make) {
  Pair pair;
  for (int i = 0; i < kSlices; ++i) {
    const auto load = make(absl::StrCat(prefix, i), calls / kSlices);
    BERTH_ASSIGN_OR_RETURN(LoadResult echo, Run(options.echo, load));
    Add(std::move(echo), &pair.echo);
    BERTH_ASSIGN_OR_RETURN(const double before, CpuSeconds(options.controller_pid));
    BERTH_ASSIGN_OR_RETURN(LoadResult controller, Run(options.api, load));
    BERTH_ASSIGN_OR_RETURN(const double after, CpuSeconds(options.controller_pid));
    Add(std::move(controller), &pair.controller);
    pair.cpu_seconds += after - before;
  }
  return pair;
}

Conditions FleetConditions(const CreateBenchOptions& options) {
  return {{"hosts", absl::StrCat(options.shape.hosts)},
          {"devices_per_host",
           absl::StrCat(options.shape.units_per_host * options.shape.gpus_per_unit)},
          {"store", JsonText(options.store)}};
}

Conditions With(Conditions conditions, const Conditions& more) {
  conditions.insert(conditions.end(), more.begin(), more.end());
  return conditions;
}

void PrintPair(const Pair& pair, int per_call, const Conditions& conditions) {
  const double rate = Pair::Rate(pair.controller, per_call);
  const double echo_rate = Pair::Rate(pair.echo, per_call);
  const double creates = per_call * static_cast<double>(pair.controller.latencies_us.size());
  PrintRate("create_rate", rate, QuantilesOf(pair.controller.latencies_us),
            With(conditions,
                 {{"batch", absl::StrCat(per_call)},
                  {"echo_rate", JsonNumber(echo_rate)},
                  {"ratio_to_echo", JsonNumber(rate / echo_rate)},
                  {"controller_cpu_us_per_create", JsonNumber(1e6 * pair.cpu_seconds / creates)}}));
}

// Of 4 KiB written over what a file has, as the store's log does most of the time.
absl::Status SampleFdatasync(const std::string& folder, std::vector<double>* samples_us) {
  constexpr int kWrites = 60;
  constexpr size_t kSize = 4096;
  std::string path = folder + "/fdatasync.XXXXXX";
  const UniqueFd fd(::mkstemp(path.data()));
  if (!fd.valid()) return absl::ErrnoToStatus(errno, path);
  ::unlink(path.c_str());
  const std::vector<char> bytes(kWrites * kSize, 1);
  if (::pwrite(fd.get(), bytes.data(), bytes.size(), 0) < 0 || ::fsync(fd.get()) != 0) {
    return absl::ErrnoToStatus(errno, path);
  }
  for (int i = 0; i < kWrites; ++i) {
    const auto start = SteadyClock::now();
    if (::pwrite(fd.get(), bytes.data(), kSize, i * off_t{kSize}) < 0 ||
        ::fdatasync(fd.get()) != 0) {
      return absl::ErrnoToStatus(errno, path);
    }
    samples_us->push_back(
        std::chrono::duration<double, std::micro>(SteadyClock::now() - start).count());
  }
  return absl::OkStatus();
}

absl::Status Latency(const CreateBenchOptions& options) {
  std::cerr << "create_latency: one caller\n";
  std::vector<double> fdatasync;
  absl::Status sampled;
  BERTH_ASSIGN_OR_RETURN(
      const Pair pair,
      RunPair(options, "lone", kUnloadedCalls, [&](const std::string& prefix, int calls) {
        sampled.Update(SampleFdatasync(options.folder, &fdatasync));
        return Creates(prefix, 1, calls);
      }));
  BERTH_RETURN_IF_ERROR(sampled);
  const double fdatasync_us = QuantilesOf(std::move(fdatasync)).p50;
  const Quantiles create = QuantilesOf(pair.controller.latencies_us);
  const double echo = QuantilesOf(pair.echo.latencies_us).p50;
  PrintLatency("create_latency", create,
               With(FleetConditions(options),
                    {{"callers", "1"},
                     {"case", JsonText("fill")},
                     {"batch", "1"},
                     {"echo_p50", JsonNumber(echo)},
                     {"fdatasync_p50", JsonNumber(fdatasync_us)},
                     {"above_echo_and_fdatasync", JsonNumber(create.p50 - echo - fdatasync_us)}}));
  return absl::OkStatus();
}

absl::Status Rate(const CreateBenchOptions& options, const std::string& when, int calls) {
  std::cerr << "create_rate: " << options.callers << " callers, " << calls << " creates, " << when
            << "\n";
  BERTH_ASSIGN_OR_RETURN(const Pair pair, RunPair(options, absl::StrCat(when, "-"), calls,
                                                  [&options](const std::string& prefix, int slice) {
                                                    return Creates(prefix, options.callers, slice);
                                                  }));
  PrintPair(pair, 1,
            With(FleetConditions(options),
                 {{"callers", absl::StrCat(options.callers)}, {"case", JsonText(when)}}));
  return absl::OkStatus();
}

absl::Status BatchRate(const CreateBenchOptions& options, const std::string& when, int creates) {
  std::cerr << "create_rate: " << kBatchCallers << " callers, batches of " << kBatch << "\n";
  BERTH_ASSIGN_OR_RETURN(const Pair pair, RunPair(options, "batch", creates / kBatch, Batches));
  PrintPair(pair, kBatch,
            With(FleetConditions(options),
                 {{"callers", absl::StrCat(kBatchCallers)}, {"case", JsonText(when)}}));
  return absl::OkStatus();
}

}  // namespace

absl::Status BenchCreate(const CreateBenchOptions& options) {
  const FleetShape& shape = options.shape;
  const int devices = shape.hosts * shape.units_per_host * shape.gpus_per_unit;
  if (devices < 4 * kUnloadedCalls) {
    return absl::InvalidArgumentError(
        absl::StrCat("the fleet has ", devices, " devices, too few to measure anything"));
  }
  std::cerr << "connecting " << shape.hosts << " agents\n";
  SyntheticFleet fleet(options.agents, shape);
  BERTH_RETURN_IF_ERROR(fleet.AwaitWelcome());
  // A quarter for each, and a little left.
  const int quarter = (devices - kUnloadedCalls) / 4;
  BERTH_RETURN_IF_ERROR(Latency(options));
  BERTH_RETURN_IF_ERROR(Rate(options, "fill", quarter));
  BERTH_RETURN_IF_ERROR(BatchRate(options, "fill", quarter));
  BERTH_RETURN_IF_ERROR(Rate(options, "half", quarter));
  BERTH_RETURN_IF_ERROR(Rate(options, "three-quarters", quarter));
  return fleet.Check();
}

}  // namespace berth::bench
