// SPDX-License-Identifier: Apache-2.0
//
// The VMM's seam: what a VMM maps and then drives by itself, with no Berth process in the path.
#ifndef BERTH_LIB_IOMMUFD_MAPPED_REGION_H_
#define BERTH_LIB_IOMMUFD_MAPPED_REGION_H_

#include <cstddef>
#include <cstdint>

#include "lib/base/unique_fd.h"

namespace berth {

// A region as it travels to a VMM by SCM_RIGHTS. The contract, on both kernels and in any process
// that has received the fd (tests/conformance/mapped_region_suite.h):
//  - mmap(length, PROT_READ|PROT_WRITE, MAP_SHARED, fd, offset) succeeds and shows the registers of
//    one VINTF's page0 (Linux drivers/iommu/arm/arm-smmu-v3/tegra241-cmdqv.c, VINTF logical page
//    0): LVCMDQ l has its registers at 0x80 * l.
//  - Stores are seen by the hardware, loads see what it wrote; aligned 32-bit accesses only.
//  - The mapping outlives the fd, the VMM's socket and the agent. While any process maps it (a
//  forked
//    child too), DESTROY of the vIOMMU is EBUSY, and the context lives.
//  - After the last unmap DESTROY succeeds. A new mapping of a destroyed region fails.
struct MappedRegion {
  enum class Kind : uint32_t {
    // The iommufd itself: authority over the whole context. The isolation of the grant is then
    // TRUSTED, or the VMM is confined.
    kIommufd = 1,
    // A memfd that is this region and nothing else.
    kMemfd = 2,
  };

  UniqueFd fd;
  Kind kind = Kind::kMemfd;
  uint64_t offset = 0;  // bytes, page aligned
  uint64_t length = 0;  // bytes, page aligned
};

// Length of a VINTF's page0 and the distance of its LVCMDQs' register blocks, in bytes.
inline constexpr size_t kPage0Size = 0x10000;
inline constexpr size_t kLvcmdqStride = 0x80;

}  // namespace berth

#endif  // BERTH_LIB_IOMMUFD_MAPPED_REGION_H_
