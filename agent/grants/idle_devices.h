// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_GRANTS_IDLE_DEVICES_H_
#define BERTH_AGENT_GRANTS_IDLE_DEVICES_H_

#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "agent/grants/device_claims.h"
#include "agent/grants/device_lookup.h"
#include "lib/base/ids.h"
#include "lib/iommufd/kernel_api.h"

namespace berth {

// See GrantManager::TryIdleDevices(). The kernel does not tell who has a device; that it cannot be
// bound is all that can be known.
std::vector<std::pair<DeviceId, absl::Status>> TryIdleDevices(KernelApi* kernel,
                                                              const DeviceLookup& lookup,
                                                              DeviceClaims* claims,
                                                              const std::vector<DeviceId>& devices);

}  // namespace berth

#endif  // BERTH_AGENT_GRANTS_IDLE_DEVICES_H_
