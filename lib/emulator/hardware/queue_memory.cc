// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/queue_memory.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <utility>

namespace berth::emulator {
namespace {

// The guest may write the ring while it is read; a torn command is its own fault, a data race would
// be ours.
uint64_t LoadDword(const std::byte* at) {
  auto* dword = const_cast<uint64_t*>(reinterpret_cast<const uint64_t*>(at));
  return std::atomic_ref<uint64_t>(*dword).load(std::memory_order_relaxed);
}

}  // namespace

QueueMemory QueueMemory::FromMapping(std::shared_ptr<const void> owner, const std::byte* data,
                                     size_t size) {
  if (reinterpret_cast<uintptr_t>(data) % sizeof(RawCommand) != 0) std::abort();
  QueueMemory memory;
  memory.owner_ = std::move(owner);
  memory.data_ = data;
  memory.size_ = size;
  return memory;
}

QueueMemory QueueMemory::FromFile(std::shared_ptr<const UniqueFd> fd, uint64_t offset,
                                  size_t size) {
  QueueMemory memory;
  memory.fd_ = fd->get();
  memory.owner_ = std::move(fd);
  memory.offset_ = offset;
  memory.size_ = size;
  return memory;
}

size_t QueueMemory::Fetch(size_t index, size_t count, RawCommand* out) const {
  const size_t entries = size_ / sizeof(RawCommand);
  if (index >= entries) return 0;
  count = std::min(count, entries - index);
  if (data_ != nullptr) {
    const std::byte* at = data_ + index * sizeof(RawCommand);
    for (size_t i = 0; i < count; ++i, at += sizeof(RawCommand)) {
      out[i] = {LoadDword(at), LoadDword(at + sizeof(uint64_t))};
    }
    return count;
  }
  ssize_t n;
  do {
    n = ::pread(fd_, out, count * sizeof(RawCommand),
                static_cast<off_t>(offset_ + index * sizeof(RawCommand)));
  } while (n < 0 && errno == EINTR);
  return n < 0 ? 0 : static_cast<size_t>(n) / sizeof(RawCommand);
}

}  // namespace berth::emulator
