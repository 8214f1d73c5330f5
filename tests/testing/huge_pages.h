// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_TESTING_HUGE_PAGES_H_
#define BERTH_TESTS_TESTING_HUGE_PAGES_H_

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/unique_fd.h"

namespace berth::testing {

inline constexpr size_t kHugePage = size_t{2} << 20;

// For GTEST_SKIP(), when HugeMemory() has none.
inline constexpr char kNoHugePages[] =
    "too few huge pages of 2 MiB are free on this machine; CONTRIBUTING.md says how to give some";

// A memfd of `pages` huge pages, which are reserved for it, with `seals`; an invalid fd when so
// many are not free.
inline UniqueFd HugeMemory(size_t pages, int seals) {
  UniqueFd memfd(
      ::memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB | MFD_HUGE_2MB));
  const size_t size = pages * kHugePage;
  if (!memfd.valid() || ::ftruncate(memfd.get(), static_cast<off_t>(size)) != 0) return UniqueFd();
  // The file keeps what a shared mapping reserves.
  void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd.get(), 0);
  if (data == MAP_FAILED) return UniqueFd();
  ::munmap(data, size);
  if (::fcntl(memfd.get(), F_ADD_SEALS, seals) != 0) return UniqueFd();
  return memfd;
}

}  // namespace berth::testing

#endif  // BERTH_TESTS_TESTING_HUGE_PAGES_H_
