// SPDX-License-Identifier: Apache-2.0
#include "lib/placement/label_index.h"

#include <algorithm>

namespace berth::placement {

void LabelIndex::Update(HostSlot slot, const LabelMap& before, const LabelMap& now) {
  if (before == now) return;
  for (const auto& [key, value] : before) {
    const auto values = keys_.find(key);
    if (values == keys_.end()) continue;
    const auto slots = values->second.find(value);
    if (slots == values->second.end()) continue;
    const auto at = std::lower_bound(slots->second.begin(), slots->second.end(), slot);
    if (at != slots->second.end() && *at == slot) slots->second.erase(at);
    if (slots->second.empty()) values->second.erase(slots);
    if (values->second.empty()) keys_.erase(values);
  }
  for (const auto& [key, value] : now) {
    std::vector<HostSlot>& slots = keys_[key][value];
    slots.insert(std::lower_bound(slots.begin(), slots.end(), slot), slot);
  }
}

const std::vector<HostSlot>& LabelIndex::Hosts(const std::string& key,
                                               const std::string& value) const {
  static const std::vector<HostSlot>& none = *new std::vector<HostSlot>();
  const auto values = keys_.find(key);
  if (values == keys_.end()) return none;
  const auto slots = values->second.find(value);
  return slots == values->second.end() ? none : slots->second;
}

void LabelIndex::Restrict(const Requirement& requirement, SlotSet& hosts, size_t size) const {
  // Without the label a host meets NotIn and DoesNotExist, and nothing else.
  const bool if_missing = Meets(requirement, nullptr);
  SlotSet meets(size);
  const auto note = [&](const std::vector<HostSlot>& slots) {
    for (const HostSlot slot : slots) {
      if (if_missing) {
        hosts.Erase(slot);
      } else {
        meets.Insert(slot);
      }
    }
  };
  if (requirement.op == Operator::kIn || requirement.op == Operator::kNotIn) {
    for (const std::string& value : requirement.values) note(Hosts(requirement.key, value));
  } else {
    ForEachValue(requirement.key, [&](const std::string& text, const auto& slots) {
      const AttributeValue value = text;
      if (Meets(requirement, &value) != if_missing) note(slots);
    });
  }
  if (!if_missing) hosts.Intersect(meets);
}

size_t LabelIndex::entries() const {
  size_t entries = 0;
  for (const auto& [key, values] : keys_) {
    for (const auto& [value, slots] : values) entries += slots.size();
  }
  return entries;
}

}  // namespace berth::placement
