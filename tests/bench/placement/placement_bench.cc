// SPDX-License-Identifier: Apache-2.0
//
// How long the engine takes to decide, and how much memory a host costs. Prints one JSON line for
// each measure on stdout; latencies in microseconds, of single decisions in one thread.
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/placement/engine.h"

namespace berth::placement {
namespace {

using Clock = std::chrono::steady_clock;

// A fleet of hosts that are alike but for their rack and the memory of their GPUs.
struct Shape {
  int hosts = 0;
  int units = 2;
  int gpus_per_unit = 4;
  int nics_per_unit = 1;
  uint32_t vintfs = 63;
};

int DevicesPerHost(const Shape& shape) {
  return shape.units * (shape.gpus_per_unit + shape.nics_per_unit);
}

void AddDevice(HostSnapshot& host, const std::string& device_class, int memory) {
  DeviceSnapshot device;
  const auto n = static_cast<int>(host.devices.size());
  device.id = DeviceId(absl::StrCat("0000-", absl::Hex(n, absl::kZeroPad2), "-00-0-10de-2342-",
                                    host.id.str(), "a1b2c3"));
  device.device_class = device_class;
  device.vendor_id = 0x10de;
  device.device_id = 0x2342;
  device.attributes = {{"memory_gib", int64_t{memory}}, {"model", "GH200"}, {"sriov", false}};
  device.unit = host.units.back().id;
  device.numa_node = static_cast<int>(host.units.size()) - 1;
  device.iommu_group = n;
  host.devices.push_back(std::move(device));
}

HostSnapshot Host(const Shape& shape, int index) {
  HostSnapshot host;
  host.id = HostId(absl::StrCat("host-", absl::Dec(index, absl::kZeroPad6)));
  host.labels = {{"rack", absl::StrCat("r", index / 40)}, {"zone", absl::StrCat("z", index % 3)}};
  host.huge_pages = {{int64_t{2} << 20, 100'000}};
  for (int u = 0; u < shape.units; ++u) {
    UnitSnapshot unit;
    unit.id = UnitId(absl::StrCat("smmu3.0x", absl::Hex(0x11000000 + u * 0x1000000)));
    unit.capacity = DefaultCapacity(UnitProfile::kTegra241Cmdqv);
    unit.capacity.vintfs = shape.vintfs;
    host.units.push_back(unit);
    for (int i = 0; i < shape.gpus_per_unit; ++i) AddDevice(host, "gpu", index % 5 == 0 ? 144 : 96);
    for (int i = 0; i < shape.nics_per_unit; ++i) AddDevice(host, "nic", 0);
  }
  return host;
}

void Fill(const Shape& shape, Engine& engine) {
  for (int i = 0; i < shape.hosts; ++i) {
    if (!engine.UpsertHost(Host(shape, i)).ok()) std::abort();
  }
}

Request Ask(const std::string& device_class, uint32_t count = 1) {
  Request request;
  request.devices.push_back({device_class, {DeviceSpec{device_class, count, {}, {}}}});
  return request;
}

struct Quantiles {
  double p50 = 0;
  double p99 = 0;
};

Quantiles Of(std::vector<double>& samples) {
  std::sort(samples.begin(), samples.end());
  const auto at = [&](double q) {
    return samples[static_cast<size_t>(q * static_cast<double>(samples.size() - 1))];
  };
  return {at(0.5), at(0.99)};
}

void Print(const std::string& name, const std::string& unit, double value, const Quantiles* latency,
           const Shape& shape, const std::string& load) {
  std::printf("{\"name\":\"%s\",\"value\":%.2f,\"unit\":\"%s\"", name.c_str(), value, unit.c_str());
  if (latency != nullptr) std::printf(",\"p50\":%.2f,\"p99\":%.2f", latency->p50, latency->p99);
  std::printf(",\"conditions\":{\"hosts\":%d,\"devices_per_host\":%d,\"case\":\"%s\"}}\n",
              shape.hosts, DevicesPerHost(shape), load.c_str());
  std::fflush(stdout);
}

double Micros(Clock::time_point from) {
  return std::chrono::duration<double, std::micro>(Clock::now() - from).count();
}

// Decisions of one request; each that fits is reserved, so that the fleet changes. With `keep`
// reservations the oldest is released first: a full fleet churns.
void Decide(const std::string& load, const Shape& shape, Engine& engine, const Request& request,
            int decisions, size_t keep) {
  std::vector<double> place;
  std::vector<double> book;
  std::vector<AssignmentUid> live;
  static int uids = 0;
  size_t oldest = 0;
  int fits = 0;
  for (int i = 0; i < decisions; ++i) {
    const auto start = Clock::now();
    const absl::StatusOr<Placement> placement = engine.Place(request);
    place.push_back(Micros(start));
    if (!placement.ok()) continue;
    ++fits;
    const auto reserve = Clock::now();
    live.emplace_back(std::to_string(uids++));
    if (!engine.Reserve(live.back(), *placement).ok()) std::abort();
    book.push_back(Micros(reserve));
    if (live.size() - oldest > keep && !engine.Release(live[oldest++]).ok()) std::abort();
  }
  const Quantiles decision = Of(place);
  Print("placement_decision", "us", decision.p50, &decision, shape,
        absl::StrCat(load, fits == 0 ? ", refused" : ""));
  if (!book.empty()) {
    const Quantiles reservation = Of(book);
    Print("placement_reserve", "us", reservation.p50, &reservation, shape, load);
  }
  while (oldest < live.size()) {
    if (!engine.Release(live[oldest++]).ok()) std::abort();
  }
}

size_t HeapBytes() { return mallinfo2().uordblks + mallinfo2().hblkhd; }

void Fleet(int hosts) {
  const Shape shape{.hosts = hosts};
  const size_t before = HeapBytes();
  Engine engine;
  const auto start = Clock::now();
  Fill(shape, engine);
  const double seconds = Micros(start) / 1e6;
  Print("placement_memory_per_host", "bytes", static_cast<double>(HeapBytes() - before) / hosts,
        nullptr, shape, "idle");
  Print("placement_load", "per_second", hosts / seconds, nullptr, shape, "upsert");

  constexpr int kDecisions = 20'000;
  constexpr size_t kKeep = 5'000;
  Decide("class", shape, engine, Ask("gpu"), kDecisions, kKeep);
  Request four = Ask("gpu", 4);
  Decide("class x4", shape, engine, four, kDecisions, kKeep);
  four.constraints.push_back({Constraint::Kind::kSameUnit, {}, ""});
  Decide("class x4 same-unit", shape, engine, four, kDecisions, kKeep);
  Request both = Ask("gpu", 2);
  both.devices.push_back({"nic", {DeviceSpec{"nic", 1, {}, {}}}});
  Decide("two classes", shape, engine, both, kDecisions, kKeep);
  both.constraints.push_back({Constraint::Kind::kSameUnit, {}, ""});
  Decide("two classes same-unit", shape, engine, both, kDecisions, kKeep);

  Request selector = Ask("gpu", 2);
  selector.devices[0].alternatives[0].requirements = {{"memory_gib", Operator::kGt, {"100"}},
                                                      {"model", Operator::kIn, {"GH200"}}};
  Decide("attribute selector", shape, engine, selector, kDecisions, kKeep);
  selector.host_selector = {{"rack", Operator::kIn, {absl::StrCat("r", hosts / 80)}}};
  Decide("attribute and host selector", shape, engine, selector, 500, 4);
  selector.host_selector = {{"rack", Operator::kIn, {"nowhere"}}};
  Decide("host selector", shape, engine, selector, 200, 0);
  Decide(
      "five on one unit", shape, engine,
      [] {
        Request five = Ask("gpu", 5);
        five.constraints.push_back({Constraint::Kind::kSameUnit, {}, ""});
        return five;
      }(),
      2'000, 0);
  Decide("unknown class", shape, engine, Ask("fpga"), 2'000, 0);
  Request nodes = Ask("gpu", 5);
  nodes.constraints.push_back({Constraint::Kind::kSameNumaNode, {}, ""});
  Decide("five on one NUMA node", shape, engine, nodes, 100, 0);
}

// A full fleet, with as much coming as going.
void FullFleet(int hosts) {
  const Shape shape{.hosts = hosts};
  Engine engine;
  Fill(shape, engine);
  const int gpus = hosts * shape.units * shape.gpus_per_unit;
  Decide("class, fill, then full churn", shape, engine, Ask("gpu"), gpus + 20'000,
         static_cast<size_t>(gpus) - 1);
  std::vector<AssignmentUid> live;
  for (;;) {
    const absl::StatusOr<Placement> placement = engine.Place(Ask("gpu", 8));
    if (!placement.ok()) break;
    live.emplace_back(absl::StrCat("full", live.size()));
    if (!engine.Reserve(live.back(), *placement).ok()) std::abort();
  }
  Decide("class, full", shape, engine, Ask("gpu"), 2'000, 0);
}

// SR-IOV: far more functions than VINTFs, which therefore run out first.
void ManyFunctions(int hosts) {
  const Shape shape{.hosts = hosts, .units = 1, .gpus_per_unit = 0, .nics_per_unit = 128};
  Engine engine;
  Fill(shape, engine);
  Decide("128 functions behind one unit", shape, engine, Ask("nic"), 20'000, 5'000);
  Request four = Ask("nic", 4);
  four.constraints.push_back({Constraint::Kind::kSameUnit, {}, ""});
  Decide("128 functions behind one unit, x4 same-unit", shape, engine, four, 20'000, 5'000);
  const int vintfs = hosts * 63;
  for (int i = 0; i < vintfs; ++i) {
    const absl::StatusOr<Placement> placement = engine.Place(Ask("nic"));
    if (!placement.ok()) std::abort();
    if (!engine.Reserve(AssignmentUid(absl::StrCat("v", i)), *placement).ok()) std::abort();
  }
  Decide("VINTFs used up", shape, engine, Ask("nic"), 2'000, 0);
}

// Units that are all alike: the case in which searches without an eye for symmetry explode.
void SymmetricUnits(uint32_t groups) {
  const Shape shape{.hosts = 1, .units = 64, .gpus_per_unit = 2, .nics_per_unit = 1};
  Engine engine;
  Fill(shape, engine);
  Request request;
  for (uint32_t i = 0; i < 16; ++i) {
    const uint32_t count = groups / 16 + (i < groups % 16 ? 1 : 0);
    request.devices.push_back({absl::StrCat("g", i), {DeviceSpec{"gpu", count, {}, {}}}});
  }
  request.constraints.push_back({Constraint::Kind::kDistinctUnits, {}, ""});
  Decide(absl::StrCat("64 symmetric units, ", groups, " devices on distinct ones"), shape, engine,
         request, 200, 0);
}

}  // namespace
}  // namespace berth::placement

int main() {
  for (const int hosts : {500, 5'000, 50'000}) berth::placement::Fleet(hosts);
  berth::placement::FullFleet(5'000);
  berth::placement::ManyFunctions(1'000);
  berth::placement::SymmetricUnits(64);
  berth::placement::SymmetricUnits(65);
  return 0;
}
