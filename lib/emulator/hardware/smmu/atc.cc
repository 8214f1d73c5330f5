// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/smmu/atc.h"

#include <utility>

namespace berth::emulator {

Atc::Epoch Atc::BeginRequest() {
  const BriefLockHolder lock(&lock_);
  return epoch_;
}

void Atc::Insert(Epoch epoch, Entry entry) {
  const BriefLockHolder lock(&lock_);
  if (epoch_ != epoch) return;
  Erase(entry.first, entry.last);
  if (used_ < kEntries) {
    entries_[used_++] = std::move(entry);
    return;
  }
  entries_[oldest_] = std::move(entry);
  oldest_ = (oldest_ + 1) % kEntries;
}

std::optional<Atc::Entry> Atc::Find(uint64_t address) {
  const BriefLockHolder lock(&lock_);
  for (size_t i = 0; i < used_; ++i) {
    if (entries_[i].first <= address && address <= entries_[i].last) return entries_[i];
  }
  return std::nullopt;
}

void Atc::Invalidate(uint64_t first, uint64_t last) {
  const BriefLockHolder lock(&lock_);
  ++epoch_;
  Erase(first, last);
}

void Atc::Erase(uint64_t first, uint64_t last) {
  for (size_t i = 0; i < used_;) {
    if (entries_[i].first > last || first > entries_[i].last) {
      ++i;
      continue;
    }
    entries_[i] = std::move(entries_[--used_]);
    entries_[used_] = {};
    oldest_ = 0;
  }
}

}  // namespace berth::emulator
