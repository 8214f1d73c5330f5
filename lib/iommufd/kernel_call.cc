// SPDX-License-Identifier: Apache-2.0
#include "lib/iommufd/kernel_call.h"

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "lib/iommufd/uapi/ops.h"

namespace berth {
namespace {

struct Row {
  uapi::Request request;
  ObjectKind kind;  // kNone: any
  int error;
  Reason reason;
};

// Where an errno says more than ErrnoToStatus() can know. Sources: Linux
// drivers/iommu/iommufd/{viommu,io_pagetable,hw_pagetable,main}.c,
// drivers/iommu/arm/arm-smmu-v3/{arm-smmu-v3-iommufd,tegra241-cmdqv}.c, drivers/vfio/device_cdev.c.
// EINVAL of IOAS_MAP_FILE and VDEVICE_ALLOC has several causes: Ioas and Vdevice tell them apart.
constexpr Row kRows[] = {
    {uapi::kIommuViommuAlloc, ObjectKind::kNone, ENOSPC, Reason::kVintfExhausted},
    {uapi::kIommuVdeviceAlloc, ObjectKind::kNone, ENOSPC, Reason::kSidSlotsExhausted},
    {uapi::kIommuVdeviceAlloc, ObjectKind::kNone, EEXIST, Reason::kVsidInUse},
    {uapi::kIommuHwQueueAlloc, ObjectKind::kNone, EIO, Reason::kQueueOrder},
    {uapi::kIommuHwQueueAlloc, ObjectKind::kNone, EEXIST, Reason::kQueueExists},
    {uapi::kIommuHwQueueAlloc, ObjectKind::kNone, EFAULT, Reason::kQueueNotContiguous},
    {uapi::kIommuHwQueueAlloc, ObjectKind::kNone, EINVAL, Reason::kQueueSize},
    {uapi::kIommuHwQueueAlloc, ObjectKind::kNone, EOVERFLOW, Reason::kQueueSize},
    {uapi::kIommuHwQueueAlloc, ObjectKind::kNone, ERANGE, Reason::kQueueSize},
    {uapi::kIommuHwQueueAlloc, ObjectKind::kNone, ENOENT, Reason::kMemoryUnknown},
    {uapi::kIommuHwQueueAlloc, ObjectKind::kNone, EPERM, Reason::kMemoryUnknown},
    {uapi::kIommuHwQueueAlloc, ObjectKind::kNone, EADDRINUSE, Reason::kAlignment},
    {uapi::kIommuIoasMapFile, ObjectKind::kNone, EEXIST, Reason::kMemoryOverlap},
    {uapi::kIommuIoasMapFile, ObjectKind::kNone, EOVERFLOW, Reason::kMemoryReserved},
    {uapi::kIommuIoasUnmap, ObjectKind::kNone, EBUSY, Reason::kMemoryInUse},
    {uapi::kIommuIoasUnmap, ObjectKind::kNone, ENOENT, Reason::kMemoryUnknown},
    {uapi::kIommuHwptAlloc, ObjectKind::kNone, EIO, Reason::kBadStreamTableEntry},
    {uapi::kIommuHwptInvalidate, ObjectKind::kNone, EIO, Reason::kBadCommand},
    {uapi::kVfioDeviceBindIommufd, ObjectKind::kNone, EINVAL, Reason::kDeviceBusy},
    {uapi::kVfioDeviceAttachIommufdPt, ObjectKind::kNone, EADDRINUSE, Reason::kMemoryReserved},
    {uapi::kIommuDestroy, ObjectKind::kViommu, EBUSY, Reason::kStillMapped},
    {uapi::kIommuDestroy, ObjectKind::kHwQueue, EBUSY, Reason::kQueueOrder},
    {uapi::kIommuDestroy, ObjectKind::kNone, EBUSY, Reason::kStateConflict},
};

}  // namespace

std::string_view ToString(ObjectKind kind) {
  switch (kind) {
    case ObjectKind::kNone:
      return "none";
    case ObjectKind::kIoas:
      return "IOAS";
    case ObjectKind::kHwpt:
      return "HWPT";
    case ObjectKind::kViommu:
      return "vIOMMU";
    case ObjectKind::kVdevice:
      return "vDEVICE";
    case ObjectKind::kHwQueue:
      return "HW_QUEUE";
    case ObjectKind::kVeventq:
      return "vEVENTQ";
  }
  return "none";
}

Reason ReasonOfErrno(uapi::Request request, ObjectKind kind, int error) {
  for (const Row& row : kRows) {
    if (row.request == request && row.error == error &&
        (row.kind == ObjectKind::kNone || row.kind == kind)) {
      return row.reason;
    }
  }
  return ReasonOf(ErrnoToStatus(error, ""));
}

absl::Status CallError(Reason reason, int error, std::string_view call,
                       const ErrorMetadata& metadata) {
  ErrorMetadata all = metadata;
  all["call"] = std::string(call);
  all["errno"] = ErrnoName(error);
  const std::string_view meaning = ReasonMeaning(reason);
  return Error(reason,
               absl::StrCat(std::string(call), ": ", std::string(meaning), " (", ErrnoName(error),
                            ": ", std::strerror(error), ")"),
               all);
}

absl::Status CallKernel(KernelApi& kernel, int fd, uapi::Request request, void* arg,
                        const ErrorMetadata& metadata, ObjectKind kind) {
  const int result = kernel.Ioctl(fd, request, arg);
  if (result >= 0) return absl::OkStatus();
  return CallError(ReasonOfErrno(request, kind, -result), -result, uapi::RequestName(request),
                   metadata);
}

}  // namespace berth
