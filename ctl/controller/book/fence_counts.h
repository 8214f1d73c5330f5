// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_BOOK_FENCE_COUNTS_H_
#define BERTH_CTL_CONTROLLER_BOOK_FENCE_COUNTS_H_

#include <map>

#include "lib/daemon/metrics.h"

namespace berth {

// What of an agent's message was too old to be believed.
enum class Fence {
  kEpoch,        // it has obeyed a later controller than this one
  kIncarnation,  // a later start of the same agent has been here
  kSession,      // a later session of the same agent has taken its place
  kGeneration,   // it tells of a placement that the assignment has left
};

// Counts what is refused because something newer is known: berth_fenced_total. Thread-safe.
class FenceCounts {
 public:
  // `metrics` outlives it; null: nothing is counted.
  explicit FenceCounts(Metrics* metrics);
  void Count(Fence what);

 private:
  std::map<Fence, Counter> counters_;
};

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_BOOK_FENCE_COUNTS_H_
