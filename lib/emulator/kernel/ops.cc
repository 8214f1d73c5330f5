// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/kernel/ops.h"

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "lib/emulator/kernel/mock.h"
#include "lib/iommufd/uapi/ops.h"
#include "lib/iommufd/uapi/vfio.h"

namespace berth::emulator {
namespace {

int DestroyOp(Ucmd& ucmd) { return ucmd.context.Destroy(ucmd.As<uapi::IommuDestroy>().id); }

struct Handler {
  uapi::Request request;
  int (*execute)(Ucmd&);  // null: EOPNOTSUPP
  const char* why;        // of null
};

constexpr Handler kHandlers[] = {
    {uapi::kIommuDestroy, DestroyOp, nullptr},
    {uapi::kIommuIoasAlloc, IoasAlloc, nullptr},
    {uapi::kIommuIoasAllowIovas, IoasAllowIovas, nullptr},
    {uapi::kIommuIoasCopy, IoasCopy, nullptr},
    {uapi::kIommuIoasIovaRanges, IoasIovaRanges, nullptr},
    {uapi::kIommuIoasMap, IoasMap, nullptr},
    {uapi::kIommuIoasUnmap, IoasUnmap, nullptr},
    {uapi::kIommuOption, Option, nullptr},
    {uapi::kIommuVfioIoas, VfioIoas, nullptr},
    {uapi::kIommuHwptAlloc, HwptAlloc, nullptr},
    {uapi::kIommuGetHwInfo, GetHwInfo, nullptr},
    {uapi::kIommuHwptSetDirtyTracking, HwptSetDirtyTracking, nullptr},
    {uapi::kIommuHwptGetDirtyBitmap, HwptGetDirtyBitmap, nullptr},
    {uapi::kIommuHwptInvalidate, HwptInvalidate, nullptr},
    {uapi::kIommuFaultQueueAlloc, FaultQueueAlloc, nullptr},
    {uapi::kIommuIoasMapFile, IoasMapFile, nullptr},
    {uapi::kIommuViommuAlloc, ViommuAlloc, nullptr},
    {uapi::kIommuVdeviceAlloc, VdeviceAlloc, nullptr},
    {uapi::kIommuIoasChangeProcess, IoasChangeProcess, nullptr},
    {uapi::kIommuVeventqAlloc, VeventqAlloc, nullptr},
    {uapi::kIommuHwQueueAlloc, HwQueueAlloc, nullptr},
    {uapi::kIommuIoasNoiommuGetPa, nullptr, "devices without an IOMMU"},
};
static_assert(std::size(kHandlers) == std::size(uapi::kIommuOps));

// Where there is CONFIG_IOMMUFD_TEST.
constexpr uapi::Op kTestOp = {uapi::kIommuTestCmd, "TEST_CMD", sizeof(uapi::IommuTestCmd),
                              offsetof(uapi::IommuTestCmd, padding)};

// vfio_compat.c answers these three without a container.
constexpr uapi::Request kVfioGetApiVersion = 0x3b64;
constexpr uapi::Request kVfioCheckExtension = 0x3b65;
constexpr uapi::Request kVfioSetIommu = 0x3b66;

}  // namespace

int ContextIoctl(Ucmd& ucmd) {
  const uapi::Request request = ucmd.user.request();
  if (request == uapi::kIommuTestCmd && ucmd.context.machine().FindMock() != nullptr) {
    const int rc = ucmd.user.LoadStruct(kTestOp);
    return rc != 0 ? rc : TestCmd(ucmd);
  }
  const uapi::Op* op = uapi::FindIommuOp(request);
  if (op == nullptr) {
    // The number alone finds the op, whose size is read before the rest of the request is compared.
    const uint64_t number = request & 0xff;
    if (number >= (uapi::kIommuDestroy & 0xff) && number <= (uapi::kIommuIoasNoiommuGetPa & 0xff) &&
        ucmd.user.LoadPrefix(sizeof(uint32_t)) != 0) {
      return -EFAULT;
    }
    if (request == kVfioGetApiVersion || request == kVfioCheckExtension) return 0;
    return request == kVfioSetIommu ? -EINVAL : -ENOTTY;
  }
  if (int rc = ucmd.user.LoadStruct(*op); rc != 0) return rc;
  const Handler& handler = kHandlers[request - uapi::kIommuDestroy];
  return handler.execute != nullptr ? handler.execute(ucmd) : -EOPNOTSUPP;
}

std::vector<std::string> ListUnsupported() {
  std::vector<std::string> list;
  for (const Handler& handler : kHandlers) {
    if (handler.execute != nullptr) continue;
    list.push_back(
        absl::StrCat(std::string(uapi::RequestName(handler.request)), ": ", handler.why));
  }
  list.emplace_back(
      "VFIO_IOMMU_GET_INFO, VFIO_IOMMU_MAP_DMA, VFIO_IOMMU_UNMAP_DMA of a context: ENOTTY; "
      "VFIO_CHECK_EXTENSION is 0 and VFIO_SET_IOMMU EINVAL for every type: no VFIO container");
  list.emplace_back("FAULT_QUEUE records and responses: no device stalls or asks for pages");
  list.emplace_back(
      "VFIO_DEVICE_ATTACH_IOMMUFD_PT with a PASID: no function has PASIDs; EINVAL also for an HWPT "
      "with PASID, which Linux would take and never use");
  list.emplace_back(
      "VFIO_DEVICE_FEATURE, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, VFIO_DEVICE_PCI_HOT_RESET, "
      "VFIO_DEVICE_IOEVENTFD: ENOTTY");
  return list;
}

}  // namespace berth::emulator
