// SPDX-License-Identifier: Apache-2.0
//
// How long the engine takes to decide, and how much memory a host costs. Prints one JSON line for
// each measure on stdout; latencies in microseconds, of single decisions in one thread.
#include <malloc.h>

#include <cstdlib>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/placement/engine.h"
#include "tests/bench/placement/shapes.h"
#include "tests/bench/report.h"

namespace berth::placement {
namespace {

using bench::Conditions;
using bench::JsonText;
using bench::PrintLatency;
using bench::PrintMeasure;
using bench::QuantilesOf;

Conditions In(const Shape& shape, const std::string& load) {
  return {{"hosts", std::to_string(shape.hosts)},
          {"devices_per_host", std::to_string(DevicesPerHost(shape))},
          {"case", JsonText(load)}};
}

// Reservations of one bench.
class Book {
 public:
  explicit Book(Engine& engine) : engine_(engine) {}
  ~Book() {
    while (!live_.empty()) Release(live_.size() - 1);
  }
  Book(const Book&) = delete;
  Book& operator=(const Book&) = delete;

  void Reserve(const Placement& placement) {
    static int uids = 0;
    live_.emplace_back(std::to_string(uids++));
    if (!engine_.Reserve(live_.back(), placement).ok()) std::abort();
  }
  void ReleaseOne() { Release(random_() % live_.size()); }
  [[nodiscard]] size_t size() const { return live_.size(); }

 private:
  void Release(size_t which) {
    std::swap(live_[which], live_.back());
    if (!engine_.Release(live_.back()).ok()) std::abort();
    live_.pop_back();
  }

  Engine& engine_;
  std::vector<AssignmentUid> live_;
  std::mt19937_64 random_{1};
};

// Decisions of one request; each that fits is reserved, and beyond `keep` reservations one is
// released, so that the fleet changes.
void Decide(const std::string& load, const Shape& shape, Engine& engine, const Request& request,
            int decisions, size_t keep) {
  std::vector<double> place;
  std::vector<double> reserve;
  Book book(engine);
  for (int i = 0; i < decisions; ++i) {
    const auto start = WallClock::now();
    const absl::StatusOr<Placement> placement = engine.Place(request);
    place.push_back(MicrosSince(start));
    if (!placement.ok()) continue;
    const auto reserving = WallClock::now();
    book.Reserve(*placement);
    reserve.push_back(MicrosSince(reserving));
    if (book.size() > keep) book.ReleaseOne();
  }
  PrintLatency("placement_decision", QuantilesOf(place),
               In(shape, absl::StrCat(load, reserve.empty() ? ", refused" : "")));
  if (!reserve.empty()) PrintLatency("placement_reserve", QuantilesOf(reserve), In(shape, load));
}

// The same for gangs: each is one decision.
void DecideGangs(const std::string& load, const Shape& shape, Engine& engine,
                 const GangRequest& gang, int decisions) {
  std::vector<double> place;
  bool fits = false;
  bool complete = true;
  Book book(engine);
  for (int i = 0; i < decisions; ++i) {
    const auto start = WallClock::now();
    const absl::StatusOr<std::vector<Placement>> placements = engine.PlaceGang(gang);
    place.push_back(MicrosSince(start));
    if (!placements.ok()) {
      complete &= MetadataOf(placements.status()).count("search") == 0;
      continue;
    }
    fits = true;
    for (const Placement& placement : *placements) book.Reserve(placement);
    while (book.size() > 1000) book.ReleaseOne();
  }
  Conditions conditions = In(shape, absl::StrCat(load, fits ? "" : ", refused"));
  conditions.emplace_back("members", std::to_string(gang.members.size()));
  conditions.emplace_back("complete", complete ? "true" : "false");
  PrintLatency("placement_decision", QuantilesOf(place), conditions);
}

size_t HeapBytes() { return mallinfo2().uordblks + mallinfo2().hblkhd; }

void Selectors(const Shape& shape, Engine& engine) {
  constexpr int kDecisions = 20'000;
  constexpr size_t kKeep = 5'000;
  Request selector = Ask("gpu", 2);
  selector.devices[0].alternatives[0].requirements = {{"memory_gib", Operator::kGt, {"100"}},
                                                      {"model", Operator::kIn, {"GH200"}}};
  Decide("attribute selector", shape, engine, selector, kDecisions, kKeep);
  selector.host_selector = {{"rack", Operator::kIn, {absl::StrCat("r", shape.hosts / 80)}}};
  Decide("attribute and host selector", shape, engine, selector, 500, 4);
  selector.host_selector = {{"rack", Operator::kIn, {"nowhere"}}};
  Decide("host selector", shape, engine, selector, 200, 0);
}

void CannotFit(const Shape& shape, Engine& engine) {
  Request five = Ask("gpu", 5);
  five.constraints.push_back({Constraint::Kind::kSameUnit, {}, ""});
  Decide("five on one unit", shape, engine, five, 2'000, 0);
  Decide("unknown class", shape, engine, Ask("fpga"), 2'000, 0);
  five.constraints[0].kind = Constraint::Kind::kSameNumaNode;
  Decide("five on one NUMA node", shape, engine, five, 100, 0);
}

void Gangs(const Shape& shape, Engine& engine) {
  using Kind = GangConstraint::Kind;
  GangRequest gang;
  gang.members.assign(8, Ask("gpu"));
  DecideGangs("gang of 8", shape, engine, gang, 2'000);
  gang.constraints = {{Kind::kSameHost, {}, ""}};
  DecideGangs("gang of 8 on one host", shape, engine, gang, 2'000);
  gang.constraints = {{Kind::kDistinctHosts, {}, ""}};
  DecideGangs("gang of 8 on distinct hosts", shape, engine, gang, 2'000);
  gang.constraints.push_back({Kind::kSameLabel, {}, "rack"});
  DecideGangs("gang of 8 on distinct hosts of one rack", shape, engine, gang, 100);
  // Nine GPUs of a host that has eight.
  gang.constraints = {{Kind::kSameHost, {}, ""}};
  gang.members.assign(9, Ask("gpu"));
  DecideGangs("gang of 9 on one host", shape, engine, gang, 20);
}

void Fleet(int hosts) {
  const Shape shape{.hosts = hosts};
  const size_t before = HeapBytes();
  Engine engine;
  const auto start = WallClock::now();
  Fill(shape, engine);
  const double seconds = MicrosSince(start) / 1e6;
  const double bytes = static_cast<double>(HeapBytes() - before) / hosts;
  PrintMeasure("placement_memory_per_host", "bytes", bytes, {bytes, bytes}, In(shape, "idle"));
  PrintMeasure("placement_load", "per_second", hosts / seconds, {hosts / seconds, hosts / seconds},
               In(shape, "upsert"));

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
  Selectors(shape, engine);
  CannotFit(shape, engine);
  Gangs(shape, engine);
}

// From empty to full, then as much coming as going when it is full and when it is half full.
void Loads(int hosts) {
  const Shape shape{.hosts = hosts};
  Engine engine;
  Fill(shape, engine);
  Book book(engine);
  const int all = hosts * shape.units * shape.gpus_per_unit;
  const auto gpus = static_cast<size_t>(all);
  const Request one = Ask("gpu");
  const auto measure = [&](const std::string& load, size_t decisions, size_t most) {
    std::vector<double> place;
    while (place.size() < decisions) {
      while (book.size() >= most) book.ReleaseOne();
      const auto start = WallClock::now();
      const absl::StatusOr<Placement> placement = engine.Place(one);
      place.push_back(MicrosSince(start));
      if (!placement.ok()) std::abort();
      book.Reserve(*placement);
    }
    PrintLatency("placement_decision", QuantilesOf(place), In(shape, load));
  };
  measure("fill", gpus, gpus + 1);
  GangRequest gang;
  gang.members.assign(8, one);
  Decide("full", shape, engine, one, 2'000, 0);
  DecideGangs("full, gang of 8", shape, engine, gang, 200);
  // Seven places for eight.
  for (int i = 0; i < 7; ++i) book.ReleaseOne();
  DecideGangs("seven left, gang of 8", shape, engine, gang, 200);
  measure("full churn", 20'000, gpus);
  measure("half", 20'000, gpus / 2);
  DecideGangs("half, gang of 8", shape, engine, gang, 2'000);
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
  Book book(engine);
  const int vintfs = hosts * 63;
  for (int i = 0; i < vintfs; ++i) {
    const absl::StatusOr<Placement> placement = engine.Place(Ask("nic"));
    if (!placement.ok()) std::abort();
    book.Reserve(*placement);
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
  std::vector<double> place;
  bool fits = false;
  for (int i = 0; i < 200; ++i) {
    const auto start = WallClock::now();
    fits = engine.Place(request).ok();
    place.push_back(MicrosSince(start));
  }
  PrintLatency("symmetric_units", QuantilesOf(place),
               {{"units", std::to_string(shape.units)},
                {"devices", std::to_string(groups)},
                {"case", JsonText(fits ? "fits" : "refused")}});
}

}  // namespace
}  // namespace berth::placement

int main() {
  for (const int hosts : {500, 5'000, 50'000}) berth::placement::Fleet(hosts);
  for (const int hosts : {500, 5'000, 50'000}) berth::placement::Loads(hosts);
  berth::placement::ManyFunctions(1'000);
  berth::placement::SymmetricUnits(64);
  berth::placement::SymmetricUnits(65);
  return 0;
}
