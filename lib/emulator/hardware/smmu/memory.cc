// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/hardware/smmu/memory.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "lib/base/mapping.h"

namespace berth::emulator {
namespace {

// A write beyond the end would grow the file, which no DMA does. /proc/PID/mem has no size and does
// not grow.
bool IsInside(int fd, uint64_t offset, size_t size) {
  struct stat info;
  struct statfs fs;
  if (::fstat(fd, &info) == 0 && offset + size <= static_cast<uint64_t>(info.st_size)) return true;
  return ::fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

// The pages of a file with `size` bytes at `offset` in them.
struct Pages {
  Mapping mapping;
  std::byte* data = nullptr;  // of `offset`; null: cannot be mapped
};
Pages MapPages(int fd, uint64_t offset, size_t size) {
  struct stat info;
  if (::fstat(fd, &info) != 0 || info.st_blksize <= 0) return {};
  const auto page = static_cast<uint64_t>(info.st_blksize);  // hugetlbfs: the huge page
  const uint64_t start = offset / page * page;
  const uint64_t end = (offset + size + page - 1) / page * page;
  auto mapping = Mapping::Map(fd, start, end - start, Mapping::Access::kReadWrite);
  if (!mapping.ok()) return {};
  Pages pages = {*std::move(mapping)};
  pages.data = pages.mapping.data() + (offset - start);
  return pages;
}

// hugetlbfs has no write(2). A write into a mapping would raise SIGBUS where the file was cut, but
// the kernel's own copy of one process' memory to itself only fails.
bool WriteThroughMapping(int fd, uint64_t offset, std::span<const std::byte> bytes) {
  const Pages pages = MapPages(fd, offset, bytes.size());
  if (pages.data == nullptr) return false;
  const iovec local = {const_cast<std::byte*>(bytes.data()), bytes.size()};
  const iovec remote = {pages.data, bytes.size()};
  return ::process_vm_writev(::getpid(), &local, 1, &remote, 1, 0) ==
         static_cast<ssize_t>(bytes.size());
}

bool CannotShrink(int fd) {
  const int seals = ::fcntl(fd, F_GET_SEALS);  // -1: no memfd
  return seals >= 0 && (seals & F_SEAL_SHRINK) != 0;
}

}  // namespace

bool FileMemory::Read(uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t n = ::pread(file.get(), out.data(), out.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    offset += static_cast<uint64_t>(n);
    out = out.subspan(static_cast<size_t>(n));
  }
  return true;
}

bool FileMemory::Write(uint64_t offset, std::span<const std::byte> bytes) const {
  if (!IsInside(file.get(), offset, bytes.size())) return false;
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EINVAL) return WriteThroughMapping(file.get(), offset, bytes);
    if (n <= 0) return false;
    offset += static_cast<uint64_t>(n);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return true;
}

Memory::Exchange FileMemory::CompareExchange(uint64_t offset, uint64_t expected,
                                             uint64_t desired) const {
  if (!IsInside(file.get(), offset, sizeof(uint64_t))) return Exchange::kAbort;
  if (CannotShrink(file.get())) {
    const Pages pages = MapPages(file.get(), offset, sizeof(uint64_t));
    if (pages.data == nullptr) return Exchange::kAbort;
    std::atomic_ref dword(*reinterpret_cast<uint64_t*>(pages.data));
    return dword.compare_exchange_strong(expected, desired) ? Exchange::kDone : Exchange::kLost;
  }
  uint64_t value = 0;
  if (!Read(offset, std::as_writable_bytes(std::span<uint64_t, 1>(&value, 1)))) {
    return Exchange::kAbort;
  }
  if (value != expected) return Exchange::kLost;
  return Write(offset, std::as_bytes(std::span<const uint64_t, 1>(&desired, 1))) ? Exchange::kDone
                                                                                 : Exchange::kAbort;
}

}  // namespace berth::emulator
