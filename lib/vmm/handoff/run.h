// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_VMM_HANDOFF_RUN_H_
#define BERTH_LIB_VMM_HANDOFF_RUN_H_

#include <ostream>

#include "lib/vmm/handoff/options.h"

namespace berth::handoff {

// Attaches and hands on. Returns the exit status; with a command only when that could not be run.
int Run(const Options& options, std::ostream& err);

}  // namespace berth::handoff

#endif  // BERTH_LIB_VMM_HANDOFF_RUN_H_
