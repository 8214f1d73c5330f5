// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_GRANTS_GUEST_MEMORY_H_
#define BERTH_AGENT_GRANTS_GUEST_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <map>

#include "absl/status/status.h"
#include "lib/iommufd/ioas.h"

namespace berth {

// Whether two ranges, each of at least a byte, have one in common.
constexpr bool Overlap(uint64_t a, uint64_t a_length, uint64_t b, uint64_t b_length) {
  return a < b ? b - a < a_length : a - b < b_length;
}

// The guest memory that a VMM registered: a bounded table of regions, each of which is in the IOAS
// as areas of at most kSlice bytes. Not thread-safe.
class GuestMemory {
 public:
  struct Limits {
    uint64_t bytes = 0;
    size_t regions = 0;
  };
  // The longest time that one ioctl may take is the time to pin this.
  static constexpr uint64_t kSlice = uint64_t{1} << 30;

  explicit GuestMemory(Limits limits) : limits_(limits) {}

  // All or nothing. `allowed` is where memory may lie. Errors: MEMORY_NOT_MEMFD, MEMORY_NOT_SEALED,
  // INVALID_FIELD (no length), ALIGNMENT, MEMORY_TOO_SHORT, MEMORY_OVERLAP, MEMORY_RESERVED,
  // MEMORY_LIMIT; what the kernel says.
  absl::Status Map(Ioas& ioas, const Ioas::IovaRanges& allowed, const Ioas::FileMapping& mapping);

  // Exactly one region. Errors: MEMORY_UNKNOWN; what the kernel says.
  absl::Status Unmap(Ioas& ioas, uint64_t iova, uint64_t length);

  // A region that an agent before this one has mapped.
  void Adopt(uint64_t iova, uint64_t length);
  // One that is not mapped any more; none of this address: nothing to do.
  void Forget(uint64_t iova);

  // Whether all of [iova, iova + length) is in one region.
  [[nodiscard]] bool Contains(uint64_t iova, uint64_t length) const;

  [[nodiscard]] const Limits& limits() const { return limits_; }
  [[nodiscard]] uint64_t bytes() const { return bytes_; }
  // First address to length.
  [[nodiscard]] const std::map<uint64_t, uint64_t>& regions() const { return regions_; }

 private:
  [[nodiscard]] absl::Status Check(const Ioas::IovaRanges& allowed,
                                   const Ioas::FileMapping& mapping) const;
  [[nodiscard]] bool Overlaps(uint64_t iova, uint64_t length) const;

  const Limits limits_;
  uint64_t bytes_ = 0;
  std::map<uint64_t, uint64_t> regions_;
};

}  // namespace berth

#endif  // BERTH_AGENT_GRANTS_GUEST_MEMORY_H_
