// SPDX-License-Identifier: Apache-2.0
//
// Copies of an absl::Status share one representation and count themselves. They are counted up in
// code of the header, which is instrumented, and down in Debian's libabsl_status, which is not: so
// ThreadSanitizer does not see that whoever frees it comes after all who have read it. Reference:
// Abseil 20220623, absl/status/status.cc, Status::UnrefNonInlined.
#include <atomic>
#include <cstdint>

#include "absl/status/status.h"
#include "tests/tsan/real.h"

namespace {

constexpr char kUnref[] = "_ZN4absl7debian36Status15UnrefNonInlinedEm";

}  // namespace

// The member is private, so it goes by the linker's name for it.
void UnrefStatus(uintptr_t rep) __asm__("_ZN4absl7debian36Status15UnrefNonInlinedEm");
void UnrefStatus(uintptr_t rep) {
  static const berth::tsan::Real<void, uintptr_t> real(kUnref);
  auto* shared = reinterpret_cast<absl::status_internal::StatusRep*>(rep - 1);  // RepToPointer()
  if (shared->ref.load(std::memory_order_acquire) != 1) {
    if (shared->ref.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    shared->ref.store(1, std::memory_order_relaxed);
  }
  real(rep);  // finds the last one, and frees
}
