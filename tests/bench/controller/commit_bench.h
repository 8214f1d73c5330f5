// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_BENCH_CONTROLLER_COMMIT_BENCH_H_
#define BERTH_TESTS_BENCH_CONTROLLER_COMMIT_BENCH_H_

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace berth::bench {

struct CommitBenchOptions {
  std::string folder;             // empty: etcd
  std::vector<std::string> etcd;  // members of a cluster, "127.0.0.1:2379"
  int waiting = 64;               // transactions that wait for their commit at any time
  int transactions = 20'000;
};

// What a store does without a controller: transactions like those of Create; prints commit_rate.
// With etcd also what the cluster does with bare Txns of the same content.
absl::Status BenchCommit(const CommitBenchOptions& options);

}  // namespace berth::bench

#endif  // BERTH_TESTS_BENCH_CONTROLLER_COMMIT_BENCH_H_
