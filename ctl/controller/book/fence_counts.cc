// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/book/fence_counts.h"

namespace berth {

FenceCounts::FenceCounts(Metrics* metrics) {
  if (metrics == nullptr) return;
  const auto add = [&](Fence what, const char* name) {
    counters_.emplace(
        what, metrics->AddCounter(
                  "berth_fenced_total",
                  "Messages of agents that were refused because something newer is known, by what "
                  "of them was too old",
                  {{"what", name}}));
  };
  add(Fence::kEpoch, "epoch");
  add(Fence::kIncarnation, "incarnation");
  add(Fence::kSession, "session");
  add(Fence::kGeneration, "generation");
}

void FenceCounts::Count(Fence what) {
  if (const auto counter = counters_.find(what); counter != counters_.end()) {
    counter->second.Increment();
  }
}

}  // namespace berth
