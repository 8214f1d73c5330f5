// SPDX-License-Identifier: Apache-2.0
#include "agent/grants/guest_memory.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"

namespace berth {
namespace {

std::string Range(uint64_t iova, uint64_t length) {
  return absl::StrCat(length, " bytes at 0x", absl::Hex(iova));
}

absl::Status CheckFile(const Ioas::FileMapping& mapping) {
  // Only shmem and hugetlbfs files have seals (Linux mm/memfd.c).
  const int seals = ::fcntl(mapping.fd, F_GET_SEALS);
  if (seals < 0) return Error(Reason::kMemoryNotMemfd, "the fd is no memfd");
  if ((seals & F_SEAL_SHRINK) == 0) {
    return Error(Reason::kMemoryNotSealed, "the memfd can shrink: seal it with F_SEAL_SHRINK");
  }
  struct stat file = {};
  if (::fstat(mapping.fd, &file) != 0) return ErrnoToStatus(errno, "fstat");
  const auto size = static_cast<uint64_t>(file.st_size);
  if (mapping.start > size || mapping.length > size - mapping.start) {
    return Error(Reason::kMemoryTooShort,
                 absl::StrCat("the memfd has ", size, " bytes, the region reaches to ",
                              mapping.start, " + ", mapping.length));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status GuestMemory::Check(const Ioas::IovaRanges& allowed,
                                const Ioas::FileMapping& mapping) const {
  if (mapping.length == 0) return Error(Reason::kInvalidField, "length: 0");
  if (((mapping.iova | mapping.start | mapping.length) & (allowed.alignment - 1)) != 0) {
    return Error(Reason::kAlignment, absl::StrCat("addresses, offsets and lengths of memory are "
                                                  "multiples of ",
                                                  allowed.alignment));
  }
  BERTH_RETURN_IF_ERROR(CheckFile(mapping));
  const uint64_t last = mapping.iova + (mapping.length - 1);
  const bool inside = last >= mapping.iova &&
                      std::any_of(allowed.ranges.begin(), allowed.ranges.end(),
                                  [&](const uapi::IommuIovaRange& range) {
                                    return range.start <= mapping.iova && last <= range.last;
                                  });
  if (!inside) {
    return Error(Reason::kMemoryReserved, absl::StrCat(Range(mapping.iova, mapping.length),
                                                       " leave the usable IOVA ranges"));
  }
  if (Overlaps(mapping.iova, mapping.length)) {
    return Error(Reason::kMemoryOverlap,
                 absl::StrCat(Range(mapping.iova, mapping.length), " overlap a registered region"));
  }
  if (regions_.size() >= limits_.regions) {
    return Error(Reason::kMemoryLimit, absl::StrCat(limits_.regions, " regions are registered"));
  }
  if (mapping.length > limits_.bytes - bytes_) {
    return Error(Reason::kMemoryLimit, absl::StrCat(mapping.length, " bytes more than ", bytes_,
                                                    " are over the limit of ", limits_.bytes));
  }
  return absl::OkStatus();
}

absl::Status GuestMemory::Map(Ioas& ioas, const Ioas::IovaRanges& allowed,
                              const Ioas::FileMapping& mapping) {
  BERTH_RETURN_IF_ERROR(Check(allowed, mapping));
  for (uint64_t done = 0; done < mapping.length;) {
    Ioas::FileMapping slice = mapping;
    slice.iova += done;
    slice.start += done;
    slice.length = std::min(kSlice, mapping.length - done);
    if (absl::Status status = ioas.MapFile(slice); !status.ok()) {
      if (done > 0) {
        const absl::Status undone = ioas.Unmap(mapping.iova, done).status();
        if (!undone.ok()) return WithMetadata(status, "undo", std::string(undone.message()));
      }
      return status;
    }
    done += slice.length;
  }
  regions_[mapping.iova] = mapping.length;
  bytes_ += mapping.length;
  return absl::OkStatus();
}

absl::Status GuestMemory::Unmap(Ioas& ioas, uint64_t iova, uint64_t length) {
  const auto it = regions_.find(iova);
  if (it == regions_.end() || it->second != length) {
    return Error(Reason::kMemoryUnknown,
                 absl::StrCat("no region of ", Range(iova, length), " is registered"));
  }
  BERTH_RETURN_IF_ERROR(ioas.Unmap(iova, length).status());
  Forget(iova);
  return absl::OkStatus();
}

void GuestMemory::Adopt(uint64_t iova, uint64_t length) {
  regions_[iova] = length;
  bytes_ += length;
}

void GuestMemory::Forget(uint64_t iova) {
  const auto it = regions_.find(iova);
  if (it == regions_.end()) return;
  bytes_ -= it->second;
  regions_.erase(it);
}

bool GuestMemory::Overlaps(uint64_t iova, uint64_t length) const {
  const auto next = regions_.lower_bound(iova);
  if (next != regions_.end() && next->first - iova < length) return true;
  if (next == regions_.begin()) return false;
  const auto before = std::prev(next);
  return iova - before->first < before->second;
}

bool GuestMemory::Contains(uint64_t iova, uint64_t length) const {
  auto it = regions_.upper_bound(iova);
  if (it == regions_.begin()) return false;
  --it;
  const uint64_t offset = iova - it->first;
  return offset < it->second && length <= it->second - offset;
}

}  // namespace berth
