// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_IOMMUFD_HWPT_H_
#define BERTH_LIB_IOMMUFD_HWPT_H_

#include <cstdint>
#include <span>

#include "lib/iommufd/context.h"

namespace berth {

class Device;
class Ioas;
class Viommu;

// A hardware page table: what a device can be attached to.
class Hwpt : public KernelObject {
 public:
  // The stage-2 table over `ioas` that vIOMMUs of the device's unit nest in; one per unit and VM.
  // Pins the pages of the IOAS: its errors about memory show here too (KERNEL_REFUSED for a file
  // that is not a memfd).
  static absl::StatusOr<Hwpt> CreateNestingParent(const Device& device, const Ioas& ioas);
  // The translation that the guest's stream table entry asks for. `ste` is its first two dwords,
  // little-endian. Errors: BAD_STREAM_TABLE_ENTRY; KERNEL_REFUSED (the device is behind another
  // unit).
  static absl::StatusOr<Hwpt> CreateNested(const Device& device, const Viommu& viommu,
                                           std::span<const uint64_t, 2> ste);
  static Hwpt Adopt(const Context& context, uint32_t id) { return {context, id}; }

 private:
  Hwpt(const Context& context, uint32_t id) : KernelObject(context, ObjectKind::kHwpt, id) {}
};

}  // namespace berth

#endif  // BERTH_LIB_IOMMUFD_HWPT_H_
