// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/smmu/dirty_log.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <vector>

namespace berth::emulator {
namespace {

constexpr int kDescriptorLog2 = 3;

}  // namespace

// The largest block that the granule has, that is one piece of memory, aligned on both sides, and
// inside the stretch: 1 GiB and 2 MiB with pages of 4 KiB, 512 MiB with 64 KiB.
DirtyLog::Range DirtyLog::DescriptorAt(uint64_t first, const Stretch& stretch,
                                       uint64_t address) const {
  const int most_levels = page_log2_ == 12 ? 2 : 1;
  for (int levels = most_levels; levels >= 0; --levels) {
    const uint64_t size = uint64_t{1} << (page_log2_ + levels * (page_log2_ - kDescriptorLog2));
    const Range block = {address & ~(size - 1), address | (size - 1)};
    if (levels == 0) return {std::max(block.first, first), std::min(block.last, stretch.last)};
    if (size > stretch.contiguous || block.first < first || block.last > stretch.last) continue;
    if ((stretch.offset + (block.first - first)) % size == 0) return block;
  }
  return {address, address};
}

std::map<uint64_t, DirtyLog::Stretch>::const_iterator DirtyLog::Find(uint64_t address) const {
  const auto above = stretches_.upper_bound(address);
  if (above == stretches_.begin()) return stretches_.end();
  const auto found = std::prev(above);
  return address <= found->second.last ? found : stretches_.end();
}

void DirtyLog::Add(Range range) {
  auto next = dirty_.upper_bound(range.first);
  if (next != dirty_.begin()) {
    const auto before = std::prev(next);
    if (before->second >= range.last) return;
    if (before->second >= range.first || before->second + 1 == range.first) next = before;
  }
  while (next != dirty_.end() && (next->first <= range.last || next->first - 1 == range.last)) {
    range.first = std::min(range.first, next->first);
    range.last = std::max(range.last, next->second);
    next = dirty_.erase(next);
  }
  dirty_[range.first] = range.last;
}

void DirtyLog::Subtract(Range range, size_t most) {
  auto piece = dirty_.upper_bound(range.first);
  if (piece != dirty_.begin() && std::prev(piece)->second >= range.first) --piece;
  while (piece != dirty_.end() && piece->first <= range.last) {
    const Range old = {piece->first, piece->second};
    const bool splits = old.first < range.first && old.last > range.last;
    if (splits && dirty_.size() >= most) return;
    piece = dirty_.erase(piece);
    if (old.first < range.first) dirty_[old.first] = range.first - 1;
    if (old.last > range.last) dirty_[range.last + 1] = old.last;
  }
}

void DirtyLog::Map(uint64_t first, uint64_t last, uint64_t offset, uint64_t contiguous,
                   Rights access) {
  absl::MutexLock lock(&mu_);
  stretches_[first] = {last, offset, contiguous, access.write};
  if (access.write) Add({first, last});
}

void DirtyLog::Unmap(uint64_t first) {
  absl::MutexLock lock(&mu_);
  const auto found = stretches_.find(first);
  if (found == stretches_.end()) return;
  const Range range = {first, found->second.last};
  stretches_.erase(found);
  Subtract(range, std::numeric_limits<size_t>::max());
}

void DirtyLog::Write(uint64_t address, size_t size) {
  absl::MutexLock lock(&mu_);
  const uint64_t end = address + size;
  while (address < end) {
    const auto stretch = Find(address);
    if (stretch == stretches_.end() || !stretch->second.writable) return;
    Range range = DescriptorAt(stretch->first, stretch->second, address);
    const uint64_t next = range.last + 1;
    if (dirty_.size() >= most_pieces_) range = {stretch->first, stretch->second.last};
    Add(range);
    if (next <= address) return;
    address = next;
  }
}

void DirtyLog::Read(uint64_t first, uint64_t last, Then then,
                    const std::function<void(uint64_t, uint64_t)>& visit) {
  absl::MutexLock lock(&mu_);
  std::vector<Range> clean;
  auto piece = dirty_.upper_bound(first);
  if (piece != dirty_.begin() && std::prev(piece)->second >= first) --piece;
  for (; piece != dirty_.end() && piece->first <= last; ++piece) {
    const Range found = {std::max(first, piece->first), std::min(last, piece->second)};
    visit(found.first, found.last);
    if (then == Then::kKeep) continue;
    // The blocks at both ends.
    Range whole = found;
    if (const auto stretch = Find(found.first); stretch != stretches_.end()) {
      whole.first = DescriptorAt(stretch->first, stretch->second, found.first).first;
    }
    if (const auto stretch = Find(found.last); stretch != stretches_.end()) {
      whole.last = DescriptorAt(stretch->first, stretch->second, found.last).last;
    }
    clean.push_back(whole);
  }
  for (const Range& range : clean) Subtract(range, most_pieces_);
}

}  // namespace berth::emulator
