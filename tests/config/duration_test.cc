// SPDX-License-Identifier: Apache-2.0
#include "lib/config/duration.h"

#include <gtest/gtest.h>

namespace berth {
namespace {

TEST(DurationTest, SurvivesTheWayThereAndBack) {
  for (const absl::Duration duration :
       {absl::ZeroDuration(), absl::Nanoseconds(1), absl::Milliseconds(1500), -absl::Seconds(3),
        -absl::Milliseconds(1500), absl::Hours(24 * 365)}) {
    EXPECT_EQ(FromProtoDuration(ToProtoDuration(duration)), duration);
  }
}

TEST(DurationTest, SecondsAndNanosHaveTheSameSign) {
  const google::protobuf::Duration proto = ToProtoDuration(-absl::Milliseconds(1500));
  EXPECT_EQ(proto.seconds(), -1);
  EXPECT_EQ(proto.nanos(), -500'000'000);
}

}  // namespace
}  // namespace berth
