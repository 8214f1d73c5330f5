// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/kernel/memlock.h"

#include <cerrno>

namespace berth::emulator {

MemlockLedger::Key MemlockLedger::KeyOf(AccountMode mode, const Payer& payer) {
  return {mode, mode == AccountMode::kUser ? int64_t{payer.user} : int64_t{payer.process}};
}

int MemlockLedger::Charge(AccountMode mode, const Payer& payer, uint64_t pages) {
  if (mode == AccountMode::kNone || pages == 0) return 0;
  const uint64_t charged = Charged(mode, payer);
  const uint64_t limit = payer.limit / page_size_;
  if (pages > limit || charged > limit - pages) return -ENOMEM;
  pages_[KeyOf(mode, payer)] = charged + pages;
  return 0;
}

void MemlockLedger::Release(AccountMode mode, const Payer& payer, uint64_t pages) {
  const auto entry = pages_.find(KeyOf(mode, payer));
  if (mode == AccountMode::kNone || entry == pages_.end()) return;
  entry->second -= pages;
  if (entry->second == 0) pages_.erase(entry);
}

uint64_t MemlockLedger::Charged(AccountMode mode, const Payer& payer) const {
  const auto entry = pages_.find(KeyOf(mode, payer));
  return entry != pages_.end() ? entry->second : 0;
}

uint64_t PinCounts::Change(uint64_t first, uint64_t last, int64_t by) {
  // Pages whose count is this before or after the change are those that come or go.
  const int64_t edge = by > 0 ? 0 : 1;
  steps_.try_emplace(first, 0);
  steps_.try_emplace(last + 1, 0);
  int64_t count = 0;
  for (auto step = steps_.begin(); step->first < first; ++step) count += step->second;
  uint64_t changed = 0;
  for (auto step = steps_.find(first); step->first <= last; ++step) {
    count += step->second;
    if (count == edge) changed += std::next(step)->first - step->first;
  }
  steps_[first] += by;
  steps_[last + 1] -= by;
  for (const uint64_t at : {first, last + 1}) {
    if (const auto step = steps_.find(at); step->second == 0) steps_.erase(step);
  }
  return changed;
}

uint64_t PinCounts::Add(uint64_t first, uint64_t last) {
  const uint64_t fresh = Change(first, last, 1);
  pinned_ += fresh;
  return fresh;
}

uint64_t PinCounts::Remove(uint64_t first, uint64_t last) {
  const uint64_t gone = Change(first, last, -1);
  pinned_ -= gone;
  return gone;
}

int MemlockAccount::Pin(uint64_t first, uint64_t last) {
  const uint64_t fresh = pins_.Add(first, last);
  const int rc = ledger_->Charge(mode_, payer_, fresh);
  if (rc != 0) pins_.Remove(first, last);
  return rc;
}

void MemlockAccount::Unpin(uint64_t first, uint64_t last) {
  ledger_->Release(mode_, payer_, pins_.Remove(first, last));
}

// ioas.c, need_charge_update(): also from one process to another of the same user, who then pays
// twice for a moment.
bool MemlockAccount::Moves(const Payer& payer) const {
  switch (mode_) {
    case AccountMode::kNone:
      return false;
    case AccountMode::kUser:
      return payer.user != payer_.user || payer.process != payer_.process;
    case AccountMode::kProcess:
      return payer.process != payer_.process;
  }
  return false;
}

int MemlockAccount::ChargeToo(const Payer& payer) {
  return Moves(payer) ? ledger_->Charge(mode_, payer, pins_.pinned()) : 0;
}

void MemlockAccount::Commit(const Payer& payer) {
  if (Moves(payer)) ledger_->Release(mode_, payer_, pins_.pinned());
  payer_ = payer;
}

void MemlockAccount::Abort(const Payer& payer) {
  if (Moves(payer)) ledger_->Release(mode_, payer, pins_.pinned());
}

}  // namespace berth::emulator
