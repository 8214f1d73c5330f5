// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/smmu/context_descriptor.h"

#include <algorithm>
#include <iterator>

#include "lib/iommufd/uapi/smmuv3.h"

namespace berth::emulator {
namespace {

using uapi::BitField;

// Dword 0. Fields of TTB1 lie 16 bits above those of TTB0.
constexpr BitField kTsz = {0, 5};
constexpr BitField kTg = {6, 7};
constexpr BitField kEpd = {14, 14};
constexpr BitField kEndi = {15, 15};
constexpr BitField kValid = {31, 31};
constexpr BitField kIps = {32, 34};
constexpr BitField kAffd = {35, 35};
constexpr BitField kTbi0 = {38, 38};
constexpr BitField kTbi1 = {39, 39};
constexpr BitField kAa64 = {41, 41};
constexpr BitField kHd = {42, 42};
constexpr BitField kHa = {43, 43};
constexpr BitField kStall = {44, 44};
constexpr BitField kRecord = {45, 45};
constexpr BitField kAbort = {46, 46};
constexpr BitField kAsid = {48, 63};
// Dword 1 for TTB0, dword 2 for TTB1.
constexpr BitField kHad = {1, 1};
constexpr BitField kTtb = {4, 51};

constexpr uint64_t kMinTsz = 16;  // 48-bit addresses (IDR5.VAX)
constexpr uint64_t kMaxTsz = 39;

int OutputBits(uint64_t ips) {
  constexpr int kSizes[] = {32, 36, 40, 42, 44, 48};
  return kSizes[std::min<uint64_t>(ips, std::size(kSizes) - 1)];
}

// 0: reserved. TG0 and TG1 name the sizes differently.
uint8_t GranuleLog2(int regime, uint64_t tg) {
  constexpr uint8_t kGranules[2][4] = {{12, 16, 14, 0}, {0, 14, 12, 16}};
  return kGranules[regime][tg];
}

}  // namespace

std::optional<ContextDescriptor> DecodeContextDescriptor(const std::array<uint64_t, 8>& cd,
                                                         int address_bits, TableUpdates updates) {
  const uint64_t word = cd[0];
  if (kValid.Get(word) == 0 || kAa64.Get(word) == 0) return std::nullopt;
  // IDR0.TERM_MODEL is 1 and STALL_MODEL 1: faults abort, nothing else.
  if (kAbort.Get(word) == 0 || kStall.Get(word) != 0) return std::nullopt;
  // Without IDR0.HTTU nobody updates tables; TTENDIAN is 2.
  const bool updates_any = (kHa.Get(word) | kHd.Get(word)) != 0;
  if ((updates_any && updates == TableUpdates::kNone) || kEndi.Get(word) != 0) return std::nullopt;

  ContextDescriptor out;
  out.asid = static_cast<uint16_t>(kAsid.Get(word));
  out.output_bits = static_cast<uint8_t>(std::min(OutputBits(kIps.Get(word)), address_bits));
  out.records_faults = kRecord.Get(word) != 0;
  out.access_flag_faults = kAffd.Get(word) == 0;
  out.sets_access_flag = kHa.Get(word) != 0;
  out.sets_dirty_state = out.sets_access_flag && kHd.Get(word) != 0;
  for (int i = 0; i < 2; ++i) {
    TranslationRegime& regime = out.regimes[i];
    const uint64_t fields = word >> (16 * i);
    regime.enabled = kEpd.Get(fields) == 0;
    if (!regime.enabled) continue;
    const uint64_t tsz = kTsz.Get(fields);
    regime.granule_log2 = GranuleLog2(i, kTg.Get(fields));
    if (tsz < kMinTsz || tsz > kMaxTsz || regime.granule_log2 == 0) return std::nullopt;
    regime.input_bits = static_cast<uint8_t>(64 - tsz);
    regime.ignore_top_byte = (i == 0 ? kTbi0 : kTbi1).Get(word) != 0;
    regime.hierarchical_permissions = kHad.Get(cd[1 + i]) == 0;
    regime.table = cd[1 + i] & kTtb.mask();
    if (regime.table >> out.output_bits != 0) return std::nullopt;
  }
  return out;
}

}  // namespace berth::emulator
