// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/failpoint_list.h"

#include <gtest/gtest.h>

#include <vector>

#include "absl/strings/str_split.h"

namespace berth::testing {

std::set<std::string> PrintedFailpoints(Cluster& cluster, const std::string& program) {
  const Output printed = cluster.Run(ProgramFile(program), {"failpoints"});
  EXPECT_EQ(printed.code, 0) << printed.err;
  std::set<std::string> points;
  const std::vector<std::string> lines = absl::StrSplit(printed.out, '\n', absl::SkipEmpty());
  for (const std::string& line : lines) points.insert(line.substr(0, line.find(' ')));
  EXPECT_FALSE(points.empty());
  return points;
}

std::set<std::string> PartOf(const std::set<std::string>& points, const std::string& part) {
  std::set<std::string> some;
  for (const std::string& point : points) {
    if (point.starts_with(part)) some.insert(point);
  }
  return some;
}

}  // namespace berth::testing
