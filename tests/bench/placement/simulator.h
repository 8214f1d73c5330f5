// SPDX-License-Identifier: Apache-2.0
//
// A fleet over simulated time: assignments come, stay for a while and go.
#ifndef BERTH_TESTS_BENCH_PLACEMENT_SIMULATOR_H_
#define BERTH_TESTS_BENCH_PLACEMENT_SIMULATOR_H_

#include <cstdint>
#include <vector>

#include "lib/placement/request.h"
#include "tests/bench/placement/shapes.h"

namespace berth::placement {

// Arrivals are a Poisson process. Lifetimes are lognormal: most are short and the few long ones
// hold most of the capacity, as Cortez et al. report of Azure's VMs ("Resource Central", SOSP
// 2017). Requests are of 1, 2, 4 or 8 GPUs, most of them of one, as Jeon et al. report of the
// Philly cluster ("Analysis of Large-Scale Multi-Tenant GPU Clusters for DNN Training Workloads",
// ATC 2019); 4 want one unit, 8 a whole host. The parameters below are ours, not fitted to a trace.
struct Workload {
  double load = 0.9;        // GPUs that would be used on average if nothing were refused
  double median_hours = 1;  // of lifetimes
  double sigma = 2.15;      // of their logarithm: 93 % end within a day
  double weights[4] = {70, 12, 10, 8};  // of 1, 2, 4, 8 GPUs, in percent of requests
  double warm_up_hours = 720;           // the longest stay for weeks
  double hours = 240;
  uint64_t seed = 1;
};

// Means over time, after the warm-up; ratios from 0 to 1.
struct Outcome {
  double utilisation = 0;    // GPUs in use
  double fragmentation = 0;  // of free GPUs, those that are not part of a wholly free unit
  double refused[4] = {};    // requests of 1, 2, 4, 8 GPUs
  // Of them, those for which the fleet had enough free GPUs, but not together.
  double refused_for_fragmentation = 0;
  uint64_t requests = 0;
  std::vector<double> decisions_us;
};

Outcome Simulate(const Shape& shape, const Workload& workload, Policy policy);

}  // namespace berth::placement

#endif  // BERTH_TESTS_BENCH_PLACEMENT_SIMULATOR_H_
