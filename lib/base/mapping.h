// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_BASE_MAPPING_H_
#define BERTH_LIB_BASE_MAPPING_H_

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"

namespace berth {

// Owns one mmap(2) of a file and unmaps it. Move-only. Not thread-safe.
class Mapping {
 public:
  enum class Access { kRead, kReadWrite };

  Mapping() = default;
  Mapping(Mapping&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() { Reset(); }

  // Maps `length` bytes of `fd` from `offset` (bytes, page aligned), MAP_SHARED. The mapping does
  // not need the fd afterwards. Errors: the errno of mmap(2), mapped by ErrnoToStatus().
  static absl::StatusOr<Mapping> Map(int fd, uint64_t offset, size_t length, Access access);

  [[nodiscard]] std::byte* data() const { return data_; }
  [[nodiscard]] size_t size() const { return size_; }
  [[nodiscard]] bool valid() const { return data_ != nullptr; }
  void Reset();

 private:
  Mapping(std::byte* data, size_t size) : data_(data), size_(size) {}

  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace berth

#endif  // BERTH_LIB_BASE_MAPPING_H_
