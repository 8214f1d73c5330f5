// SPDX-License-Identifier: Apache-2.0
//
// Event records (Arm IHI 0070, 7.3).
#ifndef BERTH_LIB_EMULATOR_HARDWARE_SMMU_EVENT_H_
#define BERTH_LIB_EMULATOR_HARDWARE_SMMU_EVENT_H_

#include <cstdint>

#include "lib/iommufd/uapi/iommufd.h"

namespace berth::emulator {

using SmmuEvent = uapi::IommuVeventArmSmmuv3;

// CLASS: what the SMMU was doing for the transaction.
enum class FaultClass : uint8_t {
  kCd = 0,     // fetching the context descriptor
  kTable = 1,  // fetching or updating a descriptor of a stage 1 table
  kInput = 2,  // translating the address itself
};

// One translation that failed. Transactions of a device are unprivileged data accesses without a
// SubstreamID, so PnU, InD, SSV and SSID are 0; nothing stalls.
struct FaultRecord {
  uint8_t id = 0;  // uapi::kEvt*
  uint32_t sid = 0;
  bool write = false;  // the transaction
  bool stage2 = false;
  FaultClass fault_class = FaultClass::kInput;
  bool updates = false;  // kTable: the descriptor was to be written
  uint64_t address = 0;  // of the transaction
  uint64_t ipa = 0;      // with stage2
};

// The record of C_BAD_STE, C_BAD_CD: configuration errors name the stream alone.
SmmuEvent ConfigurationEvent(uint8_t id, uint32_t sid);
// The record of F_TRANSLATION, F_ADDR_SIZE, F_ACCESS, F_PERMISSION, F_WALK_EABT.
SmmuEvent TranslationEvent(const FaultRecord& fault);

// Errors of fetching, which Linux does not forward: names as in IHI 0070.
inline constexpr uint8_t kEvtFCdFetch = 0x09;
inline constexpr uint8_t kEvtFWalkEabt = 0x0b;

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_SMMU_EVENT_H_
