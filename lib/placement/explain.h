// SPDX-License-Identifier: Apache-2.0
//
// Why a request fits nowhere: counts by obstacle, and the host that lacks least. Its size does not
// depend on the fleet's.
#ifndef BERTH_LIB_PLACEMENT_EXPLAIN_H_
#define BERTH_LIB_PLACEMENT_EXPLAIN_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "lib/placement/model.h"
#include "lib/placement/obstacle.h"

namespace berth::placement {

struct Explanation {
  // Where the request would go. When it is there, the rest but `hosts` is empty.
  std::optional<Placement> placement;
  uint64_t hosts = 0;  // in the fleet
  // Hosts by the obstacle that each met first; their sum is `hosts`. About the first alternative of
  // each device request. When `unsatisfiable`, this and the nearest host are what they would be if
  // all hosts were empty, ready and untainted.
  std::array<uint64_t, kObstacles> failed{};
  std::string device_class;  // what was asked for, for texts: "gpu", "gpu or nic"
  HostId nearest;            // empty: no host has any of it
  Obstacle nearest_lacks = Obstacle::kClass;
  // True only when proved: no host could take it, even if all were empty, ready and untainted.
  bool unsatisfiable = false;
  // False when a search, or the choice of alternatives, was ended by its budget: it may fit after
  // all.
  bool complete = true;

  void Count(Obstacle obstacle, uint64_t by) { failed[static_cast<size_t>(obstacle)] += by; }
  // One host, which is the nearest when it came farther than those before.
  void CountHost(Obstacle obstacle, const HostId& host);

  struct Failure {
    Obstacle obstacle;
    uint64_t hosts;
    std::string text;  // "have no device of class gpu"
  };
  // Most hosts first.
  [[nodiscard]] std::vector<Failure> Failures() const;

  // "no host fits: 2 of 3 hosts have no free VINTF on the unit of a free gpu; 1 of 3 has no device
  // of class gpu; nearest is h1, which lacks a free VINTF on the unit of a free gpu"
  [[nodiscard]] std::string Summary() const;

  // NO_CAPACITY or UNSATISFIABLE, with Summary() and metadata: "hosts", "hosts_vintfs" and so on
  // for each obstacle met, "nearest_host", "nearest_lacks", and "search" = "incomplete" unless
  // complete.
  [[nodiscard]] absl::Status ToStatus() const;
};

}  // namespace berth::placement

#endif  // BERTH_LIB_PLACEMENT_EXPLAIN_H_
