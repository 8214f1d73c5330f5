// SPDX-License-Identifier: Apache-2.0
//
// Stage 1: AArch64 translation tables (Arm DDI 0487, D8, VMSAv8-64) with 4, 16 and 64 KiB granules.
#ifndef BERTH_LIB_EMULATOR_HARDWARE_SMMU_WALK_H_
#define BERTH_LIB_EMULATOR_HARDWARE_SMMU_WALK_H_

#include <cstdint>
#include <functional>

#include "lib/emulator/hardware/smmu/context_descriptor.h"
#include "lib/emulator/hardware/smmu/stage2.h"

namespace berth::emulator {

// A table that translation goes on from: the first one, or the one a table descriptor leads to.
struct Table {
  uint64_t address = 0;  // IPA
  uint8_t level = 0;     // of the descriptors in it, 0 to 3
  // What the table descriptors above allow (APTable).
  bool user = true;
  bool write = true;
};

// What a block or page descriptor says.
struct Leaf {
  uint64_t address = 0;   // IPA of the first byte of the block
  uint8_t level = 3;      // of the descriptor
  uint8_t size_log2 = 0;  // bytes of the block
  Rights access;          // of an unprivileged transaction
  bool global = false;    // nG is 0
  // What the SMMU may change in the descriptor for an access (Arm DDI 0487, D8.5.1, D8.5.2):
  bool old = false;    // AF is 0, an access sets it
  bool clean = false;  // DBM: only AP[2] forbids a write, which clears it
};

enum class WalkStatus : uint8_t {
  kOk,
  kTranslation,       // no descriptor, or an invalid one
  kAddressSize,       // an output address beyond ContextDescriptor::output_bits
  kAccessFlag,        // AF is 0
  kStage2,            // a descriptor could not be fetched: its address is not in stage 2 ...
  kStage2Permission,  // ... or may not be read
  kAbort,             // ... or its memory is gone
};

struct WalkResult {
  WalkStatus status = WalkStatus::kOk;
  Leaf leaf;
  uint64_t descriptor = 0;  // IPA of the last descriptor fetched
  uint64_t value = 0;       // the descriptor
  bool updates = false;     // what failed is its update
};

// Reads the dword at an IPA: kOk, kStage2, kStage2Permission or kAbort.
using FetchDescriptor = std::function<WalkStatus(uint64_t address, uint64_t* descriptor)>;
// Hears of every table descriptor on the way: the table it leads to, and log2 of the bytes of input
// addresses that this table translates.
using OnTable = std::function<void(const Table& table, uint8_t span_log2)>;

// The half of the address space that `address` is in. Null: in neither, or that half is disabled.
const TranslationRegime* SelectRegime(const ContextDescriptor& cd, uint64_t address);
// The first table of a regime.
Table FirstTable(const TranslationRegime& regime);
// Walks from `from`, which covers `address`, down to a leaf.
WalkResult Walk(const ContextDescriptor& cd, const TranslationRegime& regime, Table from,
                uint64_t address, const FetchDescriptor& fetch, const OnTable& on_table);

// The descriptor of a leaf after an access that the leaf allows.
uint64_t Touched(const Leaf& leaf, uint64_t descriptor, bool write);

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_HARDWARE_SMMU_WALK_H_
