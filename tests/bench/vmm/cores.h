// SPDX-License-Identifier: Apache-2.0
//
// Where the threads run that a measure is about.
#ifndef BERTH_TESTS_BENCH_VMM_CORES_H_
#define BERTH_TESTS_BENCH_VMM_CORES_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace berth::bench {

// Those that this process may use, ascending.
absl::StatusOr<std::vector<int>> OwnCores();

// Moves a thread (0: the one that calls) there. `cores` is not empty.
absl::Status PinThread(pid_t thread, const std::vector<int>& cores);
// All threads of a process; those that they start later follow them.
absl::Status PinProcess(pid_t process, const std::vector<int>& cores);

// The process that listens on the SEQPACKET socket at `path`.
absl::StatusOr<pid_t> ListenerAt(const std::string& path);

}  // namespace berth::bench

#endif  // BERTH_TESTS_BENCH_VMM_CORES_H_
