// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/command.h"

namespace berth::emulator {
namespace {

constexpr uint64_t Mask(int high, int low) {
  return (~uint64_t{0} >> (63 - high)) & (~uint64_t{0} << low);
}
constexpr uint64_t Bits(uint64_t dword, int high, int low) {
  return (dword & Mask(high, low)) >> low;
}

// Arm IHI 0070, "Commands": the bits that must be zero in a command that a guest may send.
struct ReservedMask {
  uint64_t dword0;
  uint64_t dword1;
};
constexpr ReservedMask kTlbiNhAsidReserved = {Mask(31, 8), ~uint64_t{0}};
constexpr ReservedMask kTlbiNhVaReserved = {Mask(11, 8) | Mask(19, 17) | Mask(31, 26), Mask(7, 1)};
constexpr ReservedMask kAtcInvReserved = {Mask(8, 8) | Mask(10, 10), Mask(11, 6)};
constexpr ReservedMask kCmdSyncReserved = {Mask(11, 8) | Mask(21, 14) | Mask(31, 28),
                                           Mask(1, 0) | Mask(63, 56)};

constexpr uint64_t kMaxScale = 39;       // of a range invalidation
constexpr uint64_t kAtcEverything = 52;  // ATC_INV size: the whole address space

bool DecodeTlbiNhVa(const RawCommand& raw, Command* out) {
  const uint64_t scale = Bits(raw.dword0, 25, 20);
  const uint64_t granule = Bits(raw.dword1, 11, 10);
  if (scale > kMaxScale) return false;
  out->vmid = static_cast<uint16_t>(Bits(raw.dword0, 47, 32));
  out->asid = static_cast<uint16_t>(Bits(raw.dword0, 63, 48));
  out->leaf = Bits(raw.dword1, 0, 0) != 0;
  out->address = raw.dword1 & Mask(63, 12);
  out->pages = 1;
  if (granule != 0) {  // TG 0: no range, TTL, NUM and SCALE mean nothing
    out->ttl = static_cast<uint8_t>(Bits(raw.dword1, 9, 8));
    // TG 1, 2, 3: 4, 16, 64 KiB.
    out->granule_log2 = static_cast<uint8_t>(10 + 2 * granule);
    out->pages = (Bits(raw.dword0, 16, 12) + 1) << scale;
  }
  return true;
}

bool DecodeAtcInv(const RawCommand& raw, Command* out) {
  const uint64_t size = Bits(raw.dword1, 5, 0);
  if (size > kAtcEverything) return false;
  out->sid = static_cast<uint32_t>(Bits(raw.dword0, 63, 32));
  out->has_ssid = Bits(raw.dword0, 11, 11) != 0;
  if (out->has_ssid) out->ssid = static_cast<uint32_t>(Bits(raw.dword0, 31, 12));
  if (size != kAtcEverything) {
    out->pages = uint64_t{1} << size;
    out->address = raw.dword1 & (~uint64_t{0} << (12 + size));
  }
  return true;
}

}  // namespace

DecodeResult Decode(const RawCommand& raw, ReservedBits reserved, Command* out) {
  const auto opcode = static_cast<Opcode>(Bits(raw.dword0, 7, 0));
  *out = {.opcode = opcode};
  bool valid = true;
  const ReservedMask* mask = nullptr;
  switch (opcode) {
    case Opcode::kTlbiNhAsid:
      mask = &kTlbiNhAsidReserved;
      out->vmid = static_cast<uint16_t>(Bits(raw.dword0, 47, 32));
      out->asid = static_cast<uint16_t>(Bits(raw.dword0, 63, 48));
      break;
    case Opcode::kTlbiNhVa:
      mask = &kTlbiNhVaReserved;
      valid = DecodeTlbiNhVa(raw, out);
      break;
    case Opcode::kAtcInv:
      mask = &kAtcInvReserved;
      valid = DecodeAtcInv(raw, out);
      break;
    case Opcode::kCmdSync:
      mask = &kCmdSyncReserved;
      // A vCMDQ can signal neither by MSI nor by event: software polls CONS.
      valid = Bits(raw.dword0, 13, 12) == 0;
      break;
    default:
      return DecodeResult::kForbidden;
  }
  if (reserved == ReservedBits::kRefuse &&
      ((raw.dword0 & mask->dword0) | (raw.dword1 & mask->dword1)) != 0) {
    return DecodeResult::kMalformed;
  }
  return valid ? DecodeResult::kOk : DecodeResult::kMalformed;
}

}  // namespace berth::emulator
