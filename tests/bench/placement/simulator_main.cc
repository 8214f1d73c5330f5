// SPDX-License-Identifier: Apache-2.0
//
// Prints what each policy makes of the same workload, as JSON lines.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "tests/bench/placement/simulator.h"
#include "tests/bench/report.h"

namespace berth::placement {
namespace {

using bench::JsonNumber;
using bench::JsonText;
using bench::PrintMeasure;

void PrintPercent(const std::string& name, double ratio, const bench::Conditions& conditions) {
  PrintMeasure(name, "percent", ratio * 100, {ratio * 100, ratio * 100}, conditions);
}

void Run(const Shape& shape, double load, Policy policy) {
  Workload workload;
  workload.load = load;
  const Outcome outcome = Simulate(shape, workload, policy);
  const bench::Conditions conditions{
      {"hosts", std::to_string(shape.hosts)},
      {"gpus_per_unit", std::to_string(shape.gpus_per_unit)},
      {"units", std::to_string(shape.units)},
      {"policy", JsonText(policy == Policy::kPack ? "pack" : "spread")},
      {"offered_load", JsonNumber(load)},
      {"requests", std::to_string(outcome.requests)}};
  PrintPercent("simulated_utilisation", outcome.utilisation, conditions);
  PrintPercent("simulated_fragmentation", outcome.fragmentation, conditions);
  bench::Conditions by_size = conditions;
  const char* const sizes[4] = {"refused_x1", "refused_x2", "refused_x4_same_unit", "refused_x8"};
  for (int i = 0; i < 4; ++i) by_size.emplace_back(sizes[i], JsonNumber(outcome.refused[i] * 100));
  PrintPercent("simulated_refused_for_fragmentation", outcome.refused_for_fragmentation, by_size);
  PrintMeasure("simulated_decision", "us", bench::QuantilesOf(outcome.decisions_us).p50,
               bench::QuantilesOf(outcome.decisions_us), conditions);
}

}  // namespace
}  // namespace berth::placement

// Argument: the number of hosts.
int main(int argc, char** argv) {
  const int hosts = argc > 1 ? std::atoi(argv[1]) : 200;
  if (hosts < 1 || argc > 2) {
    std::fprintf(stderr, "usage: %s [HOSTS]\n", argv[0]);
    return 2;
  }
  using berth::placement::Policy;
  for (const double load : {0.7, 0.9, 1.1}) {
    for (const Policy policy : {Policy::kPack, Policy::kSpread}) {
      berth::placement::Run({.hosts = hosts}, load, policy);
    }
  }
  return 0;
}
