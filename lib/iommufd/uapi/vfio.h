// SPDX-License-Identifier: Apache-2.0
//
// The binary interface of VFIO cdevs as of Linux 7.3 (include/uapi/linux/vfio.h), as far as Berth
// uses or emulates it. Native byte order; `argsz` is the size of the struct.
#ifndef BERTH_LIB_IOMMUFD_UAPI_VFIO_H_
#define BERTH_LIB_IOMMUFD_UAPI_VFIO_H_

#include <cstddef>
#include <cstdint>

#include "lib/iommufd/uapi/iommufd.h"

namespace berth::uapi {

// Requests: _IO(';', 100 + n).
inline constexpr Request kVfioDeviceGetInfo = 0x3b6b;
inline constexpr Request kVfioDeviceGetRegionInfo = 0x3b6c;
inline constexpr Request kVfioDeviceGetIrqInfo = 0x3b6d;
inline constexpr Request kVfioDeviceSetIrqs = 0x3b6e;
inline constexpr Request kVfioDeviceReset = 0x3b6f;  // without a struct
inline constexpr Request kVfioDeviceBindIommufd = 0x3b76;
inline constexpr Request kVfioDeviceAttachIommufdPt = 0x3b77;
inline constexpr Request kVfioDeviceDetachIommufdPt = 0x3b78;

// VfioDeviceInfo::flags
inline constexpr uint32_t kVfioDeviceFlagsReset = 1;
inline constexpr uint32_t kVfioDeviceFlagsPci = 2;

struct VfioDeviceInfo {
  uint32_t argsz;
  uint32_t flags;
  uint32_t num_regions;
  uint32_t num_irqs;
  uint32_t cap_offset;
  uint32_t pad;
};
static_assert(sizeof(VfioDeviceInfo) == 24 && offsetof(VfioDeviceInfo, flags) == 4 &&
              offsetof(VfioDeviceInfo, num_regions) == 8 &&
              offsetof(VfioDeviceInfo, num_irqs) == 12 &&
              offsetof(VfioDeviceInfo, cap_offset) == 16 && offsetof(VfioDeviceInfo, pad) == 20);

// VfioRegionInfo::flags; ::index of a PCI device
inline constexpr uint32_t kVfioRegionFlagRead = 1;
inline constexpr uint32_t kVfioRegionFlagWrite = 2;
inline constexpr uint32_t kVfioRegionFlagMmap = 4;
inline constexpr uint32_t kVfioRegionFlagCaps = 8;
inline constexpr uint32_t kVfioPciBar0Region = 0;
inline constexpr uint32_t kVfioPciBar5Region = 5;
inline constexpr uint32_t kVfioPciRomRegion = 6;
inline constexpr uint32_t kVfioPciConfigRegion = 7;
inline constexpr uint32_t kVfioPciVgaRegion = 8;
inline constexpr uint32_t kVfioPciNumRegions = 9;

struct VfioRegionInfo {
  uint32_t argsz;
  uint32_t flags;
  uint32_t index;
  uint32_t cap_offset;
  uint64_t size;    // bytes
  uint64_t offset;  // of the region in the cdev
};
static_assert(sizeof(VfioRegionInfo) == 32 && offsetof(VfioRegionInfo, flags) == 4 &&
              offsetof(VfioRegionInfo, index) == 8 && offsetof(VfioRegionInfo, cap_offset) == 12 &&
              offsetof(VfioRegionInfo, size) == 16 && offsetof(VfioRegionInfo, offset) == 24);

// VfioIrqInfo::flags; ::index of a PCI device
inline constexpr uint32_t kVfioIrqInfoEventfd = 1;
inline constexpr uint32_t kVfioIrqInfoMaskable = 2;
inline constexpr uint32_t kVfioIrqInfoAutomasked = 4;
inline constexpr uint32_t kVfioIrqInfoNoresize = 8;
inline constexpr uint32_t kVfioPciIntxIrq = 0;
inline constexpr uint32_t kVfioPciMsiIrq = 1;
inline constexpr uint32_t kVfioPciMsixIrq = 2;
inline constexpr uint32_t kVfioPciErrIrq = 3;
inline constexpr uint32_t kVfioPciReqIrq = 4;
inline constexpr uint32_t kVfioPciNumIrqs = 5;

struct VfioIrqInfo {
  uint32_t argsz;
  uint32_t flags;
  uint32_t index;
  uint32_t count;
};
static_assert(sizeof(VfioIrqInfo) == 16 && offsetof(VfioIrqInfo, flags) == 4 &&
              offsetof(VfioIrqInfo, index) == 8 && offsetof(VfioIrqInfo, count) == 12);

// VfioIrqSet::flags: one of DATA_*, one of ACTION_*
inline constexpr uint32_t kVfioIrqSetDataNone = 1;
inline constexpr uint32_t kVfioIrqSetDataBool = 2;
inline constexpr uint32_t kVfioIrqSetDataEventfd = 4;
inline constexpr uint32_t kVfioIrqSetActionMask = 8;
inline constexpr uint32_t kVfioIrqSetActionUnmask = 16;
inline constexpr uint32_t kVfioIrqSetActionTrigger = 32;

// `count` elements follow: none, u8 (BOOL) or s32 (EVENTFD); argsz counts them.
struct VfioIrqSet {
  uint32_t argsz;
  uint32_t flags;
  uint32_t index;
  uint32_t start;
  uint32_t count;
};
static_assert(sizeof(VfioIrqSet) == 20 && offsetof(VfioIrqSet, flags) == 4 &&
              offsetof(VfioIrqSet, index) == 8 && offsetof(VfioIrqSet, start) == 12 &&
              offsetof(VfioIrqSet, count) == 16);

// VfioDeviceBindIommufd::flags
inline constexpr uint32_t kVfioBindFlagToken = 1;

struct VfioDeviceBindIommufd {
  uint32_t argsz;
  uint32_t flags;
  int32_t iommufd;
  uint32_t out_devid;
  uint64_t token_uuid_ptr;
};
static_assert(sizeof(VfioDeviceBindIommufd) == 24 && offsetof(VfioDeviceBindIommufd, flags) == 4 &&
              offsetof(VfioDeviceBindIommufd, iommufd) == 8 &&
              offsetof(VfioDeviceBindIommufd, out_devid) == 12 &&
              offsetof(VfioDeviceBindIommufd, token_uuid_ptr) == 16);

// VfioDeviceAttachIommufdPt::flags, VfioDeviceDetachIommufdPt::flags
inline constexpr uint32_t kVfioAttachFlagPasid = 1;

struct VfioDeviceAttachIommufdPt {
  uint32_t argsz;
  uint32_t flags;
  uint32_t pt_id;  // in: an IOAS or HWPT; out: the HWPT, also an automatic one
  uint32_t pasid;
};
static_assert(sizeof(VfioDeviceAttachIommufdPt) == 16 &&
              offsetof(VfioDeviceAttachIommufdPt, flags) == 4 &&
              offsetof(VfioDeviceAttachIommufdPt, pt_id) == 8 &&
              offsetof(VfioDeviceAttachIommufdPt, pasid) == 12);

struct VfioDeviceDetachIommufdPt {
  uint32_t argsz;
  uint32_t flags;
  uint32_t pasid;
};
static_assert(sizeof(VfioDeviceDetachIommufdPt) == 12 &&
              offsetof(VfioDeviceDetachIommufdPt, flags) == 4 &&
              offsetof(VfioDeviceDetachIommufdPt, pasid) == 8);

}  // namespace berth::uapi

#endif  // BERTH_LIB_IOMMUFD_UAPI_VFIO_H_
