// SPDX-License-Identifier: Apache-2.0
#include "lib/base/ids.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <type_traits>

#include "absl/container/flat_hash_set.h"

namespace berth {
namespace {

using ::testing::MatchesRegex;

TEST(StringIdTest, KindsOfIdsDoNotMix) {
  static_assert(!std::is_convertible_v<HostId, UnitId>);
  static_assert(!std::is_convertible_v<std::string, HostId>);
  static_assert(!std::is_constructible_v<HostId, UnitId>);
}

TEST(StringIdTest, IdsCompareAndHashByTheirText) {
  EXPECT_EQ(HostId("a"), HostId("a"));
  EXPECT_LT(HostId("a"), HostId("b"));
  EXPECT_TRUE(HostId().empty());
  EXPECT_EQ(HostId("a").str(), "a");
  const absl::flat_hash_set<HostId> hosts = {HostId("a"), HostId("b"), HostId("a")};
  EXPECT_EQ(hosts.size(), 2u);
  EXPECT_TRUE(hosts.contains(HostId("b")));
}

TEST(NewUuidTest, IsAVersion4UuidInLowerCase) {
  for (int i = 0; i < 100; ++i) {
    const std::string uuid = NewUuid();
    EXPECT_EQ(uuid.size(), 36u);
    EXPECT_THAT(uuid, MatchesRegex("[0-9a-f]+-[0-9a-f]+-4[0-9a-f]+-[89ab][0-9a-f]+-[0-9a-f]+"));
    for (const size_t dash : {8, 13, 18, 23}) EXPECT_EQ(uuid[dash], '-') << uuid;
  }
}

TEST(NewUuidTest, NoTwoAreEqual) {
  std::set<std::string> uuids;
  std::set<uint64_t> numbers;
  for (int i = 0; i < 1000; ++i) {
    uuids.insert(NewUuid());
    numbers.insert(NewRandomId());
  }
  EXPECT_EQ(uuids.size(), 1000u);
  EXPECT_EQ(numbers.size(), 1000u);
  EXPECT_FALSE(numbers.contains(0));
}

}  // namespace
}  // namespace berth
