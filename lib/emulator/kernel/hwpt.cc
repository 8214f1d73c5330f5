// SPDX-License-Identifier: Apache-2.0
//
// Linux drivers/iommu/iommufd/hw_pagetable.c over drivers/iommu/arm/arm-smmu-v3.
#include <bit>
#include <cerrno>

#include "lib/emulator/kernel/mock.h"
#include "lib/emulator/kernel/ops.h"
#include "lib/iommufd/uapi/smmuv3.h"

namespace berth::emulator {
namespace {

constexpr uint32_t kNestedFlags = uapi::kHwptAllocFaultIdValid | uapi::kHwptAllocPasid;
// Stage 1 of an SMMUv3 with 48-bit virtual addresses.
constexpr int kStage1Bits = 48;

uint64_t LastOf(int bits) { return (uint64_t{1} << bits) - 1; }

// arm-smmu-v3-iommufd.c, arm_smmu_validate_vste().
int ValidateVste(std::array<uint64_t, 2>& ste) {
  if (uapi::kSte0Valid.Get(ste[0]) == 0) {
    ste = {};
    return 0;
  }
  if ((ste[0] & ~uapi::kSte0GuestMask) != 0 || (ste[1] & ~uapi::kSte1GuestMask) != 0) return -EIO;
  const uint64_t config = uapi::kSte0Config.Get(ste[0]);
  if (config != uapi::kSteConfigAbort && config != uapi::kSteConfigBypass &&
      config != uapi::kSteConfigS1Translate) {
    return -EIO;
  }
  const uint64_t eats = uapi::kSte1Eats.Get(ste[1]);
  return eats == uapi::kSteEatsAbort || eats == uapi::kSteEatsTranslate ? 0 : -EIO;
}

// iommu_copy_struct_from_user() of a vSTE, and arm_vsmmu_alloc_domain_nested().
int LoadVste(Ucmd& ucmd, const uapi::IommuHwptAlloc& cmd, std::array<uint64_t, 2>* ste) {
  if (cmd.data_type != uapi::kHwptDataArmSmmuv3) return -EINVAL;
  if (cmd.data_len != sizeof(uapi::IommuHwptArmSmmuv3)) return -EINVAL;
  if (int rc = ucmd.user.CopyFromUser(0, ste->data(), sizeof(*ste)); rc != 0) return rc;
  return ValidateVste(*ste);
}

// The tail of HWPT_ALLOC that all kinds share: the fault queue, then the answer.
template <typename T>
int Finish(Ucmd& ucmd, uapi::IommuHwptAlloc& cmd, NewObject<T>* hwpt) {
  if ((cmd.flags & uapi::kHwptAllocFaultIdValid) != 0) {
    Fault* fault = ucmd.context.Find<Fault>(cmd.fault_id);
    if (fault == nullptr) return -ENOENT;
    (*hwpt)->fault = Pin<Fault>(fault);
  }
  cmd.out_hwpt_id = (*hwpt)->id;
  if (int rc = ucmd.user.Respond(); rc != 0) return rc;
  hwpt->Install();
  return 0;
}

int AllocPaging(Ucmd& ucmd, uapi::IommuHwptAlloc& cmd, Ioas* ioas, Unit* unit) {
  constexpr uint32_t kFlags = uapi::kHwptAllocNestParent | uapi::kHwptAllocDirtyTracking |
                              uapi::kHwptAllocFaultIdValid | uapi::kHwptAllocPasid;
  constexpr uint32_t kFaultingParent = uapi::kHwptAllocFaultIdValid | uapi::kHwptAllocNestParent;
  if ((cmd.flags & ~kFlags) != 0) return -EOPNOTSUPP;
  if ((cmd.flags & kFaultingParent) == kFaultingParent) return -EOPNOTSUPP;
  NewObject<HwptPaging> hwpt(&ucmd.context);
  if (hwpt.error() != 0) return hwpt.error();
  if (unit->mock()) {
    if (int rc = MockAllocPaging(ucmd, cmd); rc != 0) return rc;
  } else if (cmd.data_len != 0) {
    return -EOPNOTSUPP;  // arm_smmu_domain_alloc_paging_flags(): no user data
  }
  const uint32_t flags = cmd.flags & ~uapi::kHwptAllocFaultIdValid;
  if (int rc = AllocDomain(hwpt.get(), ioas, unit, flags); rc != 0) return rc;
  if (int rc = AddToIoas(hwpt.get()); rc != 0) return rc;
  return Finish(ucmd, cmd, &hwpt);
}

int AllocNested(Ucmd& ucmd, uapi::IommuHwptAlloc& cmd, Viommu* viommu, const Unit* unit) {
  if (viommu->unit != unit) return -EINVAL;
  if ((cmd.flags & ~kNestedFlags) != 0 || cmd.data_len == 0) return -EOPNOTSUPP;
  NewObject<HwptNested> hwpt(&ucmd.context);
  if (hwpt.error() != 0) return hwpt.error();
  if (unit->mock()) {
    if (int rc = MockAllocNested(ucmd, cmd, hwpt.get()); rc != 0) return rc;
    hwpt->mock = true;
  } else {
    if ((cmd.flags & uapi::kHwptAllocPasid) != 0) return -EOPNOTSUPP;
    if (int rc = LoadVste(ucmd, cmd, &hwpt->ste); rc != 0) return rc;
  }
  hwpt->viommu = Pin<Viommu>(viommu);
  return Finish(ucmd, cmd, &hwpt);
}

// iommufd_hwpt_nested_alloc(): nested without a vIOMMU, which arm-smmu-v3 has not.
int AllocNestedOn(Ucmd& ucmd, uapi::IommuHwptAlloc& cmd, HwptPaging* parent, const Unit* unit) {
  if (!unit->mock() || (cmd.flags & ~kNestedFlags) != 0 || cmd.data_len == 0) return -EOPNOTSUPP;
  if (!parent->nest_parent || parent->unit != unit) return -EINVAL;
  NewObject<HwptNested> hwpt(&ucmd.context);
  if (hwpt.error() != 0) return hwpt.error();
  if (int rc = MockAllocNested(ucmd, cmd, hwpt.get()); rc != 0) return rc;
  hwpt->mock = true;
  hwpt->parent = Pin<HwptPaging>(parent);
  return Finish(ucmd, cmd, &hwpt);
}

}  // namespace

int AllocDomain(HwptPaging* hwpt, Ioas* ioas, Unit* unit, uint32_t flags) {
  hwpt->unit = unit;
  if (unit->mock()) {
    hwpt->nest_parent = (flags & uapi::kHwptAllocNestParent) != 0;
    hwpt->dirty_tracking = (flags & uapi::kHwptAllocDirtyTracking) != 0;
    hwpt->ioas = Pin<Ioas>(ioas);
    return 0;
  }
  hwpt->dirty_tracking = (flags & uapi::kHwptAllocDirtyTracking) != 0;
  if (hwpt->dirty_tracking && !unit->spec.httu) return -EOPNOTSUPP;
  const bool parent = (flags & uapi::kHwptAllocNestParent) != 0;
  if (parent && flags != uapi::kHwptAllocNestParent) return -EOPNOTSUPP;
  if (parent) {
    const uint16_t vmid = unit->TakeVmid();
    if (vmid == 0) return -ENOSPC;
    hwpt->vmid = vmid;
  }
  if (hwpt->dirty_tracking) {
    hwpt->dirty_log =
        std::make_shared<DirtyLog>(static_cast<uint8_t>(std::countr_zero(ioas->iopt.page_size())));
  }
  hwpt->nest_parent = parent;
  hwpt->ioas = Pin<Ioas>(ioas);
  return 0;
}

int AddToIoas(HwptPaging* hwpt) {
  const int bits = hwpt->nest_parent ? hwpt->unit->spec.address_bits : kStage1Bits;
  const uint64_t page_size = hwpt->ioas->iopt.page_size();
  IoPagetable::Geometry geometry = {0, LastOf(bits), page_size, hwpt->dirty_log};
  if (hwpt->unit->mock()) {
    geometry = {uapi::kMockApertureStart, uapi::kMockApertureLast, page_size / 2, nullptr};
  }
  const int rc = hwpt->ioas->iopt.AddDomain(hwpt, geometry);
  hwpt->in_iopt = rc == 0;
  if (hwpt->in_iopt) hwpt->ioas->hwpts.push_back(hwpt);
  return rc;
}

int HwptAlloc(Ucmd& ucmd) {
  auto& cmd = ucmd.As<uapi::IommuHwptAlloc>();
  if (cmd.reserved != 0) return -EOPNOTSUPP;
  if ((cmd.data_type == uapi::kHwptDataNone) != (cmd.data_len == 0)) return -EINVAL;
  const DeviceObject* device = ucmd.context.Find<DeviceObject>(cmd.dev_id);
  if (device == nullptr) return -ENOENT;
  Unit* unit = device->function->unit;
  if (Ioas* ioas = ucmd.context.Find<Ioas>(cmd.pt_id)) return AllocPaging(ucmd, cmd, ioas, unit);
  if (Viommu* viommu = ucmd.context.Find<Viommu>(cmd.pt_id)) {
    return AllocNested(ucmd, cmd, viommu, unit);
  }
  if (HwptPaging* parent = ucmd.context.Find<HwptPaging>(cmd.pt_id)) {
    return AllocNestedOn(ucmd, cmd, parent, unit);
  }
  return -EINVAL;
}

}  // namespace berth::emulator
