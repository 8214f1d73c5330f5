// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/command.h"

#include <array>
#include <numeric>

namespace berth::emulator {
namespace {

constexpr uint64_t Mask(int high, int low) {
  return (~uint64_t{0} >> (63 - high)) & (~uint64_t{0} << low);
}
constexpr uint64_t Bits(uint64_t dword, int high, int low) {
  return (dword & Mask(high, low)) >> low;
}

// The fields that a command may have set, by where they are.
enum class Layout : uint8_t {
  kUnknown,
  kNothing,
  kSid,
  kSidLeaf,
  kSidRange,
  kSidSsidLeaf,
  kPrefetch,
  kVmid,
  kAsid,
  kVmidAsid,
  kVmidAsidAddress,
  kVmidAddress,
  kAsidAddress,
  kAddress,
  kVmidIpa,
  kAtc,
  kPriResponse,
  kResume,
  kSync,
};

struct Fields {
  uint64_t dword0;
  uint64_t dword1;
};

constexpr uint64_t kOpcode = Mask(7, 0);
constexpr uint64_t kSsv = Mask(11, 11);
constexpr uint64_t kSsid = Mask(31, 12);
constexpr uint64_t kSid = Mask(63, 32);
constexpr uint64_t kVmid = Mask(47, 32);
constexpr uint64_t kAsid = Mask(63, 48);
constexpr uint64_t kRange0 = Mask(16, 12) | Mask(25, 20);  // NUM, SCALE
constexpr uint64_t kLeaf = Mask(0, 0);
constexpr uint64_t kVa = kLeaf | Mask(63, 8);  // with TTL and TG
constexpr uint64_t kIpa = kLeaf | Mask(51, 8);

// SSec (bit 10) must be 0 in a command of the Non-secure state, so it is in none of these.
constexpr Fields FieldsOf(Layout layout) {
  switch (layout) {
    case Layout::kUnknown:
    case Layout::kNothing:
      return {kOpcode, 0};
    case Layout::kSid:
      return {kOpcode | kSid, 0};
    case Layout::kSidLeaf:
      return {kOpcode | kSid, kLeaf};
    case Layout::kSidRange:
      return {kOpcode | kSid, Mask(4, 0)};
    case Layout::kSidSsidLeaf:
      return {kOpcode | kSsid | kSid, kLeaf};
    case Layout::kPrefetch:  // a hint: nothing of it is acted on
      return {kOpcode | kSsv | kSsid | kSid, ~uint64_t{0}};
    case Layout::kVmid:
      return {kOpcode | kVmid, 0};
    case Layout::kAsid:
      return {kOpcode | kAsid, 0};
    case Layout::kVmidAsid:
      return {kOpcode | kVmid | kAsid, 0};
    case Layout::kVmidAsidAddress:
      return {kOpcode | kRange0 | kVmid | kAsid, kVa};
    case Layout::kVmidAddress:
      return {kOpcode | kRange0 | kVmid, kVa};
    case Layout::kAsidAddress:
      return {kOpcode | kRange0 | kAsid, kVa};
    case Layout::kAddress:
      return {kOpcode | kRange0, kVa};
    case Layout::kVmidIpa:
      return {kOpcode | kRange0 | kVmid, kIpa};
    case Layout::kAtc:
      return {kOpcode | Mask(9, 9) | kSsv | kSsid | kSid, Mask(63, 12) | Mask(5, 0)};
    case Layout::kPriResponse:
      return {kOpcode | kSsv | kSsid | kSid, Mask(8, 0) | Mask(13, 12)};
    case Layout::kResume:
      return {kOpcode | Mask(13, 12) | kSid, Mask(15, 0)};
    case Layout::kSync:
      return {kOpcode | Mask(13, 12) | Mask(27, 22) | kSid, Mask(55, 2)};
  }
  return {0, 0};
}

struct Format {
  Layout layout = Layout::kUnknown;
  uint64_t reserved0 = 0;
  uint64_t reserved1 = 0;
};

constexpr auto kFormats = [] {
  std::array<Format, 0x47> formats = {};
  const auto set = [&formats](Opcode opcode, Layout layout) {
    const Fields fields = FieldsOf(layout);
    formats[static_cast<uint8_t>(opcode)] = {layout, ~fields.dword0, ~fields.dword1};
  };
  set(Opcode::kPrefetchConfig, Layout::kPrefetch);
  set(Opcode::kPrefetchAddress, Layout::kPrefetch);
  set(Opcode::kCfgiSte, Layout::kSidLeaf);
  set(Opcode::kCfgiSteRange, Layout::kSidRange);
  set(Opcode::kCfgiCd, Layout::kSidSsidLeaf);
  set(Opcode::kCfgiCdAll, Layout::kSid);
  set(Opcode::kTlbiNhAll, Layout::kVmid);
  set(Opcode::kTlbiNhAsid, Layout::kVmidAsid);
  set(Opcode::kTlbiNhVa, Layout::kVmidAsidAddress);
  set(Opcode::kTlbiNhVaa, Layout::kVmidAddress);
  set(Opcode::kTlbiEl2All, Layout::kNothing);
  set(Opcode::kTlbiEl2Asid, Layout::kAsid);
  set(Opcode::kTlbiEl2Va, Layout::kAsidAddress);
  set(Opcode::kTlbiEl2Vaa, Layout::kAddress);
  set(Opcode::kTlbiS12Vmall, Layout::kVmid);
  set(Opcode::kTlbiS2Ipa, Layout::kVmidIpa);
  set(Opcode::kTlbiNsnhAll, Layout::kNothing);
  set(Opcode::kAtcInv, Layout::kAtc);
  set(Opcode::kPriResp, Layout::kPriResponse);
  set(Opcode::kResume, Layout::kResume);
  set(Opcode::kStallTerm, Layout::kSid);
  set(Opcode::kCmdSync, Layout::kSync);
  return formats;
}();

constexpr uint64_t kMaxScale = 39;       // of a range invalidation
constexpr uint64_t kAtcEverything = 52;  // ATC_INV size: the whole address space

uint16_t VmidOf(const RawCommand& raw) { return static_cast<uint16_t>(Bits(raw.dword0, 47, 32)); }
uint16_t AsidOf(const RawCommand& raw) { return static_cast<uint16_t>(Bits(raw.dword0, 63, 48)); }

// IHI 0070, 4.4.1: without a granule there is neither range nor level; a granule with neither is a
// reserved value, as are level 1 of 16 KiB granules and a SCALE beyond the address space.
bool DecodeAddress(const RawCommand& raw, ReservedBits reserved, Command* out) {
  const uint64_t granule = Bits(raw.dword1, 11, 10);
  const uint64_t ttl = Bits(raw.dword1, 9, 8);
  const uint64_t num = Bits(raw.dword0, 16, 12);
  const uint64_t scale = Bits(raw.dword0, 25, 20);
  out->leaf = (raw.dword1 & kLeaf) != 0;
  out->address = raw.dword1 & Mask(63, 12);
  out->pages = 1;
  if (granule == 0) return (ttl | num | scale) == 0 || reserved == ReservedBits::kIgnore;
  if ((ttl | num | scale) == 0 || (granule == 2 && ttl == 1) || scale > kMaxScale) return false;
  out->ttl = static_cast<uint8_t>(ttl);
  // TG 1, 2, 3: 4, 16, 64 KiB.
  out->granule_log2 = static_cast<uint8_t>(10 + 2 * granule);
  out->address &= ~uint64_t{0} << out->granule_log2;
  out->pages = (num + 1) << scale;
  return true;
}

bool DecodeAtcInv(const RawCommand& raw, Command* out) {
  const uint64_t size = Bits(raw.dword1, 5, 0);
  if (size > kAtcEverything) return false;
  out->has_ssid = (raw.dword0 & kSsv) != 0;
  if (out->has_ssid) {
    out->ssid = static_cast<uint32_t>(Bits(raw.dword0, 31, 12));
    out->global = Bits(raw.dword0, 9, 9) != 0;
  }
  if (size != kAtcEverything) {
    out->pages = uint64_t{1} << size;
    out->address = raw.dword1 & (~uint64_t{0} << (12 + size));
  }
  return true;
}

// CFGI_STE_RANGE, PRI_RESP, CFGI_*, prefetches: what is named by a StreamID.
bool DecodeStream(Layout layout, const RawCommand& raw, Command* out) {
  out->sid = static_cast<uint32_t>(Bits(raw.dword0, 63, 32));
  switch (layout) {
    case Layout::kSidRange: {
      // Range 31 is every stream; a StreamID has no more than 32 bits.
      out->sid_span_log2 = static_cast<uint8_t>(Bits(raw.dword1, 4, 0) + 1);
      const uint64_t span = uint64_t{1} << out->sid_span_log2;
      out->sid &= static_cast<uint32_t>(~(span - 1));
      return true;
    }
    case Layout::kSidSsidLeaf:
      out->ssid = static_cast<uint32_t>(Bits(raw.dword0, 31, 12));
      [[fallthrough]];
    case Layout::kSidLeaf:
      out->leaf = (raw.dword1 & kLeaf) != 0;
      return true;
    case Layout::kAtc:
      return DecodeAtcInv(raw, out);
    case Layout::kPriResponse:
      return Bits(raw.dword1, 13, 12) != 3;
    default:
      return true;
  }
}

}  // namespace

std::string_view ToString(Opcode opcode) {
  switch (opcode) {
    case Opcode::kPrefetchConfig:
      return "PREFETCH_CONFIG";
    case Opcode::kPrefetchAddress:
      return "PREFETCH_ADDR";
    case Opcode::kCfgiSte:
      return "CFGI_STE";
    case Opcode::kCfgiSteRange:
      return "CFGI_STE_RANGE";
    case Opcode::kCfgiCd:
      return "CFGI_CD";
    case Opcode::kCfgiCdAll:
      return "CFGI_CD_ALL";
    case Opcode::kTlbiNhAll:
      return "TLBI_NH_ALL";
    case Opcode::kTlbiNhAsid:
      return "TLBI_NH_ASID";
    case Opcode::kTlbiNhVa:
      return "TLBI_NH_VA";
    case Opcode::kTlbiNhVaa:
      return "TLBI_NH_VAA";
    case Opcode::kTlbiEl2All:
      return "TLBI_EL2_ALL";
    case Opcode::kTlbiEl2Asid:
      return "TLBI_EL2_ASID";
    case Opcode::kTlbiEl2Va:
      return "TLBI_EL2_VA";
    case Opcode::kTlbiEl2Vaa:
      return "TLBI_EL2_VAA";
    case Opcode::kTlbiS12Vmall:
      return "TLBI_S12_VMALL";
    case Opcode::kTlbiS2Ipa:
      return "TLBI_S2_IPA";
    case Opcode::kTlbiNsnhAll:
      return "TLBI_NSNH_ALL";
    case Opcode::kAtcInv:
      return "ATC_INV";
    case Opcode::kPriResp:
      return "PRI_RESP";
    case Opcode::kResume:
      return "RESUME";
    case Opcode::kStallTerm:
      return "STALL_TERM";
    case Opcode::kCmdSync:
      return "CMD_SYNC";
  }
  return "UNKNOWN";
}

uint64_t OpcodeCounts::total() const {
  return std::accumulate(counts_.begin(), counts_.end(), uint64_t{0});
}

DecodeResult Decode(const RawCommand& raw, ReservedBits reserved, Command* out) {
  const uint64_t opcode = Bits(raw.dword0, 7, 0);
  if (opcode >= kFormats.size()) return DecodeResult::kUnknown;
  const Format& format = kFormats[opcode];
  if (format.layout == Layout::kUnknown) return DecodeResult::kUnknown;
  if (reserved == ReservedBits::kRefuse &&
      ((raw.dword0 & format.reserved0) | (raw.dword1 & format.reserved1)) != 0) {
    return DecodeResult::kMalformed;
  }
  *out = {.opcode = static_cast<Opcode>(opcode)};
  bool valid = true;
  switch (format.layout) {
    case Layout::kUnknown:
    case Layout::kNothing:
      break;
    case Layout::kSync:
      // A vCMDQ can signal neither by MSI nor by event: software polls CONS.
      valid = Bits(raw.dword0, 13, 12) == 0;
      break;
    case Layout::kVmidAsidAddress:
      out->asid = AsidOf(raw);
      [[fallthrough]];
    case Layout::kVmidAddress:
    case Layout::kVmidIpa:
      out->vmid = VmidOf(raw);
      valid = DecodeAddress(raw, reserved, out);
      break;
    case Layout::kAsidAddress:
      out->asid = AsidOf(raw);
      [[fallthrough]];
    case Layout::kAddress:
      valid = DecodeAddress(raw, reserved, out);
      break;
    case Layout::kVmidAsid:
      out->asid = AsidOf(raw);
      [[fallthrough]];
    case Layout::kVmid:
      out->vmid = VmidOf(raw);
      break;
    case Layout::kAsid:
      out->asid = AsidOf(raw);
      break;
    default:
      valid = DecodeStream(format.layout, raw, out);
      break;
  }
  return valid ? DecodeResult::kOk : DecodeResult::kMalformed;
}

}  // namespace berth::emulator
