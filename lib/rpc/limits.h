// SPDX-License-Identifier: Apache-2.0
//
// Numbers that both ends of a connection must agree on.
#ifndef BERTH_LIB_RPC_LIMITS_H_
#define BERTH_LIB_RPC_LIMITS_H_

#include "absl/time/time.h"

namespace berth {

inline constexpr int kMaxRpcMessageBytes = 4 << 20;
// Headers and trailers, each.
inline constexpr int kMaxRpcMetadataBytes = 16 << 10;

// A client pings a silent connection this often and gives it up when no answer comes in time.
inline constexpr absl::Duration kClientKeepalive = absl::Seconds(30);
inline constexpr absl::Duration kClientKeepaliveTimeout = absl::Seconds(10);
// A server hangs up (GOAWAY, too_many_pings) on clients that ping more often than this; gRPC's own
// default of 5 minutes would hang up on ours (grpc doc/keepalive.md).
inline constexpr absl::Duration kServerLeastPingInterval = absl::Seconds(15);
// How a server notices clients that are gone without a word.
inline constexpr absl::Duration kServerKeepalive = absl::Seconds(60);
inline constexpr absl::Duration kServerKeepaliveTimeout = absl::Seconds(20);

// As gRPC's channel arguments want them.
inline int RpcMillis(absl::Duration duration) {
  return static_cast<int>(absl::ToInt64Milliseconds(duration));
}

}  // namespace berth

#endif  // BERTH_LIB_RPC_LIMITS_H_
