// SPDX-License-Identifier: Apache-2.0
//
// The one place where Berth's errors become gRPC's and back.
#ifndef BERTH_LIB_RPC_ERROR_H_
#define BERTH_LIB_RPC_ERROR_H_

#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "lib/base/reason.h"

namespace grpc {
class Status;
}

namespace berth {

// The domain of every google.rpc.ErrorInfo that Berth sends.
inline constexpr char kErrorDomain[] = "berth.dev";

// `status` with a google.rpc.Status in its details (trailer grpc-status-details-bin): always an
// ErrorInfo; a RetryInfo where waiting helps (UNAVAILABLE, OVERLOADED); a BadRequest for
// INVALID_ARGUMENT with metadata "field". A status without a reason gets the one of its code.
// Text that is no UTF-8 or too long for a trailer is cut; metadata then has "truncated".
grpc::Status ToGrpcStatus(const absl::Status& status);

// The reverse. The reason survives the way there and back. Without an ErrorInfo of Berth's (another
// kind of server, or gRPC itself failed) the reason is that of the code. A reason that this version
// does not know becomes that of the code too, with its name in the metadata "reason".
absl::Status FromGrpcStatus(const grpc::Status& status);

// What RetryInfo says, if there is one.
std::optional<absl::Duration> RetryDelayOf(const grpc::Status& status);

// The reason of an error that was given none.
Reason ReasonOfCode(absl::StatusCode code);

}  // namespace berth

#endif  // BERTH_LIB_RPC_ERROR_H_
