// SPDX-License-Identifier: Apache-2.0
#include "agent/grants/idle_devices.h"

#include <optional>

#include "agent/grants/prepared_context.h"
#include "lib/base/status.h"

namespace berth {

std::vector<std::pair<DeviceId, absl::Status>> TryIdleDevices(
    KernelApi* kernel, const DeviceLookup& lookup, DeviceClaims* claims,
    const std::vector<DeviceId>& devices) {
  // No assignment's: those are UUIDs.
  const AssignmentUid audit("audit");
  std::vector<std::pair<DeviceId, absl::Status>> held;
  for (const DeviceId& id : devices) {
    const std::optional<GrantDevice> device = lookup.FindDevice(id);
    if (!device.has_value()) continue;
    // A grant that comes now waits, and one that is there is not disturbed.
    if (!claims->Claim(audit, {&*device, 1}).ok()) continue;
    const absl::Status bound = BoundContext::Bind(kernel, {&*device, 1}, {}).status();
    claims->Release(audit);
    if (ReasonOf(bound) == Reason::kDeviceBusy) held.emplace_back(id, bound);
  }
  return held;
}

}  // namespace berth
