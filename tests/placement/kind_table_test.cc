// SPDX-License-Identifier: Apache-2.0
#include "lib/placement/kind_table.h"

#include <gtest/gtest.h>

namespace berth::placement {
namespace {

DeviceSnapshot Device(const std::string& device_class, AttributeMap attributes = {}) {
  DeviceSnapshot device;
  device.device_class = device_class;
  device.vendor_id = 0x10de;
  device.attributes = std::move(attributes);
  return device;
}

TEST(KindTableTest, DevicesThatAreAlikeShareAKind) {
  KindTable kinds;
  const KindNumber kind = kinds.Acquire(Device("gpu", {{"mem", int64_t{80}}}));
  EXPECT_EQ(kinds.Acquire(Device("gpu", {{"mem", int64_t{80}}})), kind);
  EXPECT_NE(kinds.Acquire(Device("gpu", {{"mem", "80"}})), kind) << "a text is not a number";
  EXPECT_NE(kinds.Acquire(Device("nic", {{"mem", int64_t{80}}})), kind);
  EXPECT_EQ(kinds[kind].attributes.at(kVendorIdAttribute), AttributeValue(int64_t{0x10de}));
}

TEST(KindTableTest, NumbersAndClassesThatNobodyUsesAreGivenAgain) {
  KindTable kinds;
  for (int i = 0; i < 100; ++i) {
    const KindNumber kind = kinds.Acquire(Device("class" + std::to_string(i)));
    EXPECT_TRUE(kinds.FindClass("class" + std::to_string(i)).has_value());
    kinds.Release(kind);
    EXPECT_FALSE(kinds.FindClass("class" + std::to_string(i)).has_value());
  }
  EXPECT_EQ(kinds.size(), 1U);
}

TEST(KindTableTest, TextsCannotImitateOneAnother) {
  KindTable kinds;
  EXPECT_NE(kinds.Acquire(Device("a", {{"b", "c1:dx"}})),
            kinds.Acquire(Device("a", {{"b", "c"}, {"d", "x"}})));
}

}  // namespace
}  // namespace berth::placement
