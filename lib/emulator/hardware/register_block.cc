// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/register_block.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

#include "absl/status/status.h"
#include "lib/base/status.h"

namespace berth::emulator {

absl::StatusOr<RegisterBlock> RegisterBlock::Create(int vintfs) {
  UniqueFd fd(::memfd_create("cmdqv-registers", MFD_CLOEXEC));
  if (!fd.valid() || ::ftruncate(fd.get(), static_cast<off_t>(Size(vintfs))) != 0) {
    return absl::ErrnoToStatus(errno, "memory for registers");
  }
  BERTH_ASSIGN_OR_RETURN(Mapping mapping,
                         Mapping::Map(fd.get(), 0, Size(vintfs), Mapping::Access::kReadWrite));
  return RegisterBlock(std::move(fd), 0, std::move(mapping), false);
}

absl::StatusOr<RegisterBlock> RegisterBlock::OnFile(int fd, uint64_t offset, int vintfs) {
  struct stat stat = {};
  if (::fstat(fd, &stat) != 0) return absl::ErrnoToStatus(errno, "file of the registers");
  const auto size = static_cast<uint64_t>(stat.st_size);
  if (offset > size || size - offset < Size(vintfs)) {
    return absl::InvalidArgumentError("the file is too short for the registers");
  }
  UniqueFd own(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!own.valid()) return absl::ErrnoToStatus(errno, "file of the registers");
  BERTH_ASSIGN_OR_RETURN(
      Mapping mapping, Mapping::Map(own.get(), offset, Size(vintfs), Mapping::Access::kReadWrite));
  return RegisterBlock(std::move(own), offset, std::move(mapping), true);
}

// MAP_FIXED over a part of the mapping: the range stays one, and goes with it in the end.
int RegisterBlock::MovePage0(int vintf, int fd) {
  void* at = mapping_.data() + VintfPage0(vintf);
  void* got = ::mmap(at, kRegisterPageSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
  return got == MAP_FAILED ? -errno : 0;
}

void RegisterBlock::ReturnPage0(int vintf) {
  const size_t page0 = VintfPage0(vintf);
  void* got = ::mmap(mapping_.data() + page0, kRegisterPageSize, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_FIXED, fd_.get(), static_cast<off_t>(offset_ + page0));
  // Replacing a mapping of our own needs no more of anything than is there already.
  if (got == MAP_FAILED) std::abort();
}

}  // namespace berth::emulator
