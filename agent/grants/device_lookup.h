// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_GRANTS_DEVICE_LOOKUP_H_
#define BERTH_AGENT_GRANTS_DEVICE_LOOKUP_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "berth/v1/device.pb.h"
#include "lib/base/ids.h"

namespace berth {

// What a grant must know of a device to take it. Copied at prepare: what the inventory finds later
// does not change a grant that stands.
struct GrantDevice {
  DeviceId id;
  std::string cdev;     // for KernelApi::OpenDevice(): "vfio3"
  std::string address;  // "0000:01:00.0"
  UnitId unit;
  uint32_t vendor_id = 0;
  uint32_t device_id = 0;
  uint32_t pci_class = 0;
  // False: VFIO_DEVICE_RESET is not asked of it (the configuration hands it out nevertheless).
  bool resettable = true;
};

// What a grant must know of a unit.
struct GrantUnit {
  UnitId id;
  v1::Unit::Profile profile = v1::Unit::PROFILE_UNSPECIFIED;  // from IOMMU_GET_HW_INFO
  int vcmdqs_per_vintf = 0;
  int sids_per_vintf = 0;  // 0: no limit of the unit's own
  int max_queue_log2 = 0;  // of entries, 16 bytes each
  // Of a CMDQV, as is known now: VINTFs for VMs, less those that are lost; and the lost.
  int vintfs = 0;
  int lost_vintfs = 0;
};

// The inventory, as grants see it. Thread-safe; never blocks on the kernel.
class DeviceLookup {
 public:
  virtual ~DeviceLookup() = default;
  // Nothing for a device that is not there or must not be handed out.
  [[nodiscard]] virtual std::optional<GrantDevice> FindDevice(const DeviceId& id) const = 0;
  [[nodiscard]] virtual std::optional<GrantUnit> FindUnit(const UnitId& id) const = 0;
  // OK: what is not found of this unit is not there, or must not be handed out. Errors: DEVICE_BUSY
  // (it is there, and none of its devices could be asked: something else holds them); KERNEL_GONE
  // and others (the host could not be looked at).
  [[nodiscard]] virtual absl::Status CheckKnown(const UnitId& id) const = 0;
};

}  // namespace berth

#endif  // BERTH_AGENT_GRANTS_DEVICE_LOOKUP_H_
