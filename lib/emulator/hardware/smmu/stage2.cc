// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/smmu/stage2.h"

#include <iterator>
#include <utility>

namespace berth::emulator {

void Stage2::Map(uint64_t first, uint64_t last, std::shared_ptr<const Memory> memory,
                 uint64_t offset, Rights access) {
  absl::MutexLock lock(&mu_);
  stretches_[first] = {last, std::move(memory), offset, access};
}

void Stage2::Unmap(uint64_t first) {
  Stretch gone;  // the last owner of a file closes it without the lock
  absl::MutexLock lock(&mu_);
  const auto found = stretches_.find(first);
  if (found == stretches_.end()) return;
  gone = std::move(found->second);
  stretches_.erase(found);
}

std::optional<Stage2::Target> Stage2::Find(uint64_t address) const {
  absl::ReaderMutexLock lock(&mu_);
  auto found = stretches_.upper_bound(address);
  if (found == stretches_.begin()) return std::nullopt;
  --found;
  const auto& [first, stretch] = *found;
  if (address > stretch.last) return std::nullopt;
  return Target{stretch.memory, stretch.offset + (address - first), first, stretch.last,
                stretch.access};
}

}  // namespace berth::emulator
