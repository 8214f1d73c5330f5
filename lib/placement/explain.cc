// SPDX-License-Identifier: Apache-2.0
#include "lib/placement/explain.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/substitute.h"
#include "lib/base/status.h"

namespace berth::placement {
namespace {

struct Row {
  std::string_view name;
  const char* one;
  const char* several;
  const char* lack;
};

constexpr Row kRows[] = {
#define BERTH_OBSTACLE_ROW(enumerator, name, one, several, lack) {name, one, several, lack},
    BERTH_PLACEMENT_OBSTACLES(BERTH_OBSTACLE_ROW)
#undef BERTH_OBSTACLE_ROW
};

const Row& RowOf(Obstacle obstacle) { return kRows[static_cast<size_t>(obstacle)]; }

}  // namespace

std::string_view ObstacleName(Obstacle obstacle) { return RowOf(obstacle).name; }

std::string ObstacleText(Obstacle obstacle, uint64_t hosts, const std::string& device_class) {
  const Row& row = RowOf(obstacle);
  return absl::Substitute(hosts == 1 ? row.one : row.several, device_class);
}

std::string ObstacleLack(Obstacle obstacle, const std::string& device_class) {
  return absl::Substitute(RowOf(obstacle).lack, device_class);
}

void Explanation::CountHost(Obstacle obstacle, const HostId& host) {
  Count(obstacle, 1);
  if (nearest.empty() || nearest_lacks < obstacle) {
    nearest = host;
    nearest_lacks = obstacle;
  }
}

std::vector<Explanation::Failure> Explanation::Failures() const {
  std::vector<Failure> failures;
  for (size_t i = 0; i < kObstacles; ++i) {
    if (failed[i] == 0) continue;
    const auto obstacle = static_cast<Obstacle>(i);
    failures.push_back({obstacle, failed[i], ObstacleText(obstacle, failed[i], device_class)});
  }
  std::stable_sort(failures.begin(), failures.end(),
                   [](const Failure& a, const Failure& b) { return a.hosts > b.hosts; });
  return failures;
}

std::string Explanation::Summary() const {
  if (placement.has_value()) return absl::StrCat("fits on host ", placement->host.str());
  std::string text =
      unsatisfiable ? "no host could fit it, even if all were empty: " : "no host fits: ";
  if (hosts == 0) return absl::StrCat(text, "there are no hosts");
  const char* separator = hosts == 1 ? " host " : " hosts ";
  for (const Failure& failure : Failures()) {
    absl::StrAppend(&text, failure.hosts, " of ", hosts, separator, failure.text, "; ");
    separator = " ";
  }
  if (!complete) absl::StrAppend(&text, "the search was ended by its budget; ");
  if (nearest.empty()) return absl::StrCat(text, "no host is near");
  return absl::StrCat(text, "nearest is ", nearest.str(), ", which lacks ",
                      ObstacleLack(nearest_lacks, device_class));
}

absl::Status Explanation::ToStatus() const {
  ErrorMetadata metadata{{"hosts", std::to_string(hosts)}};
  for (const Failure& failure : Failures()) {
    metadata[absl::StrCat("hosts_", std::string(ObstacleName(failure.obstacle)))] =
        std::to_string(failure.hosts);
  }
  if (!nearest.empty()) {
    metadata["nearest_host"] = nearest.str();
    metadata["nearest_lacks"] = std::string(ObstacleName(nearest_lacks));
  }
  if (!complete) metadata["search"] = "incomplete";
  return Error(unsatisfiable ? Reason::kUnsatisfiable : Reason::kNoCapacity, Summary(), metadata);
}

}  // namespace berth::placement
