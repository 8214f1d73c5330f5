// SPDX-License-Identifier: Apache-2.0
#include "lib/iommufd/hwpt.h"

#include <algorithm>

#include "lib/iommufd/device.h"
#include "lib/iommufd/ioas.h"
#include "lib/iommufd/viommu.h"

namespace berth {

absl::StatusOr<Hwpt> Hwpt::CreateNestingParent(const Device& device, const Ioas& ioas) {
  BERTH_RETURN_IF_ERROR(device.context().CheckSame(ioas.context()));
  auto arg = Sized<uapi::IommuHwptAlloc>();
  arg.flags = uapi::kHwptAllocNestParent;
  arg.dev_id = device.id();
  arg.pt_id = ioas.id();
  BERTH_RETURN_IF_ERROR(
      device.context().Call(uapi::kIommuHwptAlloc, &arg, {{"device", device.name()}}));
  return Hwpt(device.context(), arg.out_hwpt_id);
}

absl::StatusOr<Hwpt> Hwpt::CreateNested(const Device& device, const Viommu& viommu,
                                        std::span<const uint64_t, 2> ste) {
  BERTH_RETURN_IF_ERROR(device.context().CheckSame(viommu.context()));
  uapi::IommuHwptArmSmmuv3 data = {};
  std::copy(ste.begin(), ste.end(), data.ste);
  auto arg = Sized<uapi::IommuHwptAlloc>();
  arg.dev_id = device.id();
  arg.pt_id = viommu.id();
  arg.data_type = uapi::kHwptDataArmSmmuv3;
  arg.data_len = sizeof(data);
  arg.data_uptr = reinterpret_cast<uint64_t>(&data);
  BERTH_RETURN_IF_ERROR(
      device.context().Call(uapi::kIommuHwptAlloc, &arg, {{"device", device.name()}}));
  return Hwpt(device.context(), arg.out_hwpt_id);
}

}  // namespace berth
