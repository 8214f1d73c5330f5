// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_BENCH_CONTROLLER_WATCH_BENCH_H_
#define BERTH_TESTS_BENCH_CONTROLLER_WATCH_BENCH_H_

#include <sys/types.h>

#include <string>

#include "absl/status/status.h"

namespace berth::bench {

struct WatchBenchOptions {
  std::string api;  // of a controller that has nothing yet
  pid_t controller_pid = 0;
  int watchers = 1000;
  int changes_per_second = 1000;
  int seconds = 5;
};

// Many who watch all assignments while some are created; prints watch_fanout.
absl::Status BenchWatch(const WatchBenchOptions& options);

}  // namespace berth::bench

#endif  // BERTH_TESTS_BENCH_CONTROLLER_WATCH_BENCH_H_
