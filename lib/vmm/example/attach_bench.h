// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_VMM_EXAMPLE_ATTACH_BENCH_H_
#define BERTH_LIB_VMM_EXAMPLE_ATTACH_BENCH_H_

#include <cstdint>
#include <vector>

#include "lib/vmm/example/options.h"
#include "lib/vmm/example/outcome.h"

namespace berth::example {

// Attaches options.samples times, and detaches in between. A sample is the time from connecting to
// the first CMD_SYNC done on vCMDQ 0, in nanoseconds; waiting for the grant to be ready again is
// not part of it.
Outcome MeasureAttach(const Options& options, std::vector<uint64_t>* samples);

}  // namespace berth::example

#endif  // BERTH_LIB_VMM_EXAMPLE_ATTACH_BENCH_H_
