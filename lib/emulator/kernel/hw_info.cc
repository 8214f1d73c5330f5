// SPDX-License-Identifier: Apache-2.0
//
// GET_HW_INFO: Linux drivers/iommu/iommufd/device.c, iommufd_get_hw_info().
#include <algorithm>
#include <bit>
#include <cerrno>

#include "lib/emulator/kernel/mock.h"
#include "lib/emulator/kernel/ops.h"

namespace berth::emulator {

int GetHwInfo(Ucmd& ucmd) {
  auto& cmd = ucmd.As<uapi::IommuHwInfo>();
  if ((cmd.flags & ~uapi::kHwInfoInputType) != 0) return -EOPNOTSUPP;
  if (cmd.reserved[0] != 0 || cmd.reserved[1] != 0 || cmd.reserved[2] != 0) return -EOPNOTSUPP;
  if ((cmd.flags & uapi::kHwInfoInputType) == 0) cmd.data_type = uapi::kHwInfoDefault;
  const DeviceObject* device = ucmd.context.Find<DeviceObject>(cmd.dev_id);
  if (device == nullptr) return -ENOENT;
  const Unit& unit = *device->function->unit;

  uapi::IommuHwInfoArmSmmuv3 smmu = {};
  uapi::IommuHwInfoTegra241Cmdqv cmdqv = {};
  const void* data = &smmu;
  size_t size = sizeof(smmu);
  if (unit.mock()) {
    if (int rc = MockHwInfo(cmd, &data, &size); rc != 0) return rc;
  } else if (cmd.data_type == uapi::kHwInfoTegra241Cmdqv && unit.cmdqv) {
    cmdqv.version = static_cast<uint8_t>(unit.spec.version);
    cmdqv.log2vcmdqs = static_cast<uint8_t>(
        std::countr_zero(static_cast<unsigned>(unit.cmdqv->lvcmdqs_per_vintf())));
    cmdqv.log2vsids =
        static_cast<uint8_t>(std::countr_zero(static_cast<unsigned>(unit.spec.sid_slots)));
    data = &cmdqv;
    size = sizeof(cmdqv);
  } else if (cmd.data_type == uapi::kHwInfoDefault || cmd.data_type == uapi::kHwInfoArmSmmuv3) {
    std::ranges::copy(unit.Idr(), smmu.idr);
    smmu.aidr = 1;  // SMMUv3.1
    cmd.data_type = uapi::kHwInfoArmSmmuv3;
  } else {
    return -EOPNOTSUPP;
  }
  const size_t count = std::min<size_t>(cmd.data_len, size);
  if (int rc = ucmd.user.CopyToUser(data, count, cmd.data_len); rc != 0) return rc;
  cmd.data_len = static_cast<uint32_t>(size);
  cmd.out_max_pasid_log2 = 0;
  cmd.out_capabilities = unit.spec.ats && !unit.mock() ? 0 : uapi::kHwCapPciAtsNotSupported;
  if (unit.mock() || unit.spec.httu) cmd.out_capabilities |= uapi::kHwCapDirtyTracking;
  return ucmd.user.Respond();
}

}  // namespace berth::emulator
