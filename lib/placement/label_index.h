// SPDX-License-Identifier: Apache-2.0
//
// Which hosts have which labels.
#ifndef BERTH_LIB_PLACEMENT_LABEL_INDEX_H_
#define BERTH_LIB_PLACEMENT_LABEL_INDEX_H_

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "lib/placement/request.h"
#include "lib/placement/slot_set.h"

namespace berth::placement {

using LabelMap = std::map<std::string, std::string>;

// Costs four bytes for each label of a host, and what it takes to name each different value once.
// Thread-compatible.
class LabelIndex {
 public:
  // Replaces the labels of a host.
  void Update(HostSlot slot, const LabelMap& before, const LabelMap& now);

  // Hosts with that label, in rising order.
  [[nodiscard]] const std::vector<HostSlot>& Hosts(const std::string& key,
                                                   const std::string& value) const;
  // Calls `visit` with each value of a label and the hosts that have it.
  template <typename Visit>
  void ForEachValue(const std::string& key, const Visit& visit) const {
    const auto values = keys_.find(key);
    if (values == keys_.end()) return;
    for (const auto& [value, slots] : values->second) visit(value, slots);
  }
  // Takes out of `hosts` all that do not meet the requirement.
  void Restrict(const Requirement& requirement, SlotSet& hosts, size_t size) const;

  // Labels of hosts in all; for audits.
  [[nodiscard]] size_t entries() const;

 private:
  using Values = absl::flat_hash_map<std::string, std::vector<HostSlot>>;

  absl::flat_hash_map<std::string, Values> keys_;
};

}  // namespace berth::placement

#endif  // BERTH_LIB_PLACEMENT_LABEL_INDEX_H_
