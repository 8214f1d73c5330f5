// SPDX-License-Identifier: Apache-2.0
//
// What an IOAS maps where. Pure data: no ids, no reference counts of objects, no hardware.
// Linux drivers/iommu/iommufd/{io_pagetable.c,pages.c}.
#ifndef BERTH_LIB_EMULATOR_KERNEL_IO_PAGETABLE_H_
#define BERTH_LIB_EMULATOR_KERNEL_IO_PAGETABLE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "lib/base/unique_fd.h"
#include "lib/emulator/hardware/smmu/dirty_log.h"
#include "lib/emulator/hardware/smmu/stage2.h"
#include "lib/emulator/kernel/memlock.h"
#include "lib/iommufd/uapi/iommufd.h"

namespace berth::emulator {

// Of a host that says nothing else.
inline constexpr uint64_t kPageSize = 4096;

// A stretch of a file, kept open by whoever maps it.
struct Pages : FileMemory {
  enum class Kind : uint8_t { kShmem, kHugetlb, kOther };
  Kind kind = Kind::kOther;
  uint64_t device = 0;  // st_dev and st_ino: what makes two fds one file
  uint64_t inode = 0;
  uint64_t page_size = kPageSize;
  uint64_t contiguous = kPageSize;  // bytes that are physically contiguous, and aligned to that
  uint64_t start = 0;               // page aligned
  bool writable = false;
  bool user = false;        // by IOAS_MAP
  bool user_fault = false;  // the caller could not have all of it
  // IOAS_MAP aligns an automatic IOVA as the address is, not the file.
  uint64_t va_minus_offset = 0;
  std::unique_ptr<MemlockAccount> account;  // null: nobody pays

  // `start` and `length` as in IOAS_MAP_FILE. Errors: -EINVAL, -ENOMEM.
  static int Open(UniqueFd file, uint64_t start, uint64_t length, uint64_t page_size,
                  std::shared_ptr<Pages>* out);
  // Whether bytes [first, last] of the stretch, rounded out to pages, could be pinned:
  // memfd_pin_folios() takes shmem and hugetlb within the file's size. 0 or -EINVAL; -EFAULT of a
  // caller's memory.
  [[nodiscard]] int CheckPin(uint64_t first, uint64_t last) const;
  // Pins what CheckPin() allows, and has it paid for: also -ENOMEM.
  int Pin(uint64_t first, uint64_t last);
  void Unpin(uint64_t first, uint64_t last);
};

// What one piece of an IOVA range is backed by.
struct Extent {
  std::shared_ptr<Pages> pages;
  uint64_t file_offset = 0;
  uint64_t length = 0;
};

// Not thread-safe. Methods return 0 or a negative errno, in the kernel's order of checks.
class IoPagetable {
 public:
  // Who has reserved a range; compared, never followed.
  using Owner = const void*;

  explicit IoPagetable(uint64_t page_size) : page_size_(page_size) {}

  // `flags` as in IOAS_MAP_FILE (uapi::kIoasMap*). *iova is in with FIXED_IOVA, out without.
  int Map(const std::vector<Extent>& extents, uint32_t flags, uint64_t* iova);
  // What backs [iova, iova + length), for IOAS_COPY.
  int Find(uint64_t iova, uint64_t length, std::vector<Extent>* extents) const;
  int Unmap(uint64_t iova, uint64_t length, uint64_t* unmapped);
  int UnmapAll(uint64_t* unmapped);

  int SetAllowed(const std::vector<uapi::IommuIovaRange>& ranges);
  int Reserve(uint64_t start, uint64_t last, Owner owner);
  void RemoveReserved(Owner owner);
  // The holes between reserved ranges, ascending.
  [[nodiscard]] std::vector<uapi::IommuIovaRange> Holes() const;

  // Where a domain can map, and in what steps.
  struct Geometry {
    uint64_t first = 0;
    uint64_t last = 0;
    uint64_t granule = kPageSize;  // at most a page
    // Hears what the domain maps; null: nobody asks.
    std::shared_ptr<DirtyLog> dirty = nullptr;
  };
  // A domain needs everything aligned to its granule, pinnable, and inside its aperture.
  int AddDomain(Owner domain, const Geometry& geometry);
  void RemoveDomain(Owner domain);

  int EnableLargePages();
  int DisableLargePages();
  [[nodiscard]] bool large_pages() const { return large_pages_; }
  [[nodiscard]] uint64_t alignment() const { return alignment_; }
  [[nodiscard]] uint64_t page_size() const { return page_size_; }

  // An access of the kernel's own that pins pages (HW queue memory).
  int AddAccess();
  void RemoveAccess();
  // Pins [iova, iova + length), page aligned, for reading: UNMAP of its areas is -EBUSY until
  // Unpin() with the same arguments.
  int Pin(uint64_t iova, uint64_t length, std::vector<Extent>* extents);
  void Unpin(uint64_t iova, uint64_t length);

  // Whether anything comes from IOAS_MAP.
  [[nodiscard]] bool HasUserPages() const;
  // Of all areas; the same more than once where several areas share it.
  template <typename Visit>
  void ForEachPages(Visit visit) const {
    for (const auto& [start, area] : areas_) visit(area.pages.get());
  }
  [[nodiscard]] size_t area_count() const { return areas_.size(); }

  // Calls visit(first, last) for each area of [first, last], cut to that, as long as one follows
  // the other without a gap from `first` on (iopt_for_each_contig_area()).
  template <typename Visit>
  void ForEachContiguous(uint64_t first, uint64_t last, Visit visit) const {
    for (auto area = FirstArea(first, first); area != areas_.end(); ++area) {
      if (area->first > first) return;
      const uint64_t end = area->second.last < last ? area->second.last : last;
      visit(first, end);
      if (end == last) return;
      first = end + 1;
    }
  }

  // The same mappings as the hardware sees them. What is unmapped here is gone there, but caches
  // may remember it.
  [[nodiscard]] const std::shared_ptr<Stage2>& stage2() const { return stage2_; }

 private:
  struct Area {
    uint64_t last = 0;
    std::shared_ptr<Pages> pages;
    uint64_t file_offset = 0;
    uint32_t flags = 0;
    uint32_t locks = 0;
    bool pinned = false;  // and paid for
  };
  struct Domain {
    uint64_t granule = 0;
    std::shared_ptr<DirtyLog> dirty;
  };
  struct Reserved {
    uint64_t start;
    uint64_t last;
    Owner owner;
  };
  using Areas = std::map<uint64_t, Area>;

  [[nodiscard]] Areas::const_iterator FirstArea(uint64_t start, uint64_t last) const;
  [[nodiscard]] bool HasReserved(uint64_t start, uint64_t last) const;
  [[nodiscard]] int CheckFixed(uint64_t iova, uint64_t length) const;
  int AllocateIova(uint64_t address, uint64_t length, uint64_t* iova) const;
  bool FindHole(uint64_t first, uint64_t last, uint64_t length, uint64_t alignment,
                uint64_t page_offset, uint64_t* iova) const;
  int UnmapRange(uint64_t start, uint64_t last, uint64_t* unmapped);
  int PinExtents(const std::vector<Extent>& extents);
  static int PinArea(uint64_t start, Area* area);
  static void UnpinArea(uint64_t start, Area* area);
  void LogMapping(uint64_t start, const Area& area, DirtyLog* dirty) const;
  int Realign();
  int CheckAlignment(uint64_t alignment) const;

  const uint64_t page_size_;
  Areas areas_;  // by first IOVA
  std::shared_ptr<Stage2> stage2_ = std::make_shared<Stage2>();
  std::vector<Reserved> reserved_;
  std::map<uint64_t, uint64_t> allowed_;  // first -> last
  std::map<Owner, Domain> domains_;
  int accesses_ = 0;
  bool large_pages_ = true;
  uint64_t alignment_ = 1;
};

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_KERNEL_IO_PAGETABLE_H_
