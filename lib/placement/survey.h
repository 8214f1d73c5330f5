// SPDX-License-Identifier: Apache-2.0
//
// One demand against all hosts at once: what hosts that are alike but for names and labels have in
// common is looked at once, and names and labels are looked up rather than compared.
#ifndef BERTH_LIB_PLACEMENT_SURVEY_H_
#define BERTH_LIB_PLACEMENT_SURVEY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/placement/engine.h"

namespace berth::placement {

// For one decision. Borrows all that it is given, and the engine's HostFit, which must have begun
// with the same demand and view.
class Engine::Survey {
 public:
  Survey(Engine& engine, const Demand& demand, const ExcludedHosts& excluded, View view);

  // The first of the profile's hosts, in the ring that is entered at `start`, that its name and
  // labels do not keep from the demand.
  [[nodiscard]] std::optional<HostSlot> FirstPassing(ProfileNumber profile, uint64_t start) const;

  // Counts the profile's hosts by what keeps each of them off. `rest`: what keeps off those that
  // pass so far; asked for when there are any. kNow: false when it answers that they fit.
  template <typename Rest>
  bool CountHosts(ProfileNumber profile, const Rest& rest);

  // With the host that came farthest, and of those the first by hash.
  void Fill(Explanation& explanation) const;

 private:
  struct Tally {
    uint64_t excluded = 0;
    uint64_t selected = 0;   // and not excluded
    uint64_t forbidden = 0;  // by anti-affinity, and neither of the above keeps them off
  };

  void Exclude(const ExcludedHosts& excluded);
  void Select();
  void Forbid(const Avoid& avoid);
  void Count(Obstacle obstacle, uint64_t hosts, ProfileNumber profile);
  // What its name or labels keep the host off for.
  [[nodiscard]] std::optional<Obstacle> NameObstacle(HostSlot slot) const;

  Engine& engine_;
  const Demand& demand_;
  const View view_;
  const ProfileTable& profiles_;
  std::vector<Tally> tallies_;  // by profile
  std::optional<SlotSet> excluded_;
  std::optional<SlotSet> selected_;
  std::optional<SlotSet> forbidden_;
  std::array<uint64_t, kObstacles> failed_{};
  std::optional<Obstacle> farthest_;
  ProfileTable::Members::value_type nearest_;
};

template <typename Rest>
bool Engine::Survey::CountHosts(ProfileNumber profile, const Rest& rest) {
  const ProfileTable::Members& members = profiles_.members(profile);
  const HostRecord& host = *engine_.hosts_[members.begin()->second];
  if (const auto obstacle = engine_.fit_.TryBeforeNames(host)) {
    Count(*obstacle, members.size(), profile);
    return true;
  }
  const Tally& tally = tallies_[profile];
  Count(Obstacle::kExcluded, tally.excluded, profile);
  Count(Obstacle::kSelector, members.size() - tally.excluded - tally.selected, profile);
  if (engine_.fit_.IsTainted(host)) {
    Count(Obstacle::kTaint, tally.selected, profile);
    return true;
  }
  Count(Obstacle::kAntiAffinity, tally.forbidden, profile);
  if (tally.selected == tally.forbidden) return true;
  const std::optional<Obstacle> obstacle = rest(host);
  if (!obstacle.has_value()) return false;
  Count(*obstacle, tally.selected - tally.forbidden, profile);
  return true;
}

}  // namespace berth::placement

#endif  // BERTH_LIB_PLACEMENT_SURVEY_H_
