// SPDX-License-Identifier: Apache-2.0
#include "lib/iommufd/viommu.h"

#include <algorithm>
#include <cerrno>
#include <string>

#include "absl/strings/str_cat.h"
#include "lib/iommufd/device.h"
#include "lib/iommufd/hwpt.h"
#include "lib/iommufd/uapi/ops.h"
#include "lib/iommufd/uapi/smmuv3.h"

namespace berth {
namespace {

// The kernel copies all entries of a call at once (an allocation of 24 bytes per command), so a
// long list goes in slices.
constexpr size_t kCommandsPerCall = 4096;

}  // namespace

absl::StatusOr<Viommu> Viommu::Create(const Device& device, const Hwpt& parent, Type type) {
  BERTH_RETURN_IF_ERROR(device.context().CheckSame(parent.context()));
  uapi::IommuViommuTegra241Cmdqv data = {};
  auto arg = Sized<uapi::IommuViommuAlloc>();
  arg.type = static_cast<uint32_t>(type);
  arg.dev_id = device.id();
  arg.hwpt_id = parent.id();
  if (type == Type::kTegra241Cmdqv) {
    arg.data_len = sizeof(data);
    arg.data_uptr = reinterpret_cast<uint64_t>(&data);
  }
  BERTH_RETURN_IF_ERROR(
      device.context().Call(uapi::kIommuViommuAlloc, &arg, {{"device", device.name()}}));
  return Viommu(device.context(), arg.out_viommu_id,
                {data.out_vintf_mmap_offset, data.out_vintf_mmap_length});
}

absl::StatusOr<MappedRegion> Viommu::RegionForVmm() const {
  return context().kernel().RegionForVmm(context().fd(), page0_.offset, page0_.length);
}

Viommu::Invalidated Viommu::Invalidate(
    std::span<const uapi::IommuViommuArmSmmuv3Invalidate> commands) {
  Invalidated result;
  while (result.handled < commands.size()) {
    const auto slice = commands.subspan(result.handled)
                           .first(std::min(kCommandsPerCall, commands.size() - result.handled));
    auto arg = Sized<uapi::IommuHwptInvalidate>();
    arg.hwpt_id = id();
    // The kernel only reads them.
    arg.data_uptr = reinterpret_cast<uint64_t>(slice.data());
    arg.data_type = uapi::kViommuInvalidateArmSmmuv3;
    arg.entry_len = sizeof(slice[0]);
    arg.entry_num = static_cast<uint32_t>(slice.size());
    result.status = context().Call(uapi::kIommuHwptInvalidate, &arg);
    // With ENOMEM the kernel leaves the count as it was.
    const bool counted = result.status.ok() || ErrnoOf(result.status) != ENOMEM;
    if (counted) result.handled += std::min(arg.entry_num, static_cast<uint32_t>(slice.size()));
    if (!result.status.ok()) {
      result.status = WithMetadata(result.status, "command", std::to_string(result.handled));
      return result;
    }
    if (arg.entry_num == 0) {
      result.status = Error(Reason::kSystemError, "HWPT_INVALIDATE: the kernel handled nothing");
      return result;
    }
  }
  return result;
}

absl::StatusOr<Vdevice> Vdevice::Create(const Viommu& viommu, const Device& device, uint64_t vsid) {
  BERTH_RETURN_IF_ERROR(viommu.context().CheckSame(device.context()));
  auto arg = Sized<uapi::IommuVdeviceAlloc>();
  arg.viommu_id = viommu.id();
  arg.dev_id = device.id();
  arg.virt_id = vsid;
  const ErrorMetadata metadata = {{"device", device.name()},
                                  {"vsid", absl::StrCat("0x", absl::Hex(vsid))}};
  const absl::Status status = viommu.context().Call(uapi::kIommuVdeviceAlloc, &arg, metadata);
  if (ErrnoOf(status) == EINVAL && vsid >> uapi::kVsidBits != 0) {
    return CallError(Reason::kVsidRange, EINVAL, uapi::RequestName(uapi::kIommuVdeviceAlloc),
                     metadata);
  }
  BERTH_RETURN_IF_ERROR(status);
  return Vdevice(viommu.context(), arg.out_vdevice_id);
}

absl::StatusOr<HwQueue> HwQueue::Create(const Viommu& viommu, uint32_t index, uint64_t iova,
                                        uint64_t length) {
  auto arg = Sized<uapi::IommuHwQueueAlloc>();
  arg.viommu_id = viommu.id();
  arg.type = uapi::kHwQueueTypeTegra241Cmdqv;
  arg.index = index;
  arg.nesting_parent_iova = iova;
  arg.length = length;
  BERTH_RETURN_IF_ERROR(viommu.context().Call(uapi::kIommuHwQueueAlloc, &arg,
                                              {{"index", std::to_string(index)},
                                               {"iova", absl::StrCat("0x", absl::Hex(iova))},
                                               {"length", std::to_string(length)}}));
  return HwQueue(viommu.context(), arg.out_hw_queue_id);
}

}  // namespace berth
