// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_TESTING_FULL_RUN_H_
#define BERTH_TESTS_TESTING_FULL_RUN_H_

#include <cstdlib>

namespace berth::testing {

// Whether a matrix is to be run whole, as `tests/run --full` asks for; else a part of it that takes
// seconds.
inline bool IsFullRun() { return std::getenv("BERTH_FULL_TESTS") != nullptr; }

}  // namespace berth::testing

#endif  // BERTH_TESTS_TESTING_FULL_RUN_H_
