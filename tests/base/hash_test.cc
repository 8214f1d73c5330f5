// SPDX-License-Identifier: Apache-2.0
#include "lib/base/hash.h"

#include <gtest/gtest.h>

namespace berth {
namespace {

// The test vectors of the FNV specification.
TEST(Fnv1a64Test, AgreesWithThePublishedVectors) {
  static_assert(Fnv1a64("") == 0xcbf29ce484222325);
  EXPECT_EQ(Fnv1a64("a"), 0xaf63dc4c8601ec8c);
  EXPECT_EQ(Fnv1a64("foobar"), 0x85944171f73967e8);
}

TEST(Fnv1a64Test, CallsChain) { EXPECT_EQ(Fnv1a64("bar", Fnv1a64("foo")), Fnv1a64("foobar")); }

}  // namespace
}  // namespace berth
