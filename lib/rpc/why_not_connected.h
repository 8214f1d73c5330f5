// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_RPC_WHY_NOT_CONNECTED_H_
#define BERTH_LIB_RPC_WHY_NOT_CONNECTED_H_

#include <string_view>

namespace berth {

// The cause of a failed connection in words for people, "connection refused", from the message of
// gRPC's UNAVAILABLE, which tells it as prose only. Empty when it is none of those that are known.
std::string_view WhyNotConnected(std::string_view grpc_message);

}  // namespace berth

#endif  // BERTH_LIB_RPC_WHY_NOT_CONNECTED_H_
