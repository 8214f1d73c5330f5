// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_ORACLE_HOSTS_H_
#define BERTH_TESTS_ORACLE_HOSTS_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/emulator/host_spec.h"
#include "tests/oracle/recording.h"
#include "tests/oracle/replay.h"

namespace berth::oracle {

// How the machine of a recording is to be emulated, where its header does not say.
struct HostShape {
  int vintfs = 4;   // of each unit, with the host's own
  int lvcmdqs = 2;  // of each VINTF
  int sid_slots = 16;
  // Unit of each device by number; devices beyond the list are behind unit 0.
  std::vector<int> device_units = {};
};

// The host that a recording was made on.
emulator::HostSpec HostFor(const Recording& recording, const HostShape& shape);

// Starts an emulator of that host on a socket in `folder`, plays the recording to it, and ends it.
absl::StatusOr<Report> ReplayOnEmulator(const Recording& recording, const HostShape& shape,
                                        const std::string& folder, size_t most_differences);

}  // namespace berth::oracle

#endif  // BERTH_TESTS_ORACLE_HOSTS_H_
