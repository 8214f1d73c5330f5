// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/smmu/walk.h"

#include <algorithm>

#include "lib/iommufd/uapi/smmuv3.h"

namespace berth::emulator {
namespace {

using uapi::BitField;

constexpr BitField kValid = {0, 0};
constexpr BitField kTableOrPage = {1, 1};
constexpr BitField kApUser = {6, 6};
constexpr BitField kApReadOnly = {7, 7};
constexpr BitField kAf = {10, 10};
constexpr BitField kNotGlobal = {11, 11};
constexpr BitField kDbm = {51, 51};
constexpr BitField kApTableNoUser = {61, 61};
constexpr BitField kApTableReadOnly = {62, 62};

constexpr int kAddressBits = 48;  // of a descriptor, without the 52-bit extensions
constexpr uint8_t kLastLevel = 3;
constexpr int kDescriptorLog2 = 3;

// log2 of the bytes that one descriptor of `level` translates.
int Shift(int granule_log2, int level) {
  return granule_log2 + (granule_log2 - kDescriptorLog2) * (kLastLevel - level);
}

uint64_t AddressOf(uint64_t descriptor, int low) {
  return descriptor & BitField{static_cast<unsigned>(low), kAddressBits - 1}.mask();
}

// Blocks: 1 GiB and 2 MiB with 4 KiB pages, 32 MiB with 16 KiB, 512 MiB with 64 KiB.
bool MayBeBlock(int granule_log2, int level) {
  return level == 2 || (level == 1 && granule_log2 == 12);
}

WalkResult LeafOf(const ContextDescriptor& cd, const TranslationRegime& regime, const Table& table,
                  uint64_t descriptor, WalkResult result) {
  const int shift = Shift(regime.granule_log2, table.level);
  Leaf& leaf = result.leaf;
  leaf.address = AddressOf(descriptor, shift);
  leaf.level = table.level;
  leaf.size_log2 = static_cast<uint8_t>(shift);
  // A device's transactions are unprivileged, and execute nothing.
  leaf.access.read = kApUser.Get(descriptor) != 0 && table.user;
  const bool may_write = leaf.access.read && table.write;
  const bool read_only = kApReadOnly.Get(descriptor) != 0;
  leaf.access.write = may_write && !read_only;
  leaf.clean = may_write && read_only && cd.sets_dirty_state && kDbm.Get(descriptor) != 0;
  leaf.old = kAf.Get(descriptor) == 0 && cd.sets_access_flag;
  leaf.global = kNotGlobal.Get(descriptor) == 0;
  if (leaf.address >> cd.output_bits != 0) {
    result.status = WalkStatus::kAddressSize;
  } else if (kAf.Get(descriptor) == 0 && !leaf.old && cd.access_flag_faults) {
    result.status = WalkStatus::kAccessFlag;
  }
  return result;
}

}  // namespace

const TranslationRegime* SelectRegime(const ContextDescriptor& cd, uint64_t address) {
  const bool high = (address >> 55 & 1) != 0;
  const TranslationRegime& regime = cd.regimes[high ? 1 : 0];
  if (!regime.enabled) return nullptr;
  // All bits above the input size are equal: but for the top byte, where that is a tag.
  const int top = regime.ignore_top_byte ? 56 : 64;
  const uint64_t above =
      BitField{regime.input_bits, static_cast<unsigned>(top - 1)}.Get(high ? ~address : address);
  return above == 0 ? &regime : nullptr;
}

Table FirstTable(const TranslationRegime& regime) {
  const int stride = regime.granule_log2 - kDescriptorLog2;
  const int levels = (regime.input_bits - regime.granule_log2 + stride - 1) / stride;
  Table table;
  table.level = static_cast<uint8_t>(kLastLevel + 1 - levels);
  // The first table may be shorter than a granule; it is aligned to its own size.
  const int size = regime.input_bits - Shift(regime.granule_log2, table.level) + kDescriptorLog2;
  table.address = regime.table & (~uint64_t{0} << size);
  return table;
}

WalkResult Walk(const ContextDescriptor& cd, const TranslationRegime& regime, Table from,
                uint64_t address, const FetchDescriptor& fetch, const OnTable& on_table) {
  const int granule = regime.granule_log2;
  const uint64_t input = address & (~uint64_t{0} >> (64 - regime.input_bits));
  WalkResult result;
  for (Table table = from;;) {
    const int shift = Shift(granule, table.level);
    // All bits of the first table's index are the address' top bits; below, one stride each.
    const bool first = table.level == FirstTable(regime).level;
    const int bits = first ? regime.input_bits - shift : granule - kDescriptorLog2;
    const uint64_t index = (input >> shift) & ((uint64_t{1} << bits) - 1);
    result.descriptor = table.address + (index << kDescriptorLog2);
    uint64_t descriptor = 0;
    result.status = fetch(result.descriptor, &descriptor);
    if (result.status != WalkStatus::kOk) return result;
    result.value = descriptor;
    if (kValid.Get(descriptor) == 0) {
      result.status = WalkStatus::kTranslation;
      return result;
    }
    const bool table_or_page = kTableOrPage.Get(descriptor) != 0;
    const bool leaf = table.level == kLastLevel ? table_or_page : !table_or_page;
    if (leaf && (table.level == kLastLevel || MayBeBlock(granule, table.level))) {
      return LeafOf(cd, regime, table, descriptor, result);
    }
    if (leaf || table.level == kLastLevel) {
      result.status = WalkStatus::kTranslation;  // reserved: as invalid
      return result;
    }
    Table next = table;
    next.address = AddressOf(descriptor, granule);
    ++next.level;
    if (next.address >> cd.output_bits != 0) {
      result.status = WalkStatus::kAddressSize;
      return result;
    }
    if (regime.hierarchical_permissions) {
      next.user = table.user && kApTableNoUser.Get(descriptor) == 0;
      next.write = table.write && kApTableReadOnly.Get(descriptor) == 0;
    }
    on_table(next, static_cast<uint8_t>(shift));
    table = next;
  }
}

uint64_t Touched(const Leaf& leaf, uint64_t descriptor, bool write) {
  if (leaf.old) descriptor |= kAf.mask();
  if (leaf.clean && write) descriptor &= ~kApReadOnly.mask();
  return descriptor;
}

}  // namespace berth::emulator
