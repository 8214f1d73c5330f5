// SPDX-License-Identifier: Apache-2.0
//
// What handlers check and read in the same way in every request.
#ifndef BERTH_LIB_RPC_REQUEST_H_
#define BERTH_LIB_RPC_REQUEST_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace grpc {
class ClientContext;
class ServerContextBase;
}  // namespace grpc

namespace berth {

inline constexpr size_t kMaxRequestIdBytes = 128;

// A request_id is a UUID or up to 128 printable ASCII characters; empty: none.
// kInvalidField, kTooLarge, with metadata "field".
absl::Status ValidateRequestId(std::string_view request_id);

inline constexpr int kDefaultPageSize = 100;
inline constexpr int kMaxPageSize = 1000;

// 0: the default; more than the largest: the largest. kInvalidField when negative.
absl::StatusOr<int> PageSize(int32_t requested);

// Page tokens are opaque to clients and grant nothing. `query` is whatever the pages of one list
// have in common (method and filters; not the page size), `position` where the next page starts.
// A token is good for its own query only. An empty position is the start, and an empty token.
std::string EncodePageToken(std::string_view query, std::string_view position);
// kInvalidPageToken when the token is damaged or of another query.
absl::StatusOr<std::string> DecodePageToken(std::string_view query, std::string_view token);

// For calls whose caller set no deadline.
inline constexpr absl::Duration kDefaultDeadline = absl::Seconds(30);

// When the caller stops waiting; `now` + kDefaultDeadline when it did not say.
absl::Time DeadlineOf(const grpc::ServerContextBase& context, absl::Time now);

// Every client call has one.
void SetDeadline(grpc::ClientContext& context, absl::Duration timeout);

}  // namespace berth

#endif  // BERTH_LIB_RPC_REQUEST_H_
