// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/smmu/iotlb.h"

#include <utility>

namespace berth::emulator {

Iotlb::Epoch Iotlb::BeginWalk(uint16_t vmid) {
  Bank& bank = BankOf(vmid);
  const BriefLockHolder lock(&bank.lock);
  return bank.epoch;
}

std::optional<Iotlb::LeafHit> Iotlb::FindLeaf(uint16_t vmid, uint16_t asid, uint64_t address) {
  Bank& bank = BankOf(vmid);
  const BriefLockHolder lock(&bank.lock);
  if (bank.store == nullptr) return std::nullopt;
  const auto found = bank.store->leaves.Find(vmid, asid, address);
  if (!found) return std::nullopt;
  return LeafHit{*found.payload, address - found.tag->address, uint64_t{1} << found.tag->size_log2};
}

void Iotlb::InsertLeaf(Epoch epoch, const TlbTag& tag, CachedLeaf leaf) {
  Bank& bank = BankOf(tag.vmid);
  const BriefLockHolder lock(&bank.lock);
  if (bank.epoch != epoch) return;
  if (bank.store == nullptr) bank.store = std::make_unique<Store>();
  bank.store->leaves.Insert(tag, std::move(leaf));
}

std::optional<Table> Iotlb::FindTable(uint16_t vmid, uint16_t asid, uint64_t address) {
  Bank& bank = BankOf(vmid);
  const BriefLockHolder lock(&bank.lock);
  if (bank.store == nullptr) return std::nullopt;
  const auto found = bank.store->tables.Find(vmid, asid, address);
  if (!found) return std::nullopt;
  return *found.payload;
}

void Iotlb::InsertTable(Epoch epoch, const TlbTag& tag, const Table& table) {
  Bank& bank = BankOf(tag.vmid);
  const BriefLockHolder lock(&bank.lock);
  if (bank.epoch != epoch) return;
  if (bank.store == nullptr) bank.store = std::make_unique<Store>();
  bank.store->tables.Insert(tag, table);
}

void Iotlb::InvalidateRange(const TlbRange& range, Scope scope) {
  Bank& bank = BankOf(range.vmid);
  const BriefLockHolder lock(&bank.lock);
  ++bank.epoch;
  if (bank.store == nullptr) return;
  bank.store->leaves.EraseRange(range);
  if (scope == Scope::kLeaves) return;
  TlbRange tables = range;
  tables.level = 0;
  bank.store->tables.EraseRange(tables);
}

void Iotlb::InvalidateAsid(uint16_t vmid, uint16_t asid) {
  Bank& bank = BankOf(vmid);
  const BriefLockHolder lock(&bank.lock);
  ++bank.epoch;
  if (bank.store == nullptr) return;
  bank.store->leaves.EraseAsid(vmid, asid);
  bank.store->tables.EraseAsid(vmid, asid);
}

void Iotlb::InvalidateVmid(uint16_t vmid) {
  Bank& bank = BankOf(vmid);
  const BriefLockHolder lock(&bank.lock);
  ++bank.epoch;
  if (bank.store == nullptr) return;
  bank.store->leaves.EraseVmid(vmid);
  bank.store->tables.EraseVmid(vmid);
}

void Iotlb::InvalidateAll() {
  for (Bank& bank : banks_) {
    const BriefLockHolder lock(&bank.lock);
    ++bank.epoch;
    bank.store.reset();
  }
}

}  // namespace berth::emulator
