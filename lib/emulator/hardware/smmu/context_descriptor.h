// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_EMULATOR_HARDWARE_SMMU_CONTEXT_DESCRIPTOR_H_
#define BERTH_LIB_EMULATOR_HARDWARE_SMMU_CONTEXT_DESCRIPTOR_H_

#include <array>
#include <cstdint>
#include <optional>

namespace berth::emulator {

// What the SMMU writes into a guest's tables, where the guest's CD wants it (IDR0.HTTU).
enum class TableUpdates : uint8_t { kNone, kAccessAndDirty };

// One half of the virtual address space: what TTB0 or TTB1 describes.
struct TranslationRegime {
  bool enabled = false;  // EPDx is 0
  bool ignore_top_byte = false;
  bool hierarchical_permissions = true;  // HADx is 0
  uint8_t granule_log2 = 12;             // 12, 14, 16
  uint8_t input_bits = 48;
  uint64_t table = 0;  // IPA of the first table
};

// A stage 1 context (Arm IHI 0070, 5.4), taken apart.
struct ContextDescriptor {
  uint16_t asid = 0;
  uint8_t output_bits = 48;
  bool records_faults = true;      // R
  bool access_flag_faults = true;  // AFFD is 0
  bool sets_access_flag = false;   // HA
  bool sets_dirty_state = false;   // HD, which counts with HA alone
  std::array<TranslationRegime, 2> regimes;
};

inline constexpr size_t kContextDescriptorSize = 64;

// Takes the eight dwords of a CD apart, as an SMMU with these features does: AArch64 tables, no
// stalls (so A must be set), these updates of tables, little-endian tables, output addresses of
// `address_bits`. nullopt: C_BAD_CD.
std::optional<ContextDescriptor> DecodeContextDescriptor(const std::array<uint64_t, 8>& cd,
                                                         int address_bits, TableUpdates updates);

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_SMMU_CONTEXT_DESCRIPTOR_H_
