// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_INVENTORY_PCI_BINDER_H_
#define BERTH_AGENT_INVENTORY_PCI_BINDER_H_

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/inventory/device_use.h"
#include "agent/inventory/pci_sysfs.h"
#include "berth/internal/v1/agent_config.pb.h"

namespace berth {

// Takes PCI functions from their drivers for vfio-pci, and gives them back (Linux
// Documentation/ABI/testing/sysfs-bus-pci: driver_override, unbind, drivers_probe). Who had a
// function is remembered in a folder that does not outlive the boot, as the binding itself does
// not. Not thread-safe; two at once would undo each other's work.
class PciBinder {
 public:
  struct Options {
    HostFiles files;
    std::string memory_dir;  // made when it is needed
    internal::v1::InventoryConfig config;
    // Writes to a file of sysfs.
    std::function<absl::Status(const std::string& path, std::string_view text)> write;
    // Whether nobody has the VFIO cdev of this name bound. DEVICE_BUSY: somebody has.
    std::function<absl::Status(const std::string& cdev)> claim_cdev;
  };
  enum class Mode { kDryRun, kApply };

  explicit PciBinder(Options options) : options_(std::move(options)) {}

  // Binds all functions of `addresses` ("0000:01:00.0") or none. Returns what was done, or would
  // be, one line each. Nothing is done to one that is on vfio-pci already. All that would be wrong
  // with any of them is found before the first is touched. Errors:
  //   INVALID_FIELD           not an address, one twice, a bridge
  //   NOT_FOUND               no such function
  //   PERMISSION_DENIED       no rule of the configuration says "assignable: true" of it
  //   KERNEL_FEATURE_MISSING  no vfio-pci, no VFIO cdev, no IOMMU in front
  //   DEVICE_BUSY             the host uses it (UsesOf())
  //   STATE_CONFLICT          another driver has a member of its IOMMU group that is not named
  //   KERNEL_REFUSED          vfio-pci did not take it; the former driver has it again
  absl::StatusOr<std::vector<std::string>> Bind(const std::vector<std::string>& addresses,
                                                Mode mode);

  // Gives functions that Bind() took back to the drivers that had them. Stops at the first that
  // fails. Errors:
  //   INVALID_FIELD, NOT_FOUND  as above
  //   STATE_CONFLICT            Bind() did not take it on this boot, or another card is there now
  //   DEVICE_BUSY               a VMM or the agent has it, or one of its group
  //   KERNEL_REFUSED            the former driver did not take it; it is remembered still
  absl::StatusOr<std::vector<std::string>> Unbind(const std::vector<std::string>& addresses,
                                                  Mode mode);

 private:
  struct Memory {
    std::string device_id;  // MakeDeviceId()
    std::string driver;     // empty: none
    std::string override_driver;
  };

  absl::StatusOr<std::vector<PciFunction>> Find(const std::vector<std::string>& addresses);
  absl::Status CheckBindable(const PciFunction& function,
                             const std::vector<std::string>& addresses) const;
  absl::Status CheckGroup(const PciFunction& function,
                          const std::vector<std::string>& addresses) const;
  absl::Status BindOne(const PciFunction& function);
  absl::Status TakeDriver(const PciFunction& function);
  absl::StatusOr<Memory> CheckReturnable(const PciFunction& function) const;
  absl::Status GiveBack(const std::string& address, const Memory& memory);

  absl::StatusOr<PciFunction> Look(const std::string& address) const;
  std::string DevicePath(const std::string& address, std::string_view file) const;
  std::string MemoryPath(const std::string& address) const;
  absl::Status Remember(const PciFunction& function) const;
  absl::StatusOr<Memory> Recall(const std::string& address) const;

  const Options options_;
  std::vector<PciFunction> all_;  // as Find() saw them
};

}  // namespace berth

#endif  // BERTH_AGENT_INVENTORY_PCI_BINDER_H_
