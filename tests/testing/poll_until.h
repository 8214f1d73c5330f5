// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_TESTING_POLL_UNTIL_H_
#define BERTH_TESTS_TESTING_POLL_UNTIL_H_

#include <poll.h>

#include <functional>

namespace berth::testing {

// For states that nobody tells of: looks again every `pause` milliseconds until `condition` holds.
// The limit is the time-out of the test program.
inline void PollUntil(const std::function<bool()>& condition, int pause = 1) {
  while (!condition()) ::poll(nullptr, 0, pause);
}

}  // namespace berth::testing

#endif  // BERTH_TESTS_TESTING_POLL_UNTIL_H_
