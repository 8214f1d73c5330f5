// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/this_machine.h"

#include <linux/capability.h>

#include <cerrno>
#include <cstdlib>
#include <optional>

#include "lib/base/status.h"
#include "lib/iommufd/real_kernel.h"
#include "tests/testing/capability.h"
#include "tests/testing/scattered_memory.h"

namespace berth::oracle {
namespace {

// Gives this thread CAP_SYS_RESOURCE, which it may have, or takes it.
absl::Status SetSysResource(bool may) {
  if (!testing::SetEffectiveCapability(CAP_SYS_RESOURCE, may)) {
    return ErrnoToStatus(errno, "capset");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Report> ReplayOnThisMachine(const Recording& recording,
                                           const std::vector<std::string>& cdevs,
                                           size_t most_differences) {
  BERTH_RETURN_IF_ERROR(SetSysResource(true));
  RealKernel kernel;
  Player player;
  player.kernel = &kernel;
  player.cdevs = cdevs;
  player.recorded_machine = true;
  player.set_sys_resource = [](bool may) {
    if (!SetSysResource(may).ok()) std::abort();
  };
  for (size_t i = 0; i < recording.memfd_sizes.size(); ++i) {
    const auto kind =
        recording.memfd_huge[i] ? testing::PageKind::kHuge : testing::PageKind::kSmall;
    BERTH_ASSIGN_OR_RETURN(UniqueFd memory,
                           testing::ScatteredMemory(recording.memfd_sizes[i], kind));
    player.memfds.push_back(std::move(memory));
  }
  Report report = Replay(recording, std::move(player), most_differences);
  BERTH_RETURN_IF_ERROR(SetSysResource(true));
  return report;
}

}  // namespace berth::oracle
