// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_VMM_EXAMPLE_CONTINUITY_H_
#define BERTH_LIB_VMM_EXAMPLE_CONTINUITY_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "lib/vmm/example/command_queue.h"
#include "lib/vmm/example/options.h"
#include "lib/vmm/example/outcome.h"

namespace berth::example {

struct Continuity {
  Counts submitted;
  std::vector<uint64_t> batches_ns;  // from the write of PROD until CONS is behind the CMD_SYNC
  uint64_t calls = 0;                // of the agent, one now and then
};

// A guest that invalidates all the time, a CMD_SYNC behind each batch, on vCMDQ 0, and calls its
// agent now and then, until `stop`. `begin` is called when the first batch is done. It fails at the
// first command that is not executed and at the first call without its answer.
Outcome RunContinuity(const Options& options, const std::function<void()>& begin,
                      const std::function<bool()>& stop, Continuity* result);

}  // namespace berth::example

#endif  // BERTH_LIB_VMM_EXAMPLE_CONTINUITY_H_
