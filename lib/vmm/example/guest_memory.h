// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_VMM_EXAMPLE_GUEST_MEMORY_H_
#define BERTH_LIB_VMM_EXAMPLE_GUEST_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "lib/base/unique_fd.h"
#include "lib/vmm/example/outcome.h"

namespace berth::example {

// The memory of a guest: a memfd that is sealed against shrinking and mapped here, and a bump
// allocator where the guest's kernel would have one.
class GuestMemory {
 public:
  GuestMemory() = default;
  GuestMemory(const GuestMemory&) = delete;
  GuestMemory& operator=(const GuestMemory&) = delete;
  ~GuestMemory();

  // Takes 2 MiB huge pages if enough are free, else small ones. `bytes` is rounded up to pages.
  Outcome Create(size_t bytes, uint64_t guest_address);

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] uint64_t guest_address() const { return guest_address_; }
  [[nodiscard]] size_t size() const { return size_; }
  // Bytes that are physically contiguous for certain.
  [[nodiscard]] size_t page_size() const { return page_size_; }

  struct Block {
    std::byte* data;  // zeroed
    uint64_t guest_address;
  };
  // `bytes` is a power of two; the block is aligned to it, as the hardware wants its tables.
  std::optional<Block> Allocate(size_t bytes);

 private:
  // Returns an errno.
  int TryCreate(size_t bytes, size_t page_size, unsigned memfd_flags);

  UniqueFd fd_;
  std::byte* data_ = nullptr;
  size_t size_ = 0;
  size_t page_size_ = 0;
  size_t used_ = 0;
  uint64_t guest_address_ = 0;
};

}  // namespace berth::example

#endif  // BERTH_LIB_VMM_EXAMPLE_GUEST_MEMORY_H_
