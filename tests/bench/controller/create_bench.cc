// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/controller/create_bench.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/base/unique_fd.h"
#include "tests/bench/controller/callers.h"
#include "tests/bench/controller/create_cases.h"
#include "tests/bench/controller/process_cpu.h"
#include "tests/bench/report.h"

namespace berth::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr int kBatchCallers = 8;
constexpr int kUnloadedCalls = 1000;
constexpr int kSlices = 5;
constexpr int kMostOfACase = 8000;  // assignments
// Who makes room and fills up, unmeasured.
constexpr int kCallersBetween = 64;

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

// The same load on both, one after the other.
template <typename MakeLoad>
absl::Status RunSlice(const CreateBenchOptions& options, const MakeLoad& make, Pair* pair) {
  BERTH_ASSIGN_OR_RETURN(LoadResult echo, Run(options.echo, make()));
  Add(std::move(echo), &pair->echo);
  BERTH_ASSIGN_OR_RETURN(const double before, CpuSeconds(options.controller_pid));
  BERTH_ASSIGN_OR_RETURN(LoadResult controller, Run(options.api, make()));
  BERTH_ASSIGN_OR_RETURN(const double after, CpuSeconds(options.controller_pid));
  Add(std::move(controller), &pair->controller);
  pair->cpu_seconds += after - before;
  return absl::OkStatus();
}

// In turns, so that a busy machine harms both alike. `make(slice)` makes the load of one slice.
template <typename MakeLoad>
absl::StatusOr<Pair> RunPair(const CreateBenchOptions& options, const MakeLoad& make) {
  Pair pair;
  for (int i = 0; i < kSlices; ++i) {
    BERTH_RETURN_IF_ERROR(RunSlice(
        options, [&] { return make(i); }, &pair));
  }
  return pair;
}

// Without request ids, of which a controller remembers so many of an owner.
CreateLoad Unremembered(const std::string& prefix, int calls) {
  CreateLoad load = Creates(prefix, kCallersBetween, calls);
  load.next = [prefix](int call) {
    v1::CreateAssignmentRequest request = MakeCreate(prefix, call);
    request.clear_request_id();
    return request;
  };
  return load;
}

Conditions FleetConditions(const CreateBenchOptions& options) {
  return {{"hosts", absl::StrCat(options.shape.hosts)},
          {"devices_per_host", absl::StrCat(options.shape.devices_per_host())},
          {"units_per_host", absl::StrCat(options.shape.units_per_host)},
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

// One fleet on which case follows case: each has a prefix for its names, and says how full the
// fleet is to be when it begins.
class Cases {
 public:
  explicit Cases(const CreateBenchOptions& options)
      : options_(options),
        capacity_(options.shape.capacity()),
        size_(std::min(capacity_ / 5, kMostOfACase)) {}

  absl::Status Run();

 private:
  absl::Status Latency();
  // One call, one device.
  absl::Status Singles(const std::string& name, double full, const v1::AssignmentSpec& spec);
  absl::Status InBatches();
  absl::Status InGangs();
  absl::Status SameUnit();
  absl::Status FullChurn();
  absl::Status NoRoom();

  // Creates or deletes until so much of the capacity is taken.
  absl::Status FillTo(double full);
  absl::Status FillUp();
  // The names of so many creates of each slice are in the fleet now.
  void Note(const std::string& name, int slices, int count) {
    for (int slice = 0; slice < slices; ++slice) {
      for (int i = 0; i < count; ++i) live_.push_back(IdOf(absl::StrCat(name, slice), i));
    }
  }
  Conditions CaseConditions(const std::string& name, int callers) const {
    return With(FleetConditions(options_),
                {{"callers", absl::StrCat(callers)}, {"case", JsonText(name)}});
  }

  const CreateBenchOptions& options_;
  const int capacity_;
  const int size_;  // of a case
  std::vector<std::string> live_;
  int fills_ = 0;
};

absl::Status Cases::FillTo(double full) {
  const auto wanted = static_cast<size_t>(full * capacity_);
  if (live_.size() > wanted) {
    const std::vector<std::string> old(live_.begin() + static_cast<long>(wanted), live_.end());
    live_.resize(wanted);
    return bench::Run(options_.api, Deletes(old, kCallersBetween)).status();
  }
  const auto calls = static_cast<int>(wanted - live_.size());
  const std::string prefix = absl::StrCat("filling-", fills_++, "-");
  Note(prefix, 1, calls);
  return bench::Run(options_.api, Unremembered(prefix + "0", calls)).status();
}

// What has been deleted may not be free yet: goes on until nothing at all is placed any more.
absl::Status Cases::FillUp() {
  for (bool placed = true; placed;) {
    placed = false;
    std::atomic<bool> any = false;
    CreateLoad load = Unremembered(absl::StrCat("last-", fills_++), 1000);
    load.check = [&any](const grpc::Status& status, const v1::Assignment&) {
      if (status.ok()) any = true;
      return status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED ? absl::OkStatus()
                                                                         : ToStatus(status);
    };
    BERTH_RETURN_IF_ERROR(bench::Run(options_.api, load).status());
    placed = any;
  }
  return absl::OkStatus();
}

absl::Status Cases::Latency() {
  std::cerr << "create_latency: one caller\n";
  std::vector<double> fdatasync;
  absl::Status sampled;
  const int calls = std::min(kUnloadedCalls, size_) / kSlices;
  BERTH_ASSIGN_OR_RETURN(const Pair pair, RunPair(options_, [&](int slice) {
                           sampled.Update(SampleFdatasync(options_.folder, &fdatasync));
                           return Creates(absl::StrCat("lone-", slice), 1, calls);
                         }));
  Note("lone-", kSlices, calls);
  BERTH_RETURN_IF_ERROR(sampled);
  const double fdatasync_us = QuantilesOf(std::move(fdatasync)).p50;
  const Quantiles create = QuantilesOf(pair.controller.latencies_us);
  const double echo = QuantilesOf(pair.echo.latencies_us).p50;
  PrintLatency("create_latency", create,
               With(CaseConditions("fill", 1),
                    {{"batch", "1"},
                     {"echo_p50", JsonNumber(echo)},
                     {"fdatasync_p50", JsonNumber(fdatasync_us)},
                     {"above_echo_and_fdatasync", JsonNumber(create.p50 - echo - fdatasync_us)}}));
  return absl::OkStatus();
}

absl::Status Cases::Singles(const std::string& name, double full, const v1::AssignmentSpec& spec) {
  BERTH_RETURN_IF_ERROR(FillTo(full));
  const int calls = size_ / kSlices;
  std::cerr << "create_rate: " << options_.callers << " callers, " << size_ << " creates, " << name
            << "\n";
  BERTH_ASSIGN_OR_RETURN(const Pair pair, RunPair(options_, [&](int slice) {
                           return Creates(absl::StrCat(name, "-", slice), options_.callers, calls,
                                          spec);
                         }));
  Note(name + "-", kSlices, calls);
  PrintPair(pair, 1, CaseConditions(name, options_.callers));
  return absl::OkStatus();
}

absl::Status Cases::InBatches() {
  BERTH_RETURN_IF_ERROR(FillTo(0));
  std::cerr << "create_rate: " << kBatchCallers << " callers, batches of " << kBatch << "\n";
  const int calls = size_ / kSlices / kBatch;
  BERTH_ASSIGN_OR_RETURN(const Pair pair, RunPair(options_, [&](int slice) {
                           return Batches(absl::StrCat("batch-", slice), kBatchCallers, calls);
                         }));
  Note("batch-", kSlices, calls * kBatch);
  PrintPair(pair, kBatch, CaseConditions("fill", kBatchCallers));
  return absl::OkStatus();
}

absl::Status Cases::InGangs() {
  BERTH_RETURN_IF_ERROR(FillTo(0));
  std::cerr << "create_rate: " << options_.callers << " callers, gangs of " << kGang << "\n";
  const int calls = size_ / kSlices / kGang;
  BERTH_ASSIGN_OR_RETURN(const Pair pair, RunPair(options_, [&](int slice) {
                           return Gangs(absl::StrCat("gang-", slice), options_.callers, calls);
                         }));
  Note("gang-", kSlices, calls * kGang);
  PrintPair(pair, kGang, CaseConditions("gang-of-8", options_.callers));
  return absl::OkStatus();
}

// Two devices each, in turns with and without the constraint.
absl::Status Cases::SameUnit() {
  BERTH_RETURN_IF_ERROR(FillTo(0));
  std::cerr << "create_rate: " << options_.callers << " callers, two on one unit\n";
  const int calls = size_ / kSlices / 4;
  Pair anywhere;
  Pair same_unit;
  for (int slice = 0; slice < kSlices; ++slice) {
    for (const bool same : {false, true}) {
      const std::string prefix = absl::StrCat(same ? "one-unit-" : "anywhere-", slice);
      BERTH_RETURN_IF_ERROR(RunSlice(
          options_, [&] { return Creates(prefix, options_.callers, calls, TwoGpus(same)); },
          same ? &same_unit : &anywhere));
    }
  }
  Note("one-unit-", kSlices, calls);
  Note("anywhere-", kSlices, calls);
  PrintPair(anywhere, 1, CaseConditions("two-devices", options_.callers));
  const double ratio = Pair::Rate(same_unit.controller, 1) / Pair::Rate(anywhere.controller, 1);
  PrintPair(same_unit, 1,
            With(CaseConditions("two-on-one-unit", options_.callers),
                 {{"ratio_to_two_devices", JsonNumber(ratio)}}));
  return absl::OkStatus();
}

// The twentieth that is free is what deleted ones are on their way to.
absl::Status Cases::FullChurn() {
  BERTH_RETURN_IF_ERROR(FillTo(0.95));
  std::cerr << "create_rate: " << options_.callers << " callers, each Create after a Delete\n";
  const auto calls = static_cast<size_t>(size_ / kSlices);
  BERTH_ASSIGN_OR_RETURN(const Pair pair, RunPair(options_, [&](int slice) {
                           const auto first = live_.begin() + static_cast<long>(calls) * slice;
                           return Churn(absl::StrCat("churn-", slice), options_.callers,
                                        {first, first + static_cast<long>(calls)});
                         }));
  live_.erase(live_.begin(), live_.begin() + static_cast<long>(calls) * kSlices);
  Note("churn-", kSlices, static_cast<int>(calls));
  PrintPair(pair, 1, CaseConditions("churn", options_.callers));
  return absl::OkStatus();
}

absl::Status Cases::NoRoom() {
  BERTH_RETURN_IF_ERROR(FillUp());
  std::cerr << "create_rate: " << options_.callers << " callers, no room\n";
  const int calls = std::min(size_, kUnloadedCalls);
  BERTH_ASSIGN_OR_RETURN(const LoadResult refused,
                         bench::Run(options_.api, Refusals("none", options_.callers, calls)));
  PrintRate("create_rate", calls / refused.seconds, QuantilesOf(refused.latencies_us),
            With(CaseConditions("refused", options_.callers), {{"batch", "1"}}));
  return absl::OkStatus();
}

absl::Status Cases::Run() {
  BERTH_RETURN_IF_ERROR(Latency());
  BERTH_RETURN_IF_ERROR(Singles("fill", 0, OneGpu()));
  BERTH_RETURN_IF_ERROR(InBatches());
  BERTH_RETURN_IF_ERROR(Singles("selectors", 0, SelectedGpu()));
  BERTH_RETURN_IF_ERROR(SameUnit());
  BERTH_RETURN_IF_ERROR(InGangs());
  BERTH_RETURN_IF_ERROR(Singles("half", 0.5, OneGpu()));
  BERTH_RETURN_IF_ERROR(Singles("three-quarters", 0.75, OneGpu()));
  BERTH_RETURN_IF_ERROR(FullChurn());
  return NoRoom();
}

}  // namespace

absl::Status BenchCreate(const CreateBenchOptions& options) {
  const FleetShape& shape = options.shape;
  if (shape.capacity() < 2 * kUnloadedCalls) {
    return absl::InvalidArgumentError(absl::StrCat("there is room for ", shape.capacity(),
                                                   " assignments, too few to measure anything"));
  }
  std::cerr << "connecting " << shape.hosts << " agents\n";
  SyntheticFleet fleet(options.agents, shape);
  BERTH_RETURN_IF_ERROR(fleet.AwaitWelcome());
  BERTH_RETURN_IF_ERROR(Cases(options).Run());
  return fleet.Check();
}

}  // namespace berth::bench
