// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HOST_TREE_H_
#define BERTH_LIB_EMULATOR_HOST_TREE_H_

#include <string>

#include "absl/status/status.h"
#include "lib/emulator/host_spec.h"

namespace berth::emulator {

// Writes what /sys would show of `host` as the folder `root`, replacing what is there, so that code
// that reads an inventory is the same as on a real host:
//   bus/pci/devices/<address>/{vendor,device,class,numa_node,reset_method,config}
//   bus/pci/devices/<address>/{driver,iommu_group,iommu} -> ..., vfio-dev/<cdev>/
//   class/iommu/<unit>/devices/<address> -> ...
//   kernel/iommu_groups/<group>/devices/<address> -> ...
//   kernel/mm/hugepages/hugepages-2048kB/{nr_hugepages,free_hugepages}
// (Linux Documentation/ABI/testing/sysfs-bus-pci, sysfs-class-iommu, sysfs-kernel-iommu_groups.)
// The tree is written beside `root` and then moved there. `host` must be valid.
// Errors: those of ErrnoToStatus().
absl::Status WriteHostTree(const std::string& root, const HostSpec& host);

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HOST_TREE_H_
