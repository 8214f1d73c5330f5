// SPDX-License-Identifier: Apache-2.0
//
// Synthetic hosts and requests that benches of placement share.
#ifndef BERTH_TESTS_BENCH_PLACEMENT_SHAPES_H_
#define BERTH_TESTS_BENCH_PLACEMENT_SHAPES_H_

#include <chrono>
#include <cstdint>
#include <string>

#include "lib/placement/engine.h"

namespace berth::placement {

// Hosts that are alike but for their rack (40 hosts), zone, and the memory of their GPUs.
struct Shape {
  int hosts = 0;
  int units = 2;
  int gpus_per_unit = 4;
  int nics_per_unit = 1;
  uint32_t vintfs = 63;
};

int DevicesPerHost(const Shape& shape);
void Fill(const Shape& shape, Engine& engine);
Request Ask(const std::string& device_class, uint32_t count = 1);

using WallClock = std::chrono::steady_clock;
double MicrosSince(WallClock::time_point from);

}  // namespace berth::placement

#endif  // BERTH_TESTS_BENCH_PLACEMENT_SHAPES_H_
