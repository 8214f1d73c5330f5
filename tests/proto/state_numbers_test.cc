// SPDX-License-Identifier: Apache-2.0
//
// The life cycle (lib/base/lifecycle.h) and the API say the same states by the same numbers.
#include <gtest/gtest.h>

#include <string>

#include "berth/v1/assignment.pb.h"
#include "lib/base/lifecycle.h"

namespace berth {
namespace {

TEST(StateNumbers, IntentsAreThoseOfTheApi) {
  const auto* type = v1::Assignment::Intent_descriptor();
  ASSERT_EQ(type->value_count(), static_cast<int>(Intent::kFailed) + 1);
  for (int i = 1; i < type->value_count(); ++i) {
    const auto intent = static_cast<Intent>(type->value(i)->number());
    EXPECT_EQ(type->value(i)->name(), std::string(ToString(intent)));
  }
}

TEST(StateNumbers, ObservedStatesAreThoseOfTheApi) {
  const auto* type = v1::Assignment::Observed_descriptor();
  ASSERT_EQ(type->value_count(), static_cast<int>(Observed::kGone) + 1);
  for (int i = 1; i < type->value_count(); ++i) {
    const auto observed = static_cast<Observed>(type->value(i)->number());
    EXPECT_EQ(type->value(i)->name(), std::string(ToString(observed)));
  }
}

}  // namespace
}  // namespace berth
