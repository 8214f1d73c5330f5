// SPDX-License-Identifier: Apache-2.0
#include "lib/base/mapping.h"

#include <sys/mman.h>

#include <cerrno>

#include "lib/base/status.h"

namespace berth {

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  if (this != &other) {
    Reset();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

absl::StatusOr<Mapping> Mapping::Map(int fd, uint64_t offset, size_t length, Access access) {
  const int prot = access == Access::kRead ? PROT_READ : PROT_READ | PROT_WRITE;
  void* data = ::mmap(nullptr, length, prot, MAP_SHARED, fd, static_cast<off_t>(offset));
  if (data == MAP_FAILED) return ErrnoToStatus(errno, "mmap");
  return Mapping(static_cast<std::byte*>(data), length);
}

void Mapping::Reset() {
  if (data_ != nullptr) ::munmap(data_, size_);
  data_ = nullptr;
  size_ = 0;
}

}  // namespace berth
