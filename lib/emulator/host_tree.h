// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HOST_TREE_H_
#define BERTH_LIB_EMULATOR_HOST_TREE_H_

#include <functional>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
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

// A tree that WriteHostTree() has written, from which devices go and to which they come back, as
// when one is pulled out of a running host. Thread-safe.
class HostTree {
 public:
  HostTree(std::string root, HostSpec host) : root_(std::move(root)), host_(std::move(host)) {}

  // Asks of each device, by its address, whether it has gone, and makes the tree say so: a device's
  // folder is there whole or not at all, and nothing leads to one that is not. `is_gone` is called
  // by one thread at a time, so that the last call sees the latest answers. Errors: those of
  // ErrnoToStatus(); a further call tries again.
  absl::Status Update(const std::function<bool(const std::string& address)>& is_gone);

 private:
  const std::string root_;
  const HostSpec host_;
  absl::Mutex mu_;
  std::set<std::string> gone_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HOST_TREE_H_
