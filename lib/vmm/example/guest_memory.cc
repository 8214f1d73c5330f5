// SPDX-License-Identifier: Apache-2.0
#include "lib/vmm/example/guest_memory.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace berth::example {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

size_t RoundUp(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

GuestMemory::~GuestMemory() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

Outcome GuestMemory::Create(size_t bytes, uint64_t guest_address) {
  guest_address_ = guest_address;
  if (TryCreate(bytes, kHugePage, MFD_HUGETLB | MFD_HUGE_2MB) == 0) return {};
  const int error = TryCreate(bytes, static_cast<size_t>(::sysconf(_SC_PAGESIZE)), 0);
  if (error == 0) return {};
  return {ExitCode::kSystem, std::string("guest memory: ") + std::strerror(error)};
}

int GuestMemory::TryCreate(size_t bytes, size_t page_size, unsigned memfd_flags) {
  UniqueFd fd(::memfd_create("guest-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING | memfd_flags));
  const size_t size = RoundUp(bytes, page_size);
  if (!fd.valid() || ::ftruncate(fd.get(), static_cast<off_t>(size)) != 0 ||
      ::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
    return errno;
  }
  // Reserves huge pages, so that no access can fail later.
  void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED) return errno;
  fd_ = std::move(fd);
  data_ = static_cast<std::byte*>(data);
  size_ = size;
  page_size_ = page_size;
  return 0;
}

std::optional<GuestMemory::Block> GuestMemory::Allocate(size_t bytes) {
  const uint64_t end = guest_address_ + used_;
  const size_t begin = RoundUp(end, bytes) - guest_address_;
  if (begin > size_ || bytes > size_ - begin) return std::nullopt;
  used_ = begin + bytes;
  return Block{data_ + begin, guest_address_ + begin};
}

}  // namespace berth::example
