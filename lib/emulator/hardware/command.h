// SPDX-License-Identifier: Apache-2.0
//
// The SMMUv3 commands that a guest may put into a vCMDQ of its VINTF (Arm IHI 0070; which of them a
// queue with HYP_OWN=0 takes: Linux drivers/iommu/arm/arm-smmu-v3/tegra241-cmdqv.c,
// tegra241_guest_vcmdq_supports_cmd).
#ifndef BERTH_LIB_EMULATOR_HARDWARE_COMMAND_H_
#define BERTH_LIB_EMULATOR_HARDWARE_COMMAND_H_

#include <cstdint>

namespace berth::emulator {

// 16 bytes, little-endian, as in the ring.
struct RawCommand {
  uint64_t dword0 = 0;
  uint64_t dword1 = 0;
  bool operator==(const RawCommand&) const = default;
};
static_assert(sizeof(RawCommand) == 16);

enum class Opcode : uint8_t {
  kTlbiNhAsid = 0x11,
  kTlbiNhVa = 0x12,
  kAtcInv = 0x40,
  kCmdSync = 0x46,
};

// A command with its fields taken apart. Fields that the opcode does not have are 0.
struct Command {
  Opcode opcode = Opcode::kCmdSync;
  bool leaf = false;          // TLBI_NH_VA: only the last level
  uint8_t ttl = 0;            // TLBI_NH_VA: level of the entry, 0 = any
  uint8_t granule_log2 = 12;  // bytes of one page: 12, 14, 16
  uint16_t vmid = 0;          // as executed: the VINTF's, whatever the guest wrote
  uint16_t asid = 0;
  uint32_t sid = 0;   // ATC_INV: as executed, the pSID
  uint32_t ssid = 0;  // ATC_INV: PASID, when has_ssid
  bool has_ssid = false;
  uint64_t address = 0;  // first byte
  uint64_t pages = 0;    // granules from `address` on; 0 = everything
  bool operator==(const Command&) const = default;
};

// What to do where no public text says what the hardware does.
enum class Refusal : uint8_t {
  kIllegal,        // CONS.ERR 1
  kIllegalAccess,  // CONS.ERR 4; the name is known from QEMU's header alone
};
enum class ReservedBits : uint8_t {
  kRefuse,  // a set RES0 bit is an illegal command
  kIgnore,
};

enum class DecodeResult : uint8_t {
  kOk,
  kForbidden,  // not an opcode for a guest's queue
  kMalformed,  // reserved value, reserved bit, or a CMD_SYNC that wants a completion signal
};

// Takes `raw` apart. `out->vmid` and `out->sid` are the guest's. `*out` is unspecified unless kOk.
DecodeResult Decode(const RawCommand& raw, ReservedBits reserved, Command* out);

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_COMMAND_H_
