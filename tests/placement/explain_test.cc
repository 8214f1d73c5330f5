// SPDX-License-Identifier: Apache-2.0
#include "lib/placement/explain.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "lib/base/status.h"

namespace berth::placement {
namespace {

TEST(ExplainTest, EachObstacleHasANameOfItsOwnAndTextsThatNameTheClass) {
  std::set<std::string_view> names;
  for (size_t i = 0; i < kObstacles; ++i) {
    const auto obstacle = static_cast<Obstacle>(i);
    EXPECT_TRUE(names.insert(ObstacleName(obstacle)).second) << ObstacleName(obstacle);
    for (const std::string& text :
         {ObstacleText(obstacle, 1, "gpu"), ObstacleText(obstacle, 2, "gpu"),
          ObstacleLack(obstacle, "gpu")}) {
      EXPECT_FALSE(text.empty());
      EXPECT_EQ(text.find('$'), std::string::npos) << text;
    }
  }
}

TEST(ExplainTest, MostHostsComeFirstAndMetadataHasEachCount) {
  Explanation explanation;
  explanation.hosts = 6;
  explanation.device_class = "gpu";
  explanation.failed[static_cast<size_t>(Obstacle::kClass)] = 1;
  explanation.failed[static_cast<size_t>(Obstacle::kVintfs)] = 5;
  explanation.nearest = HostId("h1");
  explanation.nearest_lacks = Obstacle::kVintfs;
  EXPECT_EQ(explanation.Summary(),
            "no host fits: 5 of 6 hosts have no free VINTF on the unit of a free gpu; 1 of 6 has "
            "no device of class gpu; nearest is h1, which lacks a free VINTF on the unit of a free "
            "gpu");
  const ErrorMetadata metadata = MetadataOf(explanation.ToStatus());
  EXPECT_EQ(metadata, (ErrorMetadata{{"hosts", "6"},
                                     {"hosts_class", "1"},
                                     {"hosts_vintfs", "5"},
                                     {"nearest_host", "h1"},
                                     {"nearest_lacks", "vintfs"}}));
}

}  // namespace
}  // namespace berth::placement
