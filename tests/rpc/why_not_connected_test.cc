// SPDX-License-Identifier: Apache-2.0
#include "lib/rpc/why_not_connected.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace berth {
namespace {

using ::testing::HasSubstr;

// As gRPC 1.51 words them.
TEST(WhyNotConnectedTest, FindsTheCauseInGrpcsProse) {
  EXPECT_EQ(WhyNotConnected("failed to connect to all addresses; last error: UNKNOWN: "
                            "ipv4:127.0.0.1:7440: Failed to connect to remote host: "
                            "Connection refused"),
            "connection refused");
  EXPECT_THAT(WhyNotConnected("failed to connect to all addresses; last error: UNKNOWN: "
                              "ipv4:127.0.0.1:7440: Tls handshake failed: SSL_ERROR_SSL: "
                              "error:0A000086:SSL routines::certificate verify failed"),
              HasSubstr("TLS handshake failed"));
}

TEST(WhyNotConnectedTest, SaysNothingOfWhatItDoesNotKnow) {
  EXPECT_EQ(WhyNotConnected("the stars are wrong"), "");
  EXPECT_EQ(WhyNotConnected(""), "");
}

}  // namespace
}  // namespace berth
