// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_BENCH_CONTROLLER_PROCESS_CPU_H_
#define BERTH_TESTS_BENCH_CONTROLLER_PROCESS_CPU_H_

#include <sys/types.h>

#include "absl/status/statusor.h"

namespace berth::bench {

// What a process has used of CPUs since its start, in seconds.
absl::StatusOr<double> CpuSeconds(pid_t pid);

}  // namespace berth::bench

#endif  // BERTH_TESTS_BENCH_CONTROLLER_PROCESS_CPU_H_
