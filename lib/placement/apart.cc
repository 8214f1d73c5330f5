// SPDX-License-Identifier: Apache-2.0
#include "lib/placement/apart.h"

#include <algorithm>

namespace berth::placement {

bool Avoid::LacksLabel(const HostRecord& host) const {
  return std::any_of(labels.begin(), labels.end(),
                     [&](const std::string& label) { return !host.labels.contains(label); });
}

bool Avoid::Forbids(const HostRecord& host) const {
  if (hosts.contains(host.id) || LacksLabel(host)) return true;
  return std::any_of(values.begin(), values.end(), [&](const auto& taken) {
    const auto label = host.labels.find(taken.first);
    return label != host.labels.end() && taken.second.contains(label->second);
  });
}

void ApartTable::Count(const Placement& placement, Direction direction) {
  for (const AntiAffinity& term : placement.anti_affinity) {
    const Place place{placement.host, term.label};
    if (direction == Direction::kIn) {
      ++groups_[term.group][place];
      continue;
    }
    const auto group = groups_.find(term.group);
    if (group == groups_.end()) continue;
    const auto count = group->second.find(place);
    if (count == group->second.end()) continue;
    if (--count->second == 0) group->second.erase(count);
    if (group->second.empty()) groups_.erase(group);
  }
}

Avoid ApartTable::Find(const std::vector<AntiAffinity>& terms, LabelsOf labels_of) const {
  Avoid avoid;
  for (const AntiAffinity& term : terms) {
    if (!term.label.empty()) avoid.labels.push_back(term.label);
    const auto group = groups_.find(term.group);
    if (group == groups_.end()) continue;
    for (const auto& [place, members] : group->second) {
      avoid.hosts.insert(place.host);
      const std::map<std::string, std::string>* labels = labels_of(place.host);
      if (labels == nullptr) continue;
      // The newcomer's distance, and that which whoever is there was promised.
      for (const std::string& label : {term.label, place.label}) {
        const auto value = label.empty() ? labels->end() : labels->find(label);
        if (value != labels->end()) avoid.values[label].insert(value->second);
      }
    }
  }
  return avoid;
}

}  // namespace berth::placement
