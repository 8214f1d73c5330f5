// SPDX-License-Identifier: Apache-2.0
#include "tests/testing/scattered_memory.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "lib/base/mapping.h"
#include "lib/base/status.h"

namespace berth::testing {
namespace {

constexpr uint64_t kSmallPage = 4096;
constexpr uint64_t kHugePage = uint64_t{2} << 20;
constexpr int kRounds = 64;

// Pages that are taken so that the next one comes from somewhere else.
class Fillers {
 public:
  explicit Fillers(PageKind kind) : kind_(kind) {}
  ~Fillers() {
    for (void* page : pages_) ::munmap(page, Size());
  }
  Fillers(const Fillers&) = delete;
  Fillers& operator=(const Fillers&) = delete;

  absl::Status Take() {
    const int huge = kind_ == PageKind::kHuge ? MAP_HUGETLB : 0;
    void* page = ::mmap(nullptr, Size(), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | huge, -1, 0);
    if (page == MAP_FAILED) return ErrnoToStatus(errno, "mmap");
    pages_.push_back(page);
    return absl::OkStatus();
  }

 private:
  [[nodiscard]] size_t Size() const { return kind_ == PageKind::kHuge ? kHugePage : kSmallPage; }

  const PageKind kind_;
  std::vector<void*> pages_;
};

// The physical page number behind an address (Linux Documentation/admin-guide/mm/pagemap.rst).
absl::StatusOr<uint64_t> FrameOf(int pagemap, const std::byte* address) {
  constexpr uint64_t kPresent = uint64_t{1} << 63;
  constexpr uint64_t kFrame = (uint64_t{1} << 55) - 1;
  uint64_t entry = 0;
  const auto at = reinterpret_cast<uint64_t>(address) / kSmallPage * sizeof(entry);
  if (::pread(pagemap, &entry, sizeof(entry), static_cast<off_t>(at)) != sizeof(entry)) {
    return ErrnoToStatus(errno, "pagemap");
  }
  // Without CAP_SYS_ADMIN all numbers are zero.
  if ((entry & kPresent) == 0 || (entry & kFrame) == 0) return ErrnoToStatus(EPERM, "pagemap");
  return entry & kFrame;
}

// Offsets of the pages of which another is the physical predecessor.
absl::StatusOr<std::vector<uint64_t>> Adjacent(int pagemap, const Mapping& memory, uint64_t page) {
  std::vector<std::pair<uint64_t, uint64_t>> frames;  // and the offset
  for (uint64_t offset = 0; offset < memory.size(); offset += page) {
    BERTH_ASSIGN_OR_RETURN(const uint64_t frame, FrameOf(pagemap, memory.data() + offset));
    frames.emplace_back(frame, offset);
  }
  std::ranges::sort(frames);
  std::vector<uint64_t> adjacent;
  bool moved = false;  // the one before, so that this one may stay
  for (size_t i = 1; i < frames.size(); ++i) {
    moved = !moved && frames[i].first - frames[i - 1].first == page / kSmallPage;
    if (moved) adjacent.push_back(frames[i].second);
  }
  return adjacent;
}

}  // namespace

absl::StatusOr<UniqueFd> ScatteredMemory(uint64_t size, PageKind kind) {
  const bool huge = kind == PageKind::kHuge;
  const uint64_t page = huge ? kHugePage : kSmallPage;
  UniqueFd memfd(::memfd_create("scattered", MFD_CLOEXEC | (huge ? MFD_HUGETLB : 0)));
  if (!memfd.valid()) return ErrnoToStatus(errno, "memfd_create");
  if (::ftruncate(memfd.get(), static_cast<off_t>(size)) != 0) {
    return ErrnoToStatus(errno, "ftruncate");
  }
  BERTH_ASSIGN_OR_RETURN(const Mapping memory,
                         Mapping::Map(memfd.get(), 0, size, Mapping::Access::kReadWrite));
  const UniqueFd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (!pagemap.valid()) return ErrnoToStatus(errno, "pagemap");
  const auto touch = [&](uint64_t offset) {
    *static_cast<volatile std::byte*>(memory.data() + offset) = std::byte{0};
  };
  Fillers fillers(kind);
  for (uint64_t offset = 0; offset < size; offset += page) touch(offset);
  for (int round = 0; round < kRounds; ++round) {
    BERTH_ASSIGN_OR_RETURN(const std::vector<uint64_t> adjacent,
                           Adjacent(pagemap.get(), memory, page));
    if (adjacent.empty()) return memfd;
    for (const uint64_t offset : adjacent) {
      if (::fallocate(memfd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                      static_cast<off_t>(offset), static_cast<off_t>(page)) != 0) {
        return ErrnoToStatus(errno, "fallocate");
      }
      // Whoever asks first gets the page that was just freed, the others come in physical order.
      BERTH_RETURN_IF_ERROR(fillers.Take());
      BERTH_RETURN_IF_ERROR(fillers.Take());
      touch(offset);
    }
  }
  return ErrnoToStatus(ENOMEM, "memory without adjacent pages");
}

}  // namespace berth::testing
