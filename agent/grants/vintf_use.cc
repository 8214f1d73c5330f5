// SPDX-License-Identifier: Apache-2.0
#include "agent/grants/vintf_use.h"

#include <vector>

namespace berth {

VintfUse::Unit& VintfUse::At(const UnitId& unit) {
  absl::MutexLock lock(&mu_);
  std::unique_ptr<Unit>& known = units_[unit];
  if (known == nullptr) known = std::make_unique<Unit>();
  return *known;
}

void VintfUse::Take(const AssignmentUid& uid, const UnitId& unit, Share share) {
  Unit& at = At(unit);
  absl::MutexLock lock(&at.mu);
  at.grants[uid] = share;
}

void VintfUse::Return(const AssignmentUid& uid) {
  std::vector<Unit*> units;
  {
    absl::MutexLock lock(&mu_);
    for (const auto& [id, unit] : units_) units.push_back(unit.get());
  }
  for (Unit* unit : units) {
    absl::MutexLock lock(&unit->mu);
    unit->grants.erase(uid);
  }
}

void VintfUse::Count(const AssignmentUid& uid, const UnitId& unit,
                     const std::function<void(const Others&)>& count) {
  Unit& at = At(unit);
  absl::MutexLock lock(&at.mu);
  Others others = {.grants = 0, .all_have = true};
  for (const auto& [other, share] : at.grants) {
    if (other == uid) continue;
    ++others.grants;
    others.all_have = others.all_have && share == Share::kHas;
  }
  count(others);
}

}  // namespace berth
