// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_INVENTORY_DEVICE_USE_H_
#define BERTH_AGENT_INVENTORY_DEVICE_USE_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "agent/inventory/pci_sysfs.h"

namespace berth {

// Where to look for what the host itself does with a device.
struct HostFiles {
  std::string sysfs_root;  // "/sys"
  std::string proc_root;   // "/proc"
  // Opens the block device of this name exclusively and closes it again. DEVICE_BUSY: a filesystem,
  // swap, RAID, LVM... has it, in whatever mount namespace. Another error: it cannot be told.
  std::function<absl::Status(const std::string& disk)> claim_disk;
};

// For people, one entry for each use that the host makes of `function`: mounted and otherwise
// claimed disks, network interfaces that are up, the display that the firmware booted with, virtual
// functions that are enabled. Empty: taking its driver away harms nobody that can be seen.
std::vector<std::string> UsesOf(const PciFunction& function, const HostFiles& files);

}  // namespace berth

#endif  // BERTH_AGENT_INVENTORY_DEVICE_USE_H_
