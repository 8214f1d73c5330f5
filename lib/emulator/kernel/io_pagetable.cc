// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/kernel/io_pagetable.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <limits>
#include <optional>
#include <utility>

namespace berth::emulator {
namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
// Areas, reserved and allowed ranges of one IOAS: far beyond what a VMM needs.
constexpr size_t kMaxAreas = 65536;

bool Overflows(uint64_t start, uint64_t length, uint64_t* last) {
  return __builtin_add_overflow(start, length - 1, last);
}

Rights RightsOf(uint32_t flags) {
  return {(flags & uapi::kIoasMapReadable) != 0, (flags & uapi::kIoasMapWriteable) != 0};
}

}  // namespace

int Pages::Open(UniqueFd file, uint64_t start, uint64_t length, uint64_t page_size,
                std::shared_ptr<Pages>* out) {
  if (length == 0 || length > kMax - page_size) return -EINVAL;
  struct stat info;
  struct statfs fs;
  if (::fstat(file.get(), &info) != 0 || ::fstatfs(file.get(), &fs) != 0) return -EBADF;
  auto pages = std::make_shared<Pages>();
  pages->page_size = page_size;
  pages->contiguous = page_size;
  pages->device = info.st_dev;
  pages->inode = info.st_ino;
  if (S_ISREG(info.st_mode) && fs.f_type == TMPFS_MAGIC) {
    pages->kind = Kind::kShmem;
  } else if (S_ISREG(info.st_mode) && fs.f_type == HUGETLBFS_MAGIC) {
    pages->kind = Kind::kHugetlb;
    pages->contiguous = std::max(page_size, static_cast<uint64_t>(fs.f_bsize));
  }
  pages->file = std::move(file);
  pages->start = start - start % page_size;
  *out = std::move(pages);
  return 0;
}

int Pages::CheckPin(uint64_t first, uint64_t last) const {
  if (user) return user_fault ? -EFAULT : 0;
  if (kind == Kind::kOther) return -EINVAL;
  struct stat info;
  if (::fstat(file.get(), &info) != 0) return -EINVAL;
  uint64_t end = 0;
  if (__builtin_add_overflow(start, last | (page_size - 1), &end)) return -EINVAL;
  if (first > last || end >= static_cast<uint64_t>(info.st_size)) return -EINVAL;
  return 0;
}

int Pages::Pin(uint64_t first, uint64_t last) {
  if (int rc = CheckPin(first, last); rc != 0 || !account) return rc;
  return account->Pin(first / page_size, last / page_size);
}

void Pages::Unpin(uint64_t first, uint64_t last) {
  if (account) account->Unpin(first / page_size, last / page_size);
}

int IoPagetable::PinArea(uint64_t start, Area* area) {
  const uint64_t first = area->file_offset - area->pages->start;
  const int rc = area->pages->Pin(first, first + (area->last - start));
  area->pinned = rc == 0;
  return rc;
}

void IoPagetable::UnpinArea(uint64_t start, Area* area) {
  if (!area->pinned) return;
  const uint64_t first = area->file_offset - area->pages->start;
  area->pages->Unpin(first, first + (area->last - start));
  area->pinned = false;
}

// Pages of a huge one are mapped by blocks, unless IOAS option HUGE_PAGES is off (pages.c,
// batch_to_domain()).
void IoPagetable::LogMapping(uint64_t start, const Area& area, DirtyLog* dirty) const {
  dirty->Map(start, area.last, area.file_offset, large_pages_ ? area.pages->contiguous : page_size_,
             RightsOf(area.flags));
}

bool IoPagetable::HasUserPages() const {
  return std::ranges::any_of(areas_, [](const auto& area) { return area.second.pages->user; });
}

IoPagetable::Areas::const_iterator IoPagetable::FirstArea(uint64_t start, uint64_t last) const {
  auto area = areas_.upper_bound(start);
  if (area != areas_.begin() && std::prev(area)->second.last >= start) --area;
  return area != areas_.end() && area->first <= last ? area : areas_.end();
}

bool IoPagetable::HasReserved(uint64_t start, uint64_t last) const {
  return std::ranges::any_of(reserved_,
                             [&](const Reserved& r) { return r.start <= last && start <= r.last; });
}

int IoPagetable::CheckFixed(uint64_t iova, uint64_t length) const {
  if ((iova & (alignment_ - 1)) != 0) return -EINVAL;
  uint64_t last = 0;
  if (Overflows(iova, length, &last)) return -EOVERFLOW;
  if (HasReserved(iova, last)) return -EINVAL;
  if (FirstArea(iova, last) != areas_.end()) return -EEXIST;
  return 0;
}

// Where `length` bytes begin in the first hole of [first, last] that they fit into. Holes are
// looked at from their beginnings: what is aligned in the hole before is not where this one begins,
// as the offset in the page is or-ed in.
bool IoPagetable::FindHole(uint64_t first, uint64_t last, uint64_t length, uint64_t alignment,
                           uint64_t page_offset, uint64_t* iova) const {
  // __alloc_iova_check_range(), for which a hole of one byte is none.
  const auto fits = [&](uint64_t* start, uint64_t end) {
    uint64_t aligned = 0;
    if (__builtin_add_overflow(*start, alignment - 1, &aligned)) return false;
    aligned = (aligned & ~(alignment - 1)) | page_offset;
    if (aligned >= end || end - aligned < length - 1) return false;
    *start = aligned;
    return true;
  };
  if (!fits(&first, last)) return false;
  for (uint64_t at = first;;) {
    // The first range from `at` on that is mapped or reserved.
    std::optional<std::pair<uint64_t, uint64_t>> used;
    if (const auto area = FirstArea(at, last); area != areas_.end()) {
      used.emplace(area->first, area->second.last);
    }
    for (const Reserved& r : reserved_) {
      if (r.start > last || at > r.last) continue;
      if (!used || r.start < used->first) used.emplace(r.start, r.last);
    }
    if (!used || used->first > at) {
      uint64_t start = at;
      if (fits(&start, used ? used->first - 1 : last)) {
        *iova = start;
        return true;
      }
    }
    if (!used || used->second >= last) return false;
    at = used->second + 1;
  }
}

int IoPagetable::AllocateIova(uint64_t address, uint64_t length, uint64_t* iova) const {
  if (length == 0 || length >= kMax / 2) return -EOVERFLOW;
  uint64_t alignment = std::bit_ceil(length);
  if (address != 0) alignment = std::min(alignment, uint64_t{1} << std::countr_zero(address));
  // To a huge page at most, which is all that one table of the last level maps.
  alignment = std::min(alignment, page_size_ * (page_size_ / sizeof(uint64_t)));
  if (alignment < alignment_) return -EINVAL;
  const uint64_t page_offset = address % page_size_;
  const uint64_t low = page_size_;
  const uint64_t high = kMax - page_size_;
  if (allowed_.empty()) {
    return FindHole(low, high, length, alignment, page_offset, iova) ? 0 : -ENOSPC;
  }
  for (auto range = allowed_.begin(); range != allowed_.end();) {
    const uint64_t first = range->first;
    uint64_t last = range->second;
    // Neighbours are one (lib/interval_tree.c, interval_tree_span_iter_next_gap()).
    for (++range; range != allowed_.end() && range->first - 1 == last; ++range) {
      last = range->second;
    }
    if (last < low || first > high) continue;
    if (FindHole(std::max(first, low), std::min(last, high), length, alignment, page_offset,
                 iova)) {
      return 0;
    }
  }
  return -ENOSPC;
}

// All of them or none.
int IoPagetable::PinExtents(const std::vector<Extent>& extents) {
  int rc = 0;
  size_t done = 0;
  const auto first = [&](size_t i) { return extents[i].file_offset - extents[i].pages->start; };
  for (; done < extents.size() && rc == 0; ++done) {
    rc = extents[done].pages->Pin(first(done), first(done) + extents[done].length - 1);
  }
  if (rc == 0) return 0;
  for (size_t i = 0; i + 1 < done; ++i) {
    extents[i].pages->Unpin(first(i), first(i) + extents[i].length - 1);
  }
  return rc;
}

int IoPagetable::Map(const std::vector<Extent>& extents, uint32_t flags, uint64_t* iova) {
  uint64_t length = 0;
  for (const Extent& extent : extents) length += extent.length;
  if (length == 0 || (length & (alignment_ - 1)) != 0) return -EINVAL;
  if (areas_.size() + extents.size() > kMaxAreas) return -ENOMEM;
  const int placed =
      (flags & uapi::kIoasMapFixedIova) != 0
          ? CheckFixed(*iova, length)
          : AllocateIova(extents[0].file_offset + extents[0].pages->va_minus_offset, length, iova);
  if (placed != 0) return placed;
  for (const Extent& extent : extents) {
    if ((flags & uapi::kIoasMapWriteable) != 0 && !extent.pages->writable) return -EPERM;
    if ((extent.file_offset % page_size_ & (alignment_ - 1)) != 0) return -EINVAL;
  }
  if (!domains_.empty()) {
    if (int rc = PinExtents(extents); rc != 0) return rc;
  }
  uint64_t at = *iova;
  for (const Extent& extent : extents) {
    areas_[at] = {at + extent.length - 1, extent.pages, extent.file_offset, flags, 0,
                  !domains_.empty()};
    // Before a device can write there.
    for (const auto& [owner, domain] : domains_) {
      if (domain.dirty) LogMapping(at, areas_[at], domain.dirty.get());
    }
    stage2_->Map(at, at + extent.length - 1, extent.pages, extent.file_offset, RightsOf(flags));
    at += extent.length;
  }
  return 0;
}

int IoPagetable::Find(uint64_t iova, uint64_t length, std::vector<Extent>* extents) const {
  if (length == 0) return -EINVAL;
  uint64_t last = 0;
  if (Overflows(iova, length, &last)) return -EOVERFLOW;
  uint64_t at = iova;
  for (auto area = FirstArea(iova, iova); area != areas_.end(); ++area) {
    if (area->first > at) return -ENOENT;
    const uint64_t end = std::min(last, area->second.last);
    extents->push_back(
        {area->second.pages, area->second.file_offset + (at - area->first), end - at + 1});
    if (end == last) return 0;
    at = end + 1;
  }
  return -ENOENT;
}

int IoPagetable::UnmapRange(uint64_t start, uint64_t last, uint64_t* unmapped) {
  *unmapped = 0;
  int rc = -ENOENT;
  for (auto area = FirstArea(start, last); area != areas_.end(); area = FirstArea(start, last)) {
    if (area->second.locks > 0) return -EBUSY;
    if (area->first < start || area->second.last > last) return -ENOENT;
    *unmapped += area->second.last - area->first + 1;
    stage2_->Unmap(area->first);
    for (const auto& [owner, domain] : domains_) {
      if (domain.dirty) domain.dirty->Unmap(area->first);
    }
    UnpinArea(area->first, &areas_.at(area->first));
    areas_.erase(area);
    rc = 0;
  }
  return rc;
}

int IoPagetable::Unmap(uint64_t iova, uint64_t length, uint64_t* unmapped) {
  if (length == 0) return -EINVAL;
  uint64_t last = 0;
  if (Overflows(iova, length, &last)) return -EOVERFLOW;
  return UnmapRange(iova, last, unmapped);
}

int IoPagetable::UnmapAll(uint64_t* unmapped) {
  const int rc = UnmapRange(0, kMax, unmapped);
  return rc == -ENOENT ? 0 : rc;
}

int IoPagetable::SetAllowed(const std::vector<uapi::IommuIovaRange>& ranges) {
  for (const uapi::IommuIovaRange& range : ranges) {
    if (HasReserved(range.start, range.last)) return -EADDRINUSE;
  }
  allowed_.clear();
  for (const uapi::IommuIovaRange& range : ranges) allowed_[range.start] = range.last;
  return 0;
}

int IoPagetable::Reserve(uint64_t start, uint64_t last, Owner owner) {
  if (FirstArea(start, last) != areas_.end()) return -EADDRINUSE;
  for (const auto& [first, end] : allowed_) {
    if (first <= last && start <= end) return -EADDRINUSE;
  }
  reserved_.push_back({start, last, owner});
  return 0;
}

void IoPagetable::RemoveReserved(Owner owner) {
  std::erase_if(reserved_, [&](const Reserved& r) { return r.owner == owner; });
}

std::vector<uapi::IommuIovaRange> IoPagetable::Holes() const {
  std::vector<Reserved> sorted = reserved_;
  std::ranges::sort(sorted, {}, &Reserved::start);
  std::vector<uapi::IommuIovaRange> holes;
  uint64_t at = 0;
  for (const Reserved& r : sorted) {
    if (r.start > at) holes.push_back({at, r.start - 1});
    if (r.last == kMax) return holes;
    at = std::max(at, r.last + 1);
  }
  holes.push_back({at, kMax});
  return holes;
}

int IoPagetable::CheckAlignment(uint64_t alignment) const {
  for (const auto& [start, area] : areas_) {
    const uint64_t all = start | (area.last - start + 1) | (area.file_offset % page_size_);
    if ((all & (alignment - 1)) != 0) return -EADDRINUSE;
  }
  return 0;
}

int IoPagetable::Realign() {
  uint64_t alignment = !large_pages_ || accesses_ > 0 ? page_size_ : 1;
  for (const auto& [owner, domain] : domains_) alignment = std::max(alignment, domain.granule);
  if (alignment > alignment_) {
    if (int rc = CheckAlignment(alignment); rc != 0) return rc;
  }
  alignment_ = alignment;
  return 0;
}

int IoPagetable::AddDomain(Owner domain, const Geometry& geometry) {
  const uint64_t alignment = std::max(alignment_, geometry.granule);
  if (alignment != alignment_) {
    if (int rc = CheckAlignment(alignment); rc != 0) return rc;
  }
  if (geometry.first != 0) {
    if (int rc = Reserve(0, geometry.first - 1, domain); rc != 0) return rc;
  }
  if (geometry.last != kMax) {
    if (int rc = Reserve(geometry.last + 1, kMax, domain); rc != 0) {
      RemoveReserved(domain);
      return rc;
    }
  }
  // Pages are pinned once for all domains.
  if (domains_.empty()) {
    for (auto& [start, area] : areas_) {
      if (int rc = PinArea(start, &area); rc != 0) {
        for (auto& [begin, other] : areas_) UnpinArea(begin, &other);
        RemoveReserved(domain);
        return rc;
      }
    }
  }
  domains_[domain] = {geometry.granule, geometry.dirty};
  if (geometry.dirty) {
    for (const auto& [start, area] : areas_) LogMapping(start, area, geometry.dirty.get());
  }
  alignment_ = alignment;
  return 0;
}

void IoPagetable::RemoveDomain(Owner domain) {
  domains_.erase(domain);
  if (domains_.empty()) {
    for (auto& [start, area] : areas_) UnpinArea(start, &area);
  }
  RemoveReserved(domain);
  Realign();
}

int IoPagetable::EnableLargePages() {
  large_pages_ = true;
  return Realign();
}

int IoPagetable::DisableLargePages() {
  if (!large_pages_) return 0;
  if (!domains_.empty() && !areas_.empty()) return -EINVAL;
  large_pages_ = false;
  const int rc = Realign();
  if (rc != 0) large_pages_ = true;
  return rc;
}

int IoPagetable::AddAccess() {
  ++accesses_;
  const int rc = Realign();
  if (rc != 0) --accesses_;
  return rc;
}

void IoPagetable::RemoveAccess() {
  --accesses_;
  Realign();
}

int IoPagetable::Pin(uint64_t iova, uint64_t length, std::vector<Extent>* extents) {
  uint64_t last = 0;
  if (length == 0) return -EINVAL;
  if (Overflows(iova, length, &last)) return -EOVERFLOW;
  uint64_t at = iova;
  for (auto area = FirstArea(iova, iova); area != areas_.end(); ++area) {
    if (area->first > at) return -ENOENT;
    if ((area->second.flags & uapi::kIoasMapReadable) == 0) return -EPERM;
    const uint64_t end = std::min(last, area->second.last);
    const uint64_t offset = area->second.file_offset + (at - area->first);
    const uint64_t first = offset - area->second.pages->start;
    if (int rc = area->second.pages->CheckPin(first, first + (end - at)); rc != 0) return rc;
    extents->push_back({area->second.pages, offset, end - at + 1});
    if (end == last) break;
    at = end + 1;
  }
  uint64_t covered = 0;
  for (const Extent& extent : *extents) covered += extent.length;
  if (covered != length) return -ENOENT;
  for (auto area = areas_.upper_bound(last); area != areas_.begin();) {
    --area;
    if (area->second.last < iova) break;
    ++area->second.locks;
  }
  return 0;
}

void IoPagetable::Unpin(uint64_t iova, uint64_t length) {
  const uint64_t last = iova + length - 1;
  for (auto area = areas_.upper_bound(last); area != areas_.begin();) {
    --area;
    if (area->second.last < iova) break;
    --area->second.locks;
  }
}

}  // namespace berth::emulator
