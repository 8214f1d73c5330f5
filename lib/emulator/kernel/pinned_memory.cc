// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/kernel/pinned_memory.h"

#include <algorithm>
#include <utility>

namespace berth::emulator {
namespace {

constexpr uint64_t kFirst = uint64_t{1} << 32;
constexpr uint64_t kEnd = uint64_t{1} << 48;  // BASE has 48 bits
constexpr uint64_t kLeast = 4096;

}  // namespace

uint64_t PinnedMemory::Add(QueueMemory memory) {
  const std::lock_guard lock(mu_);
  const uint64_t size = std::max<uint64_t>(memory.size(), kLeast);
  for (;;) {
    next_ = (next_ + size - 1) / size * size;
    if (next_ + size > kEnd) next_ = kFirst;
    const uint64_t address = std::exchange(next_, next_ + size);
    const auto after = memory_.lower_bound(address);
    const bool below = after != memory_.begin() &&
                       std::prev(after)->first + std::prev(after)->second.size() > address;
    if (below || (after != memory_.end() && after->first < address + size)) continue;
    memory_.emplace(address, std::move(memory));
    return address;
  }
}

void PinnedMemory::Remove(uint64_t address) {
  const std::lock_guard lock(mu_);
  memory_.erase(address);
}

QueueMemory PinnedMemory::Open(uint64_t address, size_t size) {
  const std::lock_guard lock(mu_);
  const auto found = memory_.find(address);
  if (found == memory_.end() || found->second.size() < size) return {};
  return found->second;
}

}  // namespace berth::emulator
