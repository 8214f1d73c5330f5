// SPDX-License-Identifier: Apache-2.0
//
// A VM's share of one unit: the vIOMMU (a VINTF, where the unit has CMDQV), the devices that the
// guest sees behind it, and the command queues that it drives by itself.
#ifndef BERTH_LIB_IOMMUFD_VIOMMU_H_
#define BERTH_LIB_IOMMUFD_VIOMMU_H_

#include <cstdint>
#include <span>

#include "lib/iommufd/context.h"
#include "lib/iommufd/uapi/iommufd.h"

namespace berth {

class Device;
class Hwpt;

// A virtual SMMU of a VM.
class Viommu : public KernelObject {
 public:
  enum class Type : uint32_t {
    kArmSmmuv3 = uapi::kViommuTypeArmSmmuv3,
    kTegra241Cmdqv = uapi::kViommuTypeTegra241Cmdqv,  // takes a VINTF of the unit
  };
  // Where mmap(2) of the context shows page0; zeros for kArmSmmuv3.
  struct Page0 {
    uint64_t offset = 0;
    uint64_t length = 0;
  };

  // On the unit of `device`. Errors: VINTF_EXHAUSTED; KERNEL_FEATURE_MISSING (no CMDQV, no nested
  // translation); KERNEL_REFUSED (`parent` is no nesting parent, or of another unit);
  // HARDWARE_TIMEOUT.
  static absl::StatusOr<Viommu> Create(const Device& device, const Hwpt& parent, Type type);
  static Viommu Adopt(const Context& context, uint32_t id, Page0 page0) {
    return {context, id, page0};
  }

  [[nodiscard]] Page0 page0() const { return page0_; }
  // What a VMM is given so that it can map page0. Errors: KernelApi::RegionForVmm().
  [[nodiscard]] absl::StatusOr<MappedRegion> RegionForVmm() const;

  struct Invalidated {
    uint32_t handled = 0;  // commands from the front; the next one is what `status` is about
    absl::Status status;
  };
  // Executes the guest's commands on the unit, with a CMD_SYNC at the end. Errors: BAD_COMMAND.
  // An empty span does nothing.
  Invalidated Invalidate(std::span<const uapi::IommuViommuArmSmmuv3Invalidate> commands);

 private:
  Viommu(const Context& context, uint32_t id, Page0 page0)
      : KernelObject(context, ObjectKind::kViommu, id), page0_(page0) {}

  Page0 page0_;
};

// A device as the guest knows it: its vSID on a vIOMMU. Takes a SID slot of the VINTF.
class Vdevice : public KernelObject {
 public:
  // Errors: SID_SLOTS_EXHAUSTED; VSID_IN_USE (the vSID is taken, or the device has a vSID
  // already); VSID_RANGE; KERNEL_REFUSED (the device is behind another unit).
  static absl::StatusOr<Vdevice> Create(const Viommu& viommu, const Device& device, uint64_t vsid);
  static Vdevice Adopt(const Context& context, uint32_t id) { return {context, id}; }

 private:
  Vdevice(const Context& context, uint32_t id) : KernelObject(context, ObjectKind::kVdevice, id) {}
};

// A command queue in guest memory that the hardware reads by itself. Queues of a vIOMMU are
// allocated in ascending order of their index and destroyed in descending order.
class HwQueue : public KernelObject {
 public:
  // `iova` and `length` (bytes; a power of two of at least 32; iova aligned to it, in physically
  // contiguous memory). The caller has checked that the VINTF has such an `index`: the kernel has
  // one errno for that and for a wrong length. Errors: QUEUE_ORDER, QUEUE_EXISTS, QUEUE_SIZE,
  // QUEUE_NOT_CONTIGUOUS, MEMORY_UNKNOWN.
  static absl::StatusOr<HwQueue> Create(const Viommu& viommu, uint32_t index, uint64_t iova,
                                        uint64_t length);
  static HwQueue Adopt(const Context& context, uint32_t id) { return {context, id}; }

 private:
  HwQueue(const Context& context, uint32_t id) : KernelObject(context, ObjectKind::kHwQueue, id) {}
};

}  // namespace berth

#endif  // BERTH_LIB_IOMMUFD_VIOMMU_H_
