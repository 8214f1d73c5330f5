// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_ORACLE_HOSTS_H_
#define BERTH_TESTS_ORACLE_HOSTS_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "lib/emulator/host_spec.h"
#include "tests/oracle/recording.h"
#include "tests/oracle/replay.h"

namespace berth::oracle {

// How the machine of a recording is to be emulated, where the recording does not say.
struct HostShape {
  int vintfs = 4;  // of each unit, with the host's own
  // Of each VINTF. Without a value: what GET_HW_INFO said, else 2 and 16.
  std::optional<int> lvcmdqs = {};
  std::optional<int> sid_slots = {};
  // Unit of each device by number; devices beyond the list are behind unit 0.
  std::vector<int> device_units = {};
};

// The host that a recording was made on: its page size from the header; the limits of its SMMUs and
// CMDQVs from the first answers of GET_HW_INFO that have them, else those of QEMU's SMMUv3 (virt
// machine). All units are alike.
emulator::HostSpec HostFor(const Recording& recording, const HostShape& shape);

// Starts an emulator of that host on a socket in `folder`, plays the recording to it, and ends it.
absl::StatusOr<Report> ReplayOnEmulator(const Recording& recording, const HostShape& shape,
                                        const std::string& folder, size_t most_differences);

}  // namespace berth::oracle

#endif  // BERTH_TESTS_ORACLE_HOSTS_H_
