// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_TESTING_SCATTERED_MEMORY_H_
#define BERTH_TESTS_TESTING_SCATTERED_MEMORY_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"

namespace berth::testing {

enum class PageKind : uint8_t { kSmall, kHuge };  // 4 KiB, 2 MiB

// A memfd of `size` bytes, all present and zero, no two pages of which are physically adjacent:
// what a driver that wants contiguous memory says of a range of several pages is no matter of luck
// then. Reads /proc/self/pagemap. While it works it holds up to two more pages for each. Errors:
// those of the system calls; EPERM without CAP_SYS_ADMIN; ENOMEM also when some pages remain
// adjacent.
absl::StatusOr<UniqueFd> ScatteredMemory(uint64_t size, PageKind kind);

}  // namespace berth::testing

#endif  // BERTH_TESTS_TESTING_SCATTERED_MEMORY_H_
