// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_INVENTORY_PCI_SYSFS_H_
#define BERTH_AGENT_INVENTORY_PCI_SYSFS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace berth {

// IOVAs that no mapping may use: a line of iommu_groups/N/reserved_regions.
struct ReservedIovas {
  uint64_t first = 0;
  uint64_t last = 0;
  std::string kind;  // "direct", "direct-relaxable", "reserved", "msi"
};

// One PCI function as sysfs shows it (Linux Documentation/ABI/testing/sysfs-bus-pci, -vfio-dev).
struct PciFunction {
  std::string address;  // "0000:01:00.0"
  uint32_t vendor_id = 0;
  uint32_t device_id = 0;
  uint32_t pci_class = 0;  // 24 bits
  std::string serial;      // 16 hex digits, or empty
  int numa_node = -1;
  int iommu_group = -1;                    // -1: not behind an IOMMU
  std::string unit;                        // name under /sys/class/iommu, or empty
  std::string driver;                      // "vfio-pci", or empty
  std::string cdev;                        // "vfio3", or empty
  bool resettable = false;                 // reset_method names one
  std::vector<std::string> reset_methods;  // in the order in which the kernel tries them
  std::vector<ReservedIovas> reserved_iovas;
  bool is_endpoint = true;  // false for bridges
};

struct HugePageCount {
  int64_t page_size = 0;  // bytes
  int64_t total = 0;
  int64_t free = 0;
};

// Reads `sysfs_root` (normally "/sys") anew at each call, without state. A function whose files
// vanish while they are read (unplugged) is left out. At most kMaxFunctions functions. Errors: the
// errno of opening bus/pci/devices.
inline constexpr size_t kMaxFunctions = 16384;
absl::StatusOr<std::vector<PciFunction>> ReadPciFunctions(const std::string& sysfs_root);

// Sorted by page size; empty where the kernel has none.
std::vector<HugePageCount> ReadHugePages(const std::string& sysfs_root);

// "0000-01-00-0-10de-2342-a1b2c3d4e5f60708": stable over boots, and another card in the same slot
// is another device. Without a serial the last part is "0".
std::string MakeDeviceId(const PciFunction& function);

// "gpu", "nic", "nvme", "accelerator" or "other", from the class code (PCI Code and ID Assignment).
std::string DefaultClass(uint32_t pci_class);

}  // namespace berth

#endif  // BERTH_AGENT_INVENTORY_PCI_SYSFS_H_
