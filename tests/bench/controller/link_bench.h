// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_BENCH_CONTROLLER_LINK_BENCH_H_
#define BERTH_TESTS_BENCH_CONTROLLER_LINK_BENCH_H_

#include <sys/types.h>

#include <string>

#include "absl/status/status.h"
#include "tests/bench/controller/synthetic_fleet.h"

namespace berth::bench {

struct LinkBenchOptions {
  std::string api;
  std::string agents;  // the agent link
  pid_t controller_pid = 0;
  FleetShape shape = {.hosts = 5000};
  // False: the controller has nothing yet; prints agents_register, agents_idle_cpu and link_latency
  // and leaves an assignment for each host. True: it has started on that; prints resync.
  bool after_restart = false;
};

absl::Status BenchLink(const LinkBenchOptions& options);

}  // namespace berth::bench

#endif  // BERTH_TESTS_BENCH_CONTROLLER_LINK_BENCH_H_
