// SPDX-License-Identifier: Apache-2.0
#include "agent/grants/grant_record.h"

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"

namespace berth {

using internal::v1::JournaledDevice;
using internal::v1::JournaledGrant;
using internal::v1::JournaledUnit;

void WriteDevice(const GrantDevice& device, JournaledDevice* record) {
  record->set_id(device.id.str());
  record->set_cdev(device.cdev);
  record->set_address(device.address);
  record->set_unit(device.unit.str());
  record->set_vendor_id(device.vendor_id);
  record->set_device_id(device.device_id);
  record->set_pci_class(device.pci_class);
  record->set_resettable(device.resettable);
}

GrantDevice ReadDevice(const JournaledDevice& record) {
  return {.id = DeviceId(record.id()),
          .cdev = record.cdev(),
          .address = record.address(),
          .unit = UnitId(record.unit()),
          .vendor_id = record.vendor_id(),
          .device_id = record.device_id(),
          .pci_class = record.pci_class(),
          .resettable = record.resettable()};
}

void WriteUnit(const GrantUnit& unit, JournaledUnit* record) {
  record->set_id(unit.id.str());
  record->set_profile(unit.profile);
  record->set_vcmdqs_per_vintf(unit.vcmdqs_per_vintf);
  record->set_sids_per_vintf(unit.sids_per_vintf);
  record->set_max_queue_log2(unit.max_queue_log2);
}

absl::StatusOr<GrantPlan> ReadPlan(const JournaledGrant& record) {
  GrantPlan plan;
  for (const JournaledDevice& device : record.devices()) plan.devices.push_back(ReadDevice(device));
  size_t placed = 0;
  for (const JournaledUnit& unit : record.units()) {
    GrantPlan::Unit& planned = plan.units.emplace_back();
    planned.facts = {.id = UnitId(unit.id()),
                     .profile = unit.profile(),
                     .vcmdqs_per_vintf = unit.vcmdqs_per_vintf(),
                     .sids_per_vintf = unit.sids_per_vintf(),
                     .max_queue_log2 = unit.max_queue_log2()};
    planned.vcmdqs = unit.vcmdqs();
    for (const uint32_t device : unit.devices()) {
      if (device >= plan.devices.size()) break;
      planned.devices.push_back(device);
      ++placed;
    }
    if (planned.devices.empty()) {
      return Error(Reason::kStoreCorrupt,
                   absl::StrCat("the journal has no device of unit ", unit.id()));
    }
  }
  if (placed != plan.devices.size()) {
    return Error(Reason::kStoreCorrupt, "the journal has a device that is of no unit, or of two");
  }
  return plan;
}

}  // namespace berth
