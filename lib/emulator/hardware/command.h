// SPDX-License-Identifier: Apache-2.0
//
// The commands of an SMMUv3 (Arm IHI 0070, "Commands"), and which of them a guest may put into a
// vCMDQ of its VINTF (Linux drivers/iommu/arm/arm-smmu-v3/tegra241-cmdqv.c,
// tegra241_guest_vcmdq_supports_cmd).
#ifndef BERTH_LIB_EMULATOR_HARDWARE_COMMAND_H_
#define BERTH_LIB_EMULATOR_HARDWARE_COMMAND_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <utility>

namespace berth::emulator {

// 16 bytes, little-endian, as in the ring.
struct RawCommand {
  uint64_t dword0 = 0;
  uint64_t dword1 = 0;
  bool operator==(const RawCommand&) const = default;
};
static_assert(sizeof(RawCommand) == 16);

// Those of the Non-secure state, without MPAM.
enum class Opcode : uint8_t {
  kPrefetchConfig = 0x01,
  kPrefetchAddress = 0x02,
  kCfgiSte = 0x03,
  kCfgiSteRange = 0x04,  // CFGI_ALL when the range is everything
  kCfgiCd = 0x05,
  kCfgiCdAll = 0x06,
  kTlbiNhAll = 0x10,
  kTlbiNhAsid = 0x11,
  kTlbiNhVa = 0x12,
  kTlbiNhVaa = 0x13,
  kTlbiEl2All = 0x20,
  kTlbiEl2Asid = 0x21,
  kTlbiEl2Va = 0x22,
  kTlbiEl2Vaa = 0x23,
  kTlbiS12Vmall = 0x28,
  kTlbiS2Ipa = 0x2a,
  kTlbiNsnhAll = 0x30,
  kAtcInv = 0x40,
  kPriResp = 0x41,
  kResume = 0x44,
  kStallTerm = 0x45,
  kCmdSync = 0x46,
};
// The name in IHI 0070, without "CMD_" but for CMD_SYNC.
std::string_view ToString(Opcode opcode);

// How many commands there were of each opcode.
class OpcodeCounts {
 public:
  OpcodeCounts() = default;
  OpcodeCounts(std::initializer_list<std::pair<Opcode, uint64_t>> counts) {
    for (const auto& [opcode, count] : counts) (*this)[opcode] = count;
  }

  uint64_t& operator[](Opcode opcode) { return counts_[static_cast<size_t>(opcode)]; }
  uint64_t operator[](Opcode opcode) const { return counts_[static_cast<size_t>(opcode)]; }
  [[nodiscard]] uint64_t total() const;
  // Calls visit(opcode, count) for what is not 0, ascending.
  template <typename Visit>
  void ForEach(Visit visit) const {
    for (size_t i = 0; i < counts_.size(); ++i) {
      if (counts_[i] != 0) visit(static_cast<Opcode>(i), counts_[i]);
    }
  }
  bool operator==(const OpcodeCounts&) const = default;

 private:
  std::array<uint64_t, static_cast<size_t>(Opcode::kCmdSync) + 1> counts_ = {};
};

// Of a queue with HYP_OWN=0.
[[nodiscard]] constexpr bool IsForGuests(Opcode opcode) {
  return opcode == Opcode::kTlbiNhAsid || opcode == Opcode::kTlbiNhVa ||
         opcode == Opcode::kAtcInv || opcode == Opcode::kCmdSync;
}

// A command with its fields taken apart. Fields that the opcode does not have are 0.
struct Command {
  Opcode opcode = Opcode::kCmdSync;
  bool leaf = false;          // TLBI by address, CFGI_STE, CFGI_CD: only the last level
  uint8_t ttl = 0;            // TLBI by address: level of the entry, 0 = any
  uint8_t granule_log2 = 12;  // bytes of one page: 12, 14, 16
  uint16_t vmid = 0;          // as executed: the VINTF's, whatever a guest wrote
  uint16_t asid = 0;
  uint32_t sid = 0;   // ATC_INV, CFGI_*: as executed, the pSID
  uint32_t ssid = 0;  // ATC_INV: PASID, when has_ssid; CFGI_CD
  bool has_ssid = false;
  bool global = false;        // ATC_INV: of all PASIDs
  uint8_t sid_span_log2 = 0;  // CFGI_STE_RANGE: so many streams from `sid`, aligned to that
  uint64_t address = 0;       // first byte
  uint64_t pages = 0;         // granules from `address` on; 0 = everything
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
  kUnknown,    // no such opcode
  kMalformed,  // reserved value, reserved bit, or a CMD_SYNC that wants a completion signal
};

// Takes `raw` apart. `out->vmid` and `out->sid` are what was written. `*out` is unspecified unless
// kOk; any input is fine.
DecodeResult Decode(const RawCommand& raw, ReservedBits reserved, Command* out);

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_COMMAND_H_
