// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_ORACLE_THIS_MACHINE_H_
#define BERTH_TESTS_ORACLE_THIS_MACHINE_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/oracle/recording.h"
#include "tests/oracle/replay.h"

namespace berth::oracle {

// Plays the recording to the kernel of this machine, which is to be one as the recorded: nothing is
// excluded but what no recording says. Needs root, and for level D the cdevs that stand for the
// recorded devices. Nobody else may use /dev/iommu meanwhile. Errors: those of memory and
// privileges.
absl::StatusOr<Report> ReplayOnThisMachine(const Recording& recording,
                                           const std::vector<std::string>& cdevs,
                                           size_t most_differences);

}  // namespace berth::oracle

#endif  // BERTH_TESTS_ORACLE_THIS_MACHINE_H_
