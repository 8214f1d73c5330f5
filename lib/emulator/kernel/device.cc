// SPDX-License-Identifier: Apache-2.0
//
// Attaching devices to page tables: Linux drivers/iommu/iommufd/device.c over arm-smmu-v3.
#include <algorithm>
#include <cerrno>

#include "lib/emulator/kernel/mock.h"
#include "lib/emulator/kernel/ops.h"
#include "lib/iommufd/uapi/smmuv3.h"

namespace berth::emulator {
namespace {

Context::Group& GroupOf(DeviceObject* device) {
  return device->context->groups[device->function->group];
}

// find_hwpt_paging(): the page table whose IOAS the device's reserved regions go into.
HwptPaging* PagingOf(Hwpt* hwpt) {
  if (hwpt->type == ObjectType::kHwptPaging) return static_cast<HwptPaging*>(hwpt);
  const auto* nested = static_cast<HwptNested*>(hwpt);
  return nested->viommu.get() != nullptr ? nested->viommu->parent.get() : nested->parent.get();
}

int ReserveRegions(HwptPaging* paging, const DeviceObject* device) {
  if (device->function->unit->mock()) return 0;
  return paging->ioas->iopt.Reserve(uapi::kSwMsiBase, uapi::kSwMsiBase + uapi::kSwMsiLength - 1,
                                    device->function);
}

void RemoveRegions(HwptPaging* paging, const DeviceObject* device) {
  paging->ioas->iopt.RemoveReserved(device->function);
}

void RemoveGroupRegions(HwptPaging* paging, const Context::Group& group) {
  for (const DeviceObject* device : group.devices) RemoveRegions(paging, device);
}

// arm_smmu_make_nested_domain_ste(): an invalid entry aborts, a bypassing one is stage 2 alone.
// arm_smmu_attach_dev_nested(): EATS counts only where stage 1 translates; else ATS is on.
StreamEntry NestedEntry(const HwptNested& nested) {
  const HwptPaging& parent = *nested.viommu->parent.get();
  StreamEntry entry;
  if (uapi::kSte0Valid.Get(nested.ste[0]) == 0) return entry;
  const uint64_t config = uapi::kSte0Config.Get(nested.ste[0]);
  if (config == uapi::kSteConfigAbort) return entry;
  entry.stage2 = parent.ioas->iopt.stage2();
  entry.config = StreamEntry::Config::kStage2;
  entry.ats = parent.unit->spec.ats;
  if (config == uapi::kSteConfigBypass) return entry;
  entry.config = StreamEntry::Config::kNested;
  entry.vmid = parent.vmid;
  entry.guest_ste = nested.ste[0];
  entry.ats = entry.ats && uapi::kSte1Eats.Get(nested.ste[1]) == uapi::kSteEatsTranslate;
  return entry;
}

// What arm_smmu_install_ste_for_dev() puts into the stream table.
StreamEntry EntryOf(const Function& function, const Hwpt& hwpt) {
  if (hwpt.type == ObjectType::kHwptNested) {
    return NestedEntry(static_cast<const HwptNested&>(hwpt));
  }
  StreamEntry entry;
  entry.config = StreamEntry::Config::kStage2;
  const auto& paging = static_cast<const HwptPaging&>(hwpt);
  entry.stage2 = paging.ioas->iopt.stage2();
  entry.ats = function.unit->spec.ats;
  entry.dirty = paging.dirty_log;
  return entry;
}

// arm_smmu_attach_prepare_vmaster(): a vSTE that translates needs the vSID; others do without, and
// without events.
int NoteVmaster(const HwptNested& nested, Function* function) {
  Viommu* viommu = nested.viommu.get();
  const Vdevice* vdevice = viommu->FindVdevice(function);
  if (vdevice == nullptr && uapi::kSte0Config.Get(nested.ste[0]) == uapi::kSteConfigS1Translate) {
    return -ENOENT;
  }
  function->event_viommu = vdevice != nullptr ? viommu : nullptr;
  function->event_vsid = vdevice != nullptr ? vdevice->virt_id : 0;
  return 0;
}

// The driver's attach_dev(): a domain serves its own SMMU.
int DriverAttach(Hwpt* hwpt, Function* function) {
  if (PagingOf(hwpt)->unit != function->unit) return -EINVAL;
  if (function->unit->mock()) return MockAttach(hwpt, function);
  if (hwpt->type == ObjectType::kHwptNested) {
    if (int rc = NoteVmaster(static_cast<const HwptNested&>(*hwpt), function); rc != 0) return rc;
  } else {
    function->event_viommu = nullptr;
  }
  function->unit->smmu->SetStream(function->sid(), EntryOf(*function, *hwpt));
  return 0;
}

// attach_dev() of the blocking domain, which never fails.
void Block(Function* function) {
  function->event_viommu = nullptr;
  if (!function->unit->mock()) function->unit->smmu->SetStream(function->sid(), {});
}

// iommu.c, __iommu_group_set_domain_internal(): all functions of the group, bound or not. Where one
// cannot, those before it go back to `old` (null: the blocking domain), which looks for their
// vDEVICEs anew.
int SetGroupDomain(const IommuGroup& group, Hwpt* hwpt, Hwpt* old) {
  for (size_t i = 0; i < group.functions.size(); ++i) {
    const int rc = DriverAttach(hwpt, group.functions[i]);
    if (rc == 0) continue;
    for (size_t back = 0; back < i; ++back) {
      Function* function = group.functions[back];
      if (old == nullptr || DriverAttach(old, function) != 0) Block(function);
    }
    return rc;
  }
  return 0;
}

// iommufd_hw_pagetable_put().
void PutHwpt(Context* context, Hwpt* hwpt) {
  --hwpt->users;
  if (hwpt->users == 0 && hwpt->type == ObjectType::kHwptPaging &&
      static_cast<HwptPaging*>(hwpt)->automatic) {
    context->Remove(hwpt);
  }
}

int DoAttach(DeviceObject* device, Hwpt* hwpt) {
  Context::Group& group = GroupOf(device);
  if (std::ranges::find(group.devices, device) != group.devices.end()) return -EBUSY;
  if (group.hwpt != nullptr && group.hwpt != hwpt) return -EINVAL;
  HwptPaging* paging = PagingOf(hwpt);
  if (int rc = ReserveRegions(paging, device); rc != 0) return rc;
  if (group.devices.empty()) {
    if (int rc = SetGroupDomain(*device->function->group, hwpt, nullptr); rc != 0) {
      RemoveRegions(paging, device);
      return rc;
    }
    group.hwpt = hwpt;
  }
  ++hwpt->users;
  group.devices.push_back(device);
  return 0;
}

// iommufd_group_do_replace_reserved_iova().
int ReplaceRegions(const Context::Group& group, HwptPaging* paging) {
  if (PagingOf(group.hwpt)->ioas.get() == paging->ioas.get()) return 0;
  for (const DeviceObject* device : group.devices) {
    if (int rc = ReserveRegions(paging, device); rc != 0) {
      RemoveGroupRegions(paging, group);
      return rc;
    }
  }
  return 0;
}

int DoReplace(DeviceObject* device, Hwpt* hwpt) {
  Context::Group& group = GroupOf(device);
  if (group.hwpt == nullptr) return -EINVAL;
  if (std::ranges::find(group.devices, device) == group.devices.end()) return -EINVAL;
  if (hwpt == group.hwpt) return 0;
  Hwpt* old = group.hwpt;
  HwptPaging* paging = PagingOf(hwpt);
  if (int rc = ReplaceRegions(group, paging); rc != 0) return rc;
  if (int rc = SetGroupDomain(*device->function->group, hwpt, old); rc != 0) {
    // As in the kernel also where the target's IOAS is the one that the group is still in: the MSI
    // window is open there afterwards (device.c, err_unresv).
    RemoveGroupRegions(paging, group);
    return rc;
  }
  HwptPaging* old_paging = PagingOf(old);
  if (paging->ioas.get() != old_paging->ioas.get()) RemoveGroupRegions(old_paging, group);
  group.hwpt = hwpt;
  hwpt->users += static_cast<int>(group.devices.size());
  old->users -= static_cast<int>(group.devices.size()) - 1;
  PutHwpt(device->context, old);
  return 0;
}

// iommufd_hw_pagetable_detach(); the caller puts the page table.
Hwpt* LeaveGroup(DeviceObject* device) {
  Context::Group& group = GroupOf(device);
  Hwpt* hwpt = group.hwpt;
  std::erase(group.devices, device);
  if (group.devices.empty()) {
    group.hwpt = nullptr;
    for (Function* function : device->function->group->functions) Block(function);
  }
  RemoveRegions(PagingOf(hwpt), device);
  return hwpt;
}

using AttachFn = int (*)(DeviceObject*, Hwpt*);

// iommufd_device_auto_get_domain().
int AttachAutomatic(DeviceObject* device, Ioas* ioas, AttachFn attach, uint32_t* pt_id) {
  Context& context = *device->context;
  std::vector<HwptPaging*> candidates;
  context.ForEach([&](Object& object) {
    if (object.type != ObjectType::kHwptPaging) return;
    auto& hwpt = static_cast<HwptPaging&>(object);
    if (hwpt.automatic && hwpt.ioas.get() == ioas) candidates.push_back(&hwpt);
  });
  for (HwptPaging* hwpt : candidates) {
    const uint32_t id = hwpt->id;
    const int rc = attach(device, hwpt);
    if (rc == -EINVAL) continue;  // another SMMU's: not compatible
    if (rc == 0) *pt_id = id;
    return rc;
  }
  NewObject<HwptPaging> hwpt(&context);
  if (hwpt.error() != 0) return hwpt.error();
  if (int rc = AllocDomain(hwpt.get(), ioas, device->function->unit, 0); rc != 0) return rc;
  // A first attachment comes before the domain is filled (immediate_attach), a replacement after.
  const bool immediate = attach == DoAttach;
  if (!immediate) {
    if (int rc = AddToIoas(hwpt.get()); rc != 0) return rc;
  }
  if (int rc = attach(device, hwpt.get()); rc != 0) return rc;
  if (immediate) {
    if (int rc = AddToIoas(hwpt.get()); rc != 0) {
      LeaveGroup(device);
      return rc;
    }
  }
  hwpt->automatic = true;
  *pt_id = hwpt->id;
  hwpt.Install();
  return 0;
}

// iommufd_device_change_pt().
int ChangePt(DeviceObject* device, uint32_t* pt_id, AttachFn attach) {
  Object* object = device->context->FindAny(*pt_id);
  if (object == nullptr) return -ENOENT;
  switch (object->type) {
    case ObjectType::kHwptPaging:
    case ObjectType::kHwptNested:
      return attach(device, static_cast<Hwpt*>(object));
    case ObjectType::kIoas:
      return AttachAutomatic(device, static_cast<Ioas*>(object), attach, pt_id);
    default:
      return -EINVAL;
  }
}

}  // namespace

int AttachDevice(DeviceObject* device, uint32_t* pt_id) {
  const int rc = ChangePt(device, pt_id, DoAttach);
  if (rc == 0) ++device->users;
  return rc;
}

int ReplaceDevice(DeviceObject* device, uint32_t* pt_id) {
  return ChangePt(device, pt_id, DoReplace);
}

void ReattachAfterReset(DeviceObject* device) {
  Function* function = device->function;
  Hwpt* hwpt = GroupOf(device).hwpt;
  if (hwpt == nullptr || !function->unit->spec.ats) return;
  if (DriverAttach(hwpt, function) != 0) Block(function);
}

bool IsAttached(DeviceObject* device) { return GroupOf(device).hwpt != nullptr; }

void DetachDevice(DeviceObject* device) {
  PutHwpt(device->context, LeaveGroup(device));
  --device->users;
}

}  // namespace berth::emulator
