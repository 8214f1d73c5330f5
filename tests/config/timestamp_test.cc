// SPDX-License-Identifier: Apache-2.0
#include "lib/config/timestamp.h"

#include <gtest/gtest.h>

namespace berth {
namespace {

TEST(TimestampTest, KeepsNanoseconds) {
  const absl::Time time = absl::FromUnixSeconds(1'800'000'000) + absl::Nanoseconds(123'456'789);
  EXPECT_EQ(ToTimestamp(time).seconds(), 1'800'000'000);
  EXPECT_EQ(ToTimestamp(time).nanos(), 123'456'789);
  EXPECT_EQ(FromTimestamp(ToTimestamp(time)), time);
}

TEST(TimestampTest, NanosCountUpwardBefore1970Too) {
  const absl::Time time = absl::UnixEpoch() - absl::Nanoseconds(1);
  EXPECT_EQ(ToTimestamp(time).seconds(), -1);
  EXPECT_EQ(ToTimestamp(time).nanos(), 999'999'999);
  EXPECT_EQ(FromTimestamp(ToTimestamp(time)), time);
}

}  // namespace
}  // namespace berth
