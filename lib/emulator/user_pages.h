// SPDX-License-Identifier: Apache-2.0
//
// The caller's address space as IOAS_MAP pins it, in a form that another process can use.
#ifndef BERTH_LIB_EMULATOR_USER_PAGES_H_
#define BERTH_LIB_EMULATOR_USER_PAGES_H_

#include <cstdint>

#include "lib/base/unique_fd.h"

namespace berth::emulator {

// What stands behind a range of addresses of this process.
struct UserPages {
  // The file that is mapped there, when all of the range is one shared mapping of a file that can
  // be had; else this process' memory itself (/proc/self/mem), whose offsets are addresses.
  // Invalid when neither could be opened.
  UniqueFd file;
  uint64_t offset = 0;     // of the range's first byte in `file`
  bool accessible = true;  // every page is there, and writable when that was asked for
};

enum class UserAccess : uint8_t { kRead, kWrite };

// Brings all pages of [address, address + length) in, as pinning does.
UserPages FindUserPages(uint64_t address, uint64_t length, UserAccess access);

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_USER_PAGES_H_
