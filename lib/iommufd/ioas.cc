// SPDX-License-Identifier: Apache-2.0
#include "lib/iommufd/ioas.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "absl/strings/str_cat.h"
#include "lib/iommufd/uapi/iommufd.h"
#include "lib/iommufd/uapi/ops.h"

namespace berth {
namespace {

// More ranges than any machine has; the list is asked for twice when the first guess is too small.
constexpr uint32_t kFirstRanges = 16;
constexpr uint32_t kMaxRanges = 4096;

ErrorMetadata RangeMetadata(uint64_t iova, uint64_t length) {
  return {{"iova", absl::StrCat("0x", absl::Hex(iova))}, {"length", std::to_string(length)}};
}

}  // namespace

absl::StatusOr<Ioas> Ioas::Create(const Context& context) {
  auto arg = Sized<uapi::IommuIoasAlloc>();
  BERTH_RETURN_IF_ERROR(context.Call(uapi::kIommuIoasAlloc, &arg));
  return Ioas(context, arg.out_ioas_id);
}

absl::Status Ioas::MapFile(const FileMapping& mapping) {
  auto arg = Sized<uapi::IommuIoasMapFile>();
  arg.flags = uapi::kIoasMapFixedIova | uapi::kIoasMapReadable;
  if (mapping.access == Access::kReadWrite) arg.flags |= uapi::kIoasMapWriteable;
  arg.ioas_id = id();
  arg.fd = mapping.fd;
  arg.start = mapping.start;
  arg.length = mapping.length;
  arg.iova = mapping.iova;
  const ErrorMetadata metadata = RangeMetadata(mapping.iova, mapping.length);
  absl::Status status = context().Call(uapi::kIommuIoasMapFile, &arg, metadata);
  if (ErrnoOf(status) != EINVAL) return status;
  return CallError(WhyInvalid(mapping), EINVAL, uapi::RequestName(uapi::kIommuIoasMapFile),
                   metadata);
}

// EINVAL of IOAS_MAP_FILE has many causes; the same questions that the kernel asks tell which.
Reason Ioas::WhyInvalid(const FileMapping& mapping) const {
  // Every shmem and hugetlbfs file has seals, nothing else does (Linux mm/memfd.c).
  if (::fcntl(mapping.fd, F_GET_SEALS) < 0) return Reason::kMemoryNotMemfd;
  if (mapping.length == 0) return Reason::kInvalidField;
  const absl::StatusOr<IovaRanges> allowed = GetIovaRanges();
  if (allowed.ok()) {
    const uint64_t mask = allowed->alignment - 1;
    if (((mapping.iova | mapping.length | mapping.start) & mask) != 0) return Reason::kAlignment;
    const uint64_t last = mapping.iova + (mapping.length - 1);
    const bool inside = std::any_of(
        allowed->ranges.begin(), allowed->ranges.end(), [&](const uapi::IommuIovaRange& range) {
          return range.start <= mapping.iova && last <= range.last && mapping.iova <= last;
        });
    if (!inside) return Reason::kMemoryReserved;
  }
  struct stat file = {};
  if (::fstat(mapping.fd, &file) == 0) {
    const auto size = static_cast<uint64_t>(file.st_size);
    if (mapping.start > size || mapping.length > size - mapping.start) {
      return Reason::kMemoryTooShort;
    }
  }
  return Reason::kKernelRefused;
}

absl::StatusOr<uint64_t> Ioas::Unmap(uint64_t iova, uint64_t length) {
  auto arg = Sized<uapi::IommuIoasUnmap>();
  arg.ioas_id = id();
  arg.iova = iova;
  arg.length = length;
  BERTH_RETURN_IF_ERROR(context().Call(uapi::kIommuIoasUnmap, &arg, RangeMetadata(iova, length)));
  return arg.length;
}

absl::StatusOr<Ioas::IovaRanges> Ioas::GetIovaRanges() const {
  uint32_t room = kFirstRanges;
  for (;;) {
    IovaRanges result;
    result.ranges.resize(room);
    auto arg = Sized<uapi::IommuIoasIovaRanges>();
    arg.ioas_id = id();
    arg.num_iovas = room;
    arg.allowed_iovas = reinterpret_cast<uint64_t>(result.ranges.data());
    const absl::Status status = context().Call(uapi::kIommuIoasIovaRanges, &arg);
    if (status.ok() && arg.num_iovas <= room && arg.out_iova_alignment != 0) {
      result.ranges.resize(arg.num_iovas);
      result.alignment = arg.out_iova_alignment;
      return result;
    }
    // The ranges may grow between two calls, so this is a loop; each round has more room.
    if (ErrnoOf(status) == EMSGSIZE && arg.num_iovas > room && arg.num_iovas <= kMaxRanges) {
      room = arg.num_iovas;
      continue;
    }
    if (!status.ok()) return status;
    return Error(Reason::kSystemError, "IOAS_IOVA_RANGES: an impossible answer of the kernel");
  }
}

}  // namespace berth
