// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_AGENT_GRANTS_MEMFD_H_
#define BERTH_TESTS_AGENT_GRANTS_MEMFD_H_

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

#include "lib/base/unique_fd.h"

namespace berth::testing {

// Guest memory of `size` bytes: a memfd, sealed with `seals`.
inline UniqueFd Memfd(uint64_t size, int seals = F_SEAL_SHRINK) {
  UniqueFd fd(::memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  const bool made = ::ftruncate(fd.get(), static_cast<off_t>(size)) == 0 &&
                    ::fcntl(fd.get(), F_ADD_SEALS, seals) == 0;
  return made ? std::move(fd) : UniqueFd();
}

}  // namespace berth::testing

#endif  // BERTH_TESTS_AGENT_GRANTS_MEMFD_H_
