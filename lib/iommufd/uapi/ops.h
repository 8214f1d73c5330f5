// SPDX-License-Identifier: Apache-2.0
//
// All requests of a context and of a cdev as of Linux 7.3: their names and the sizes of their
// structs.
#ifndef BERTH_LIB_IOMMUFD_UAPI_OPS_H_
#define BERTH_LIB_IOMMUFD_UAPI_OPS_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "lib/iommufd/uapi/iommufd.h"
#include "lib/iommufd/uapi/vfio.h"

namespace berth::uapi {

// What the kernel checks before it looks at a struct: `size` below min_size is EINVAL, bytes beyond
// struct_size must be zero (else E2BIG), and what is between the two is read as zero when absent.
// Linux drivers/iommu/iommufd/main.c, iommufd_ioctl_ops.
struct Op {
  Request request;
  std::string_view name;  // "VIOMMU_ALLOC", as in errors
  uint32_t struct_size;
  uint32_t min_size;
};

// Ordered by request, without holes from kIommuDestroy.
inline constexpr Op kIommuOps[] = {
    {kIommuDestroy, "DESTROY", sizeof(IommuDestroy), sizeof(IommuDestroy)},
    {kIommuIoasAlloc, "IOAS_ALLOC", sizeof(IommuIoasAlloc), sizeof(IommuIoasAlloc)},
    {kIommuIoasAllowIovas, "IOAS_ALLOW_IOVAS", sizeof(IommuIoasAllowIovas),
     sizeof(IommuIoasAllowIovas)},
    {kIommuIoasCopy, "IOAS_COPY", sizeof(IommuIoasCopy), sizeof(IommuIoasCopy)},
    {kIommuIoasIovaRanges, "IOAS_IOVA_RANGES", sizeof(IommuIoasIovaRanges),
     sizeof(IommuIoasIovaRanges)},
    {kIommuIoasMap, "IOAS_MAP", sizeof(IommuIoasMap), sizeof(IommuIoasMap)},
    {kIommuIoasUnmap, "IOAS_UNMAP", sizeof(IommuIoasUnmap), sizeof(IommuIoasUnmap)},
    {kIommuOption, "OPTION", sizeof(IommuOption), sizeof(IommuOption)},
    {kIommuVfioIoas, "VFIO_IOAS", sizeof(IommuVfioIoas), sizeof(IommuVfioIoas)},
    {kIommuHwptAlloc, "HWPT_ALLOC", sizeof(IommuHwptAlloc), offsetof(IommuHwptAlloc, data_type)},
    {kIommuGetHwInfo, "GET_HW_INFO", sizeof(IommuHwInfo), offsetof(IommuHwInfo, out_capabilities)},
    {kIommuHwptSetDirtyTracking, "HWPT_SET_DIRTY_TRACKING", sizeof(IommuHwptSetDirtyTracking),
     sizeof(IommuHwptSetDirtyTracking)},
    {kIommuHwptGetDirtyBitmap, "HWPT_GET_DIRTY_BITMAP", sizeof(IommuHwptGetDirtyBitmap),
     sizeof(IommuHwptGetDirtyBitmap)},
    {kIommuHwptInvalidate, "HWPT_INVALIDATE", sizeof(IommuHwptInvalidate),
     sizeof(IommuHwptInvalidate)},
    {kIommuFaultQueueAlloc, "FAULT_QUEUE_ALLOC", sizeof(IommuFaultAlloc), sizeof(IommuFaultAlloc)},
    {kIommuIoasMapFile, "IOAS_MAP_FILE", sizeof(IommuIoasMapFile), sizeof(IommuIoasMapFile)},
    {kIommuViommuAlloc, "VIOMMU_ALLOC", sizeof(IommuViommuAlloc),
     offsetof(IommuViommuAlloc, data_len)},
    {kIommuVdeviceAlloc, "VDEVICE_ALLOC", sizeof(IommuVdeviceAlloc), sizeof(IommuVdeviceAlloc)},
    {kIommuIoasChangeProcess, "IOAS_CHANGE_PROCESS", sizeof(IommuIoasChangeProcess),
     sizeof(IommuIoasChangeProcess)},
    {kIommuVeventqAlloc, "VEVENTQ_ALLOC", sizeof(IommuVeventqAlloc),
     offsetof(IommuVeventqAlloc, reserved)},
    {kIommuHwQueueAlloc, "HW_QUEUE_ALLOC", sizeof(IommuHwQueueAlloc), sizeof(IommuHwQueueAlloc)},
    {kIommuIoasNoiommuGetPa, "IOAS_NOIOMMU_GET_PA", 40, 40},
};

// The row of `request`, or nullptr when it is not an iommufd request of Linux 7.3.
constexpr const Op* FindIommuOp(Request request) {
  for (const Op& op : kIommuOps) {
    if (op.request == request) return &op;
  }
  return nullptr;
}

// struct_size and min_size mean what they do in kIommuOps, except that VFIO reads min_size bytes
// (ATTACH and DETACH: 16 and 12 with the PASID flag) and, but for BIND, ignores a tail.
inline constexpr Op kVfioOps[] = {
    {kVfioDeviceGetInfo, "VFIO_DEVICE_GET_INFO", 24, offsetof(VfioDeviceInfo, cap_offset)},
    {kVfioDeviceGetRegionInfo, "VFIO_DEVICE_GET_REGION_INFO", 32, 32},
    {kVfioDeviceGetIrqInfo, "VFIO_DEVICE_GET_IRQ_INFO", 16, 16},
    {kVfioDeviceSetIrqs, "VFIO_DEVICE_SET_IRQS", 20, 20},
    {kVfioDeviceReset, "VFIO_DEVICE_RESET", 0, 0},
    {kVfioDeviceBindIommufd, "VFIO_DEVICE_BIND_IOMMUFD", 24,
     offsetof(VfioDeviceBindIommufd, token_uuid_ptr)},
    {kVfioDeviceAttachIommufdPt, "VFIO_DEVICE_ATTACH_IOMMUFD_PT", 16,
     offsetof(VfioDeviceAttachIommufdPt, pasid)},
    {kVfioDeviceDetachIommufdPt, "VFIO_DEVICE_DETACH_IOMMUFD_PT", 12,
     offsetof(VfioDeviceDetachIommufdPt, pasid)},
};

constexpr const Op* FindVfioOp(Request request) {
  for (const Op& op : kVfioOps) {
    if (op.request == request) return &op;
  }
  return nullptr;
}

// The name of any request of kIommuOps or kVfioOps, as it stands in errors; "UNKNOWN" for others.
constexpr std::string_view RequestName(Request request) {
  if (const Op* op = FindIommuOp(request)) return op->name;
  if (const Op* op = FindVfioOp(request)) return op->name;
  return "UNKNOWN";
}

}  // namespace berth::uapi

#endif  // BERTH_LIB_IOMMUFD_UAPI_OPS_H_
