// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/user_memory.h"

#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

// Linux 5.14; older headers lack it.
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace berth::emulator {
namespace {

// Pages as this process' kernel has them: 64 KiB on some arm64 builds.
uint64_t HostPage() {
  static const auto size = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

void* At(uint64_t address) {
  return reinterpret_cast<void*>(address);  // NOLINT(performance-no-int-to-ptr): a user pointer
}

}  // namespace

size_t ReadUser(uint64_t from, void* to, size_t size) {
  if (size == 0) return 0;
  const iovec local = {to, size};
  const iovec remote = {At(from), size};
  const ssize_t done = ::process_vm_readv(::getpid(), &local, 1, &remote, 1, 0);
  return done > 0 ? static_cast<size_t>(done) : 0;
}

bool WriteUser(uint64_t to, const void* from, size_t size) {
  if (size == 0) return true;
  const iovec local = {const_cast<void*>(from), size};
  const iovec remote = {At(to), size};
  return ::process_vm_writev(::getpid(), &local, 1, &remote, 1, 0) == static_cast<ssize_t>(size);
}

bool ZeroUser(uint64_t to, size_t size) {
  static constexpr std::array<std::byte, 4096> kZeroes = {};
  while (size > 0) {
    const size_t step = std::min(size, kZeroes.size());
    if (!WriteUser(to, kZeroes.data(), step)) return false;
    to += step;
    size -= step;
  }
  return true;
}

bool IsWritable(uint64_t at, size_t size) {
  if (size == 0) return true;
  const uint64_t start = at & ~(HostPage() - 1);
  const uint64_t length = (at - start + size + HostPage() - 1) & ~(HostPage() - 1);
  int rc = 0;
  do {
    rc = ::madvise(At(start), length, MADV_POPULATE_WRITE);
  } while (rc != 0 && errno == EINTR);
  if (rc == 0) return true;
  if (errno != EINVAL) return false;
  // Read-only, or a kernel without it: write back what is there.
  std::array<std::byte, 4096> copy;
  for (size_t done = 0; done < size; done += copy.size()) {
    const size_t step = std::min(copy.size(), size - done);
    if (ReadUser(at + done, copy.data(), step) != step) return false;
    if (!WriteUser(at + done, copy.data(), step)) return false;
  }
  return true;
}

size_t WritablePrefix(uint64_t at, size_t size) {
  if (IsWritable(at, size)) return size;
  size_t done = 0;
  while (done < size) {
    const size_t step = std::min(size - done, HostPage() - (at + done) % HostPage());
    if (!IsWritable(at + done, step)) break;
    done += step;
  }
  return done;
}

}  // namespace berth::emulator
