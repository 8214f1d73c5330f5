// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_VMM_EXAMPLE_RUN_H_
#define BERTH_LIB_VMM_EXAMPLE_RUN_H_

#include <iostream>

#include "lib/vmm/example/options.h"

namespace berth::example {

// The whole program behind its command line. Results go to `out`, complaints to `err`. Returns the
// exit status.
int Run(const Options& options, std::ostream& out, std::ostream& err);

}  // namespace berth::example

#endif  // BERTH_LIB_VMM_EXAMPLE_RUN_H_
