// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_INVENTORY_DEVICE_RULES_H_
#define BERTH_AGENT_INVENTORY_DEVICE_RULES_H_

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "agent/inventory/pci_sysfs.h"
#include "berth/internal/v1/agent_config.pb.h"

namespace berth {

// The first rule whose conditions all hold for `function`; nullptr when none does.
const internal::v1::DeviceRule* MatchRule(const internal::v1::InventoryConfig& config,
                                          const PciFunction& function);

// INVALID_FIELD for a rule that could never match or says nothing: ids that are not hex, an address
// that is not "dddd:bb:dd.f", a class that is not a name.
absl::Status ValidateRules(const internal::v1::InventoryConfig& config);

// Whether `text` is written as sysfs writes an address: "dddd:bb:dd.f", in lower case.
bool IsPciAddress(std::string_view text);

// "vfio-pci", or one of the VFIO drivers for single devices: "nvgrace-gpu-vfio-pci",
// "mlx5_vfio_pci" (Linux drivers/vfio/pci).
bool IsVfioDriver(std::string_view driver);

// Why `function` may not be handed out, for people; empty when it may. `rule` may be nullptr.
std::string WhyNotAssignable(const PciFunction& function, const internal::v1::DeviceRule* rule);

}  // namespace berth

#endif  // BERTH_AGENT_INVENTORY_DEVICE_RULES_H_
