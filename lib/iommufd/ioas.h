// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_IOMMUFD_IOAS_H_
#define BERTH_LIB_IOMMUFD_IOAS_H_

#include <cstdint>
#include <vector>

#include "lib/iommufd/context.h"

namespace berth {

// An I/O address space: the guest-physical memory of a VM.
class Ioas : public KernelObject {
 public:
  static absl::StatusOr<Ioas> Create(const Context& context);
  static Ioas Adopt(const Context& context, uint32_t id) { return {context, id}; }

  enum class Access { kRead, kReadWrite };
  struct FileMapping {
    int fd = -1;          // a memfd (shmem or hugetlb); the kernel keeps its own reference
    uint64_t start = 0;   // bytes, offset in the file
    uint64_t length = 0;  // bytes
    uint64_t iova = 0;
    Access access = Access::kReadWrite;
  };
  // Maps a part of a file at a fixed IOVA. Errors: MEMORY_OVERLAP, MEMORY_RESERVED,
  // MEMORY_NOT_MEMFD, MEMORY_TOO_SHORT, ALIGNMENT, OUT_OF_MEMORY. The file is examined only when
  // its pages are pinned, that is once an HWPT exists: before, anything is accepted here and
  // refused there (Linux drivers/iommu/iommufd/pages.c).
  absl::Status MapFile(const FileMapping& mapping);

  // Unmaps the mappings that lie inside [iova, iova + length) and returns their bytes. It is not
  // atomic: what lies below the mapping that an error is about is gone. Errors: MEMORY_UNKNOWN,
  // MEMORY_IN_USE (a HW queue lives there).
  absl::StatusOr<uint64_t> Unmap(uint64_t iova, uint64_t length);
  absl::StatusOr<uint64_t> UnmapAll() { return Unmap(0, UINT64_MAX); }

  struct IovaRanges {
    std::vector<uapi::IommuIovaRange> ranges;  // usable, ascending; `last` is inclusive
    uint64_t alignment = 1;                    // bytes
  };
  // What may be mapped: everything but the reserved regions of the attached devices.
  [[nodiscard]] absl::StatusOr<IovaRanges> GetIovaRanges() const;

 private:
  Ioas(const Context& context, uint32_t id) : KernelObject(context, ObjectKind::kIoas, id) {}
  [[nodiscard]] Reason WhyInvalid(const FileMapping& mapping) const;
};

}  // namespace berth

#endif  // BERTH_LIB_IOMMUFD_IOAS_H_
