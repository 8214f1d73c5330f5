// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_BENCH_CONTROLLER_CREATE_BENCH_H_
#define BERTH_TESTS_BENCH_CONTROLLER_CREATE_BENCH_H_

#include <sys/types.h>

#include <string>

#include "absl/status/status.h"
#include "tests/bench/controller/synthetic_fleet.h"

namespace berth::bench {

struct CreateBenchOptions {
  std::string api;     // of a controller that has nothing yet
  std::string agents;  // its agent link
  std::string echo;    // of ServeEcho()
  std::string folder;  // on the file system of the controller's store
  std::string store;   // its name, for the conditions
  pid_t controller_pid = 0;
  FleetShape shape;
  int callers = 64;
};

// Goes through all cases, each beside the echo in alternating slices, and prints create_latency and
// create_rate (README.md).
absl::Status BenchCreate(const CreateBenchOptions& options);

}  // namespace berth::bench

#endif  // BERTH_TESTS_BENCH_CONTROLLER_CREATE_BENCH_H_
