// SPDX-License-Identifier: Apache-2.0
//
// Errors inside Berth: an absl::Status that also carries a stable Reason and metadata. They become
// google.rpc.ErrorInfo at the gRPC edge (lib/rpc/error.h) and a berth_vmm_reason on the VMM socket.
#ifndef BERTH_LIB_BASE_STATUS_H_
#define BERTH_LIB_BASE_STATUS_H_

#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/base/reason.h"

namespace berth {

// Sorted, so that the same error always has the same text and bytes.
using ErrorMetadata = std::map<std::string, std::string>;

// An error with the canonical code of `reason` (reason.h). `message` says what is wrong and what to
// do; whatever part of it varies should also stand in `metadata`.
absl::Status Error(Reason reason, std::string_view message, const ErrorMetadata& metadata = {});

// The reason of a status. Reason::kUnspecified where none was attached, e.g. for OkStatus().
Reason ReasonOf(const absl::Status& status);
ErrorMetadata MetadataOf(const absl::Status& status);

// `status` with `context + ": "` before its message; code, reason and metadata stay. OK stays OK.
absl::Status Annotate(const absl::Status& status, std::string_view context);
// `status` with one more metadata entry.
absl::Status WithMetadata(const absl::Status& status, std::string_view key, std::string_view value);

// The one mapping of errno values to errors. `what` names the failed call, e.g. "VIOMMU_ALLOC".
// Metadata: "errno" (its name), "call" (= what). errno 0 is a programming error.
absl::Status ErrnoToStatus(int error, std::string_view what);
// "ENOSPC"; "errno 1234" for numbers without a name.
std::string ErrnoName(int error);
// The errno that ErrnoToStatus() recorded, or 0.
int ErrnoOf(const absl::Status& status);

}  // namespace berth

// Abseil's own macros are not part of its public API, so these are ours.
#define BERTH_RETURN_IF_ERROR(expr)                               \
  do {                                                            \
    if (absl::Status berth_status = (expr); !berth_status.ok()) { \
      return berth_status;                                        \
    }                                                             \
  } while (false)

#define BERTH_CONCAT_INNER(a, b) a##b
#define BERTH_CONCAT(a, b) BERTH_CONCAT_INNER(a, b)
#define BERTH_ASSIGN_OR_RETURN(lhs, expr) \
  BERTH_ASSIGN_OR_RETURN_IMPL(BERTH_CONCAT(berth_status_or_, __LINE__), lhs, expr)
#define BERTH_ASSIGN_OR_RETURN_IMPL(result, lhs, expr) \
  auto result = (expr);                                \
  if (!result.ok()) return std::move(result).status(); \
  lhs = *std::move(result)

#endif  // BERTH_LIB_BASE_STATUS_H_
