// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_VMM_EXAMPLE_SCENARIO_H_
#define BERTH_LIB_VMM_EXAMPLE_SCENARIO_H_

#include <functional>

#include "lib/vmm/example/options.h"
#include "lib/vmm/example/outcome.h"
#include "lib/vmm/example/report.h"

namespace berth::example {

// The life of a VM at its assignment, from attach to detach. `report` says how far it came, also
// after a failure. `hold` is called where --hold waits, and may be empty.
Outcome RunScenario(const Options& options, const std::function<void()>& hold, Report* report);

}  // namespace berth::example

#endif  // BERTH_LIB_VMM_EXAMPLE_SCENARIO_H_
