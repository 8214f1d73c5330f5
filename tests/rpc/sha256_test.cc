// SPDX-License-Identifier: Apache-2.0
#include "lib/rpc/sha256.h"

#include <gtest/gtest.h>

#include "absl/strings/escaping.h"

namespace berth {
namespace {

// FIPS 180-2, B.1, and the digest of nothing.
TEST(Sha256Test, GivesThePublishedDigests) {
  EXPECT_EQ(absl::BytesToHexString(Sha256("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(absl::BytesToHexString(Sha256("")),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

}  // namespace
}  // namespace berth
