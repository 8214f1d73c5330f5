// SPDX-License-Identifier: Apache-2.0
//
// Linux drivers/iommu/iommufd/viommu.c over arm-smmu-v3-iommufd.c and tegra241-cmdqv.c.
#include <cerrno>

#include "lib/emulator/kernel/mock.h"
#include "lib/emulator/kernel/ops.h"
#include "lib/iommufd/mapped_region.h"
#include "lib/iommufd/uapi/smmuv3.h"

namespace berth::emulator {
namespace {

// tegra241_cmdqv_init_vintf_user().
int InitCmdqv(Ucmd& ucmd, const uapi::IommuViommuAlloc& cmd, Viommu* viommu) {
  uapi::IommuViommuTegra241Cmdqv data = {};
  if (cmd.data_len != sizeof(data)) return -EINVAL;
  if (int rc = ucmd.user.CopyFromUser(0, &data, sizeof(data)); rc != 0) return rc;
  Machine& machine = ucmd.context.machine();
  const int vintf = viommu->unit->cmdqv->AllocVintf(machine.next_cookie, viommu->parent->vmid);
  if (vintf < 0) return vintf;
  viommu->vintf = vintf;
  viommu->cookie = machine.next_cookie++;
  machine.by_cookie[viommu->cookie] = viommu;
  viommu->mmap_length = berth::kPage0Size;
  viommu->mmap_offset = ucmd.context.TakeWindow(viommu);
  data.out_vintf_mmap_offset = viommu->mmap_offset;
  data.out_vintf_mmap_length = berth::kPage0Size;
  return ucmd.user.CopyToUser(&data, sizeof(data));
}

// tegra241_cmdqv_init_vsid().
int InitVsid(Vdevice* vdevice) {
  const Viommu& viommu = *vdevice->viommu.get();
  if (viommu.vintf == 0) return 0;
  if (vdevice->virt_id >> uapi::kVsidBits != 0) return -EINVAL;
  const int slot = viommu.unit->cmdqv->AddSid(viommu.vintf, static_cast<uint32_t>(vdevice->virt_id),
                                              vdevice->device->function->sid());
  if (slot < 0) return slot;
  vdevice->sid_slot = slot;
  return 0;
}

// get_viommu_size() of the drivers.
bool HasViommuType(const Unit& unit, uint32_t type) {
  if (unit.mock()) return type == uapi::kViommuTypeSelftest;
  return type == uapi::kViommuTypeArmSmmuv3 ||
         (type == uapi::kViommuTypeTegra241Cmdqv && unit.cmdqv != nullptr);
}

}  // namespace

int ViommuAlloc(Ucmd& ucmd) {
  auto& cmd = ucmd.As<uapi::IommuViommuAlloc>();
  if (cmd.flags != 0 || cmd.type == uapi::kViommuTypeDefault) return -EOPNOTSUPP;
  const DeviceObject* device = ucmd.context.Find<DeviceObject>(cmd.dev_id);
  if (device == nullptr) return -ENOENT;
  Unit* unit = device->function->unit;
  const bool cmdqv = cmd.type == uapi::kViommuTypeTegra241Cmdqv;
  if (!HasViommuType(*unit, cmd.type)) return -EOPNOTSUPP;
  HwptPaging* parent = ucmd.context.Find<HwptPaging>(cmd.hwpt_id);
  if (parent == nullptr) return -ENOENT;
  if (!parent->nest_parent) return -EINVAL;
  NewObject<Viommu> viommu(&ucmd.context);
  if (viommu.error() != 0) return viommu.error();
  viommu->context = &ucmd.context;
  viommu->viommu_type = cmd.type;
  viommu->parent = Pin<HwptPaging>(parent);
  viommu->unit = unit;
  if (parent->unit != unit) return -EINVAL;
  if (cmdqv) {
    if (int rc = InitCmdqv(ucmd, cmd, viommu.get()); rc != 0) return rc;
  }
  if (unit->mock()) {
    if (int rc = MockInitViommu(ucmd, cmd, viommu.get()); rc != 0) return rc;
  }
  cmd.out_viommu_id = viommu->id;
  if (int rc = ucmd.user.Respond(); rc != 0) return rc;
  viommu.Install();
  return 0;
}

int VdeviceAlloc(Ucmd& ucmd) {
  auto& cmd = ucmd.As<uapi::IommuVdeviceAlloc>();
  Viommu* viommu = ucmd.context.Find<Viommu>(cmd.viommu_id);
  if (viommu == nullptr) return -ENOENT;
  DeviceObject* device = ucmd.context.Find<DeviceObject>(cmd.dev_id);
  if (device == nullptr) return -ENOENT;
  if (viommu->unit != device->function->unit) return -EINVAL;
  if (device->vdevice != nullptr) return -EEXIST;
  NewObject<Vdevice> vdevice(&ucmd.context);
  if (vdevice.error() != 0) return vdevice.error();
  vdevice->viommu = Pin<Viommu>(viommu);
  vdevice->virt_id = cmd.virt_id;
  if (!viommu->vdevices.emplace(cmd.virt_id, vdevice.get()).second) return -EEXIST;
  vdevice->listed = true;
  vdevice->device = device;
  device->vdevice = vdevice.get();
  if (int rc = InitVsid(vdevice.get()); rc != 0) return rc;
  cmd.out_vdevice_id = vdevice->id;
  if (int rc = ucmd.user.Respond(); rc != 0) return rc;
  vdevice.Install();
  return 0;
}

}  // namespace berth::emulator
