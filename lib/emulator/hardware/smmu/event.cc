// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/smmu/event.h"

#include "lib/iommufd/uapi/smmuv3.h"

namespace berth::emulator {
namespace {

// F_PERMISSION of a table: it was read, not updated (Linux arm-smmu-v3.h, EVTQ_1_TT_READ).
constexpr uapi::BitField kEvt1TtRnw = {44, 44};
constexpr uapi::BitField kEvt3Ipa = {12, 51};

}  // namespace

SmmuEvent ConfigurationEvent(uint8_t id, uint32_t sid) {
  return {{uapi::kEvt0Id.Put(id) | uapi::kEvt0Sid.Put(sid), 0, 0, 0}};
}

SmmuEvent TranslationEvent(const FaultRecord& fault) {
  SmmuEvent event = ConfigurationEvent(fault.id, fault.sid);
  event.evt[1] = uapi::kEvt1Rnw.Put(fault.write ? 0 : 1) | uapi::kEvt1S2.Put(fault.stage2 ? 1 : 0) |
                 uapi::kEvt1Class.Put(static_cast<uint64_t>(fault.fault_class));
  if (fault.id == uapi::kEvtFPermission && fault.stage2 &&
      fault.fault_class == FaultClass::kTable) {
    event.evt[1] |= kEvt1TtRnw.Put(fault.updates ? 0 : 1);
  }
  event.evt[2] = fault.address;
  if (fault.stage2) event.evt[3] = fault.ipa & kEvt3Ipa.mask();
  return event;
}

}  // namespace berth::emulator
