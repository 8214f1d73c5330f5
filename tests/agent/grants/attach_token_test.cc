// SPDX-License-Identifier: Apache-2.0
#include "agent/grants/attach_token.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/agent/grants/emulated_host.h"

namespace berth::testing {
namespace {

TEST(AttachTokenTest, MatchesItsOwnHashAlone) {
  const std::string hash = Desired("a", {"gpu0"}).token_hash();
  EXPECT_TRUE(TokenMatches(kToken, hash));
  EXPECT_FALSE(TokenMatches("", hash));
  EXPECT_FALSE(TokenMatches(std::string(kToken) + " ", hash));
  EXPECT_FALSE(TokenMatches(kToken, ""));
  EXPECT_FALSE(TokenMatches(kToken, hash.substr(1)));
  EXPECT_FALSE(TokenMatches(kToken, hash + '\0'));
  for (size_t i = 0; i < hash.size(); ++i) {
    std::string other = hash;
    other[i] = static_cast<char>(other[i] ^ 1);
    EXPECT_FALSE(TokenMatches(kToken, other)) << i;
  }
}

}  // namespace
}  // namespace berth::testing
