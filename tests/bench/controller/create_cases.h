// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_BENCH_CONTROLLER_CREATE_CASES_H_
#define BERTH_TESTS_BENCH_CONTROLLER_CREATE_CASES_H_

#include <string>
#include <vector>

#include "tests/bench/controller/callers.h"

namespace berth::bench {

inline constexpr int kBatch = 32;
inline constexpr int kGang = 8;

// One GPU, by requirements on three of its attributes.
v1::AssignmentSpec SelectedGpu();
// Two GPUs by two requests, wherever they are, or on one unit.
v1::AssignmentSpec TwoGpus(bool same_unit);

// Batches of kBatch creates that have nothing to do with each other, and gangs of kGang that are
// placed together or not at all. Names: IdOf(prefix, 0) and so on.
BatchLoad Batches(const std::string& prefix, int callers, int calls);
BatchLoad Gangs(const std::string& prefix, int callers, int calls);

DeleteLoad Deletes(std::vector<std::string> ids, int callers);
// A call is the Delete of one of `old` and, when it is answered, a Create.
CreateLoad Churn(const std::string& prefix, int callers, std::vector<std::string> old);
// Creates for which there is no room. One that is answered otherwise is an error.
CreateLoad Refusals(const std::string& prefix, int callers, int calls);

}  // namespace berth::bench

#endif  // BERTH_TESTS_BENCH_CONTROLLER_CREATE_CASES_H_
