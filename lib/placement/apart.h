// SPDX-License-Identifier: Apache-2.0
//
// Anti-affinity: where the members of each group are, and what that keeps a request away from.
#ifndef BERTH_LIB_PLACEMENT_APART_H_
#define BERTH_LIB_PLACEMENT_APART_H_

#include <compare>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "lib/base/ids.h"
#include "lib/placement/host_record.h"
#include "lib/placement/model.h"

namespace berth::placement {

// Hosts that some anti-affinity terms forbid, as the fleet is now.
struct Avoid {
  absl::flat_hash_set<HostId> hosts;
  std::map<std::string, std::set<std::string>> values;  // by label
  std::vector<std::string> labels;                      // that a host must have

  // Whether the host lacks a label, whatever stands where.
  [[nodiscard]] bool LacksLabel(const HostRecord& host) const;
  [[nodiscard]] bool Forbids(const HostRecord& host) const;
};

// Thread-compatible.
class ApartTable {
 public:
  void Count(const Placement& placement, Direction direction);

  // The labels of a host; nullptr when it is not known.
  using LabelsOf = absl::FunctionRef<const std::map<std::string, std::string>*(const HostId&)>;
  // Costs O(members of the groups).
  [[nodiscard]] Avoid Find(const std::vector<AntiAffinity>& terms, LabelsOf labels_of) const;

  bool operator==(const ApartTable&) const = default;

 private:
  struct Place {
    HostId host;
    std::string label;
    auto operator<=>(const Place&) const = default;
  };
  // group -> place -> members there
  absl::flat_hash_map<std::string, std::map<Place, uint32_t>> groups_;
};

}  // namespace berth::placement

#endif  // BERTH_LIB_PLACEMENT_APART_H_
