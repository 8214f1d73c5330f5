// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_GRANTS_GRANT_LIMITS_H_
#define BERTH_AGENT_GRANTS_GRANT_LIMITS_H_

#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"

namespace berth {

// Bounds of all grants of an agent. The first two come from AgentLimits of its configuration.
struct GrantLimits {
  uint64_t memory_per_grant = uint64_t{1} << 40;  // bytes of guest memory
  size_t regions_per_grant = 64;
  size_t grants = 4096;  // in all; one more is refused (OVERLOADED)
  size_t devices_per_grant = 128;
  size_t waiting_calls = 64;    // tasks of one grant; a VMM's call beyond is OVERLOADED
  uint32_t event_depth = 1024;  // vEVENTQ depth, events
  // How long a session outlives its connection while its process lives.
  absl::Duration resume_grace = absl::Seconds(5);
  // Waits between attempts at what the kernel does not let go of, or at a kernel that has ended.
  absl::Duration retry_min = absl::Milliseconds(20);
  absl::Duration retry_max = absl::Seconds(5);
  // How long a prepare waits for a device that something else still holds, when the grant was never
  // PREPARED; one that was waits for as long as it takes.
  absl::Duration busy_patience = absl::Seconds(2);
  // How long something may pin a context that is to go before the grant is ORPHANED.
  absl::Duration orphan_after = absl::Seconds(60);
};

}  // namespace berth

#endif  // BERTH_AGENT_GRANTS_GRANT_LIMITS_H_
