// SPDX-License-Identifier: Apache-2.0
#include "lib/placement/survey.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace berth::placement {

Engine::Survey::Survey(Engine& engine, const Demand& demand, const ExcludedHosts& excluded,
                       View view)
    : engine_(engine),
      demand_(demand),
      view_(view),
      profiles_(engine.profiles_[static_cast<size_t>(view)]),
      tallies_(profiles_.size()) {
  if (view == View::kNow) Exclude(excluded);
  Select();
  if (demand.avoid != nullptr) Forbid(*demand.avoid);
}

void Engine::Survey::Exclude(const ExcludedHosts& excluded) {
  if (excluded.empty()) return;
  excluded_.emplace(engine_.hosts_.size());
  for (const HostId& host : excluded) {
    const auto slot = engine_.slots_.find(host);
    if (slot == engine_.slots_.end()) continue;
    excluded_->Insert(slot->second);
    ++tallies_[profiles_.Of(slot->second)].excluded;
  }
}

void Engine::Survey::Select() {
  const std::vector<Requirement>& selector = demand_.request->host_selector;
  if (selector.empty()) {
    for (ProfileNumber profile = 0; profile < tallies_.size(); ++profile) {
      Tally& tally = tallies_[profile];
      tally.selected = profiles_.members(profile).size() - tally.excluded;
    }
    return;
  }
  selected_.emplace(engine_.hosts_.size());
  selected_->Fill(engine_.hosts_.size());
  for (const HostSlot slot : engine_.free_slots_) selected_->Erase(slot);
  for (const Requirement& requirement : selector) {
    engine_.labels_.Restrict(requirement, *selected_, engine_.hosts_.size());
  }
  selected_->ForEach([&](HostSlot slot) {
    if (excluded_.has_value() && excluded_->Contains(slot)) return;
    ++tallies_[profiles_.Of(slot)].selected;
  });
}

void Engine::Survey::Forbid(const Avoid& avoid) {
  if (avoid.hosts.empty() && avoid.labels.empty() && avoid.values.empty()) return;
  const size_t size = engine_.hosts_.size();
  forbidden_.emplace(size);
  for (const std::string& label : avoid.labels) {
    SlotSet lacking(size);
    lacking.Fill(size);
    for (const HostSlot slot : engine_.free_slots_) lacking.Erase(slot);
    engine_.labels_.ForEachValue(label, [&](const std::string&, const auto& slots) {
      for (const HostSlot slot : slots) lacking.Erase(slot);
    });
    lacking.ForEach([&](HostSlot slot) { forbidden_->Insert(slot); });
  }
  if (view_ == View::kNow) {
    for (const HostId& host : avoid.hosts) {
      const auto slot = engine_.slots_.find(host);
      if (slot != engine_.slots_.end()) forbidden_->Insert(slot->second);
    }
    for (const auto& [label, values] : avoid.values) {
      for (const std::string& value : values) {
        for (const HostSlot slot : engine_.labels_.Hosts(label, value)) forbidden_->Insert(slot);
      }
    }
  }
  forbidden_->ForEach([&](HostSlot slot) {
    if (NameObstacle(slot) == Obstacle::kAntiAffinity) ++tallies_[profiles_.Of(slot)].forbidden;
  });
}

std::optional<Obstacle> Engine::Survey::NameObstacle(HostSlot slot) const {
  if (excluded_.has_value() && excluded_->Contains(slot)) return Obstacle::kExcluded;
  if (selected_.has_value() && !selected_->Contains(slot)) return Obstacle::kSelector;
  if (forbidden_.has_value() && forbidden_->Contains(slot)) return Obstacle::kAntiAffinity;
  return std::nullopt;
}

std::optional<HostSlot> Engine::Survey::FirstPassing(ProfileNumber profile, uint64_t start) const {
  const Tally& tally = tallies_[profile];
  if (tally.selected == tally.forbidden) return std::nullopt;
  const ProfileTable::Members& members = profiles_.members(profile);
  const auto entry = members.lower_bound({start, 0});
  const auto passes = [&](const auto& member) { return !NameObstacle(member.second).has_value(); };
  auto found = std::find_if(entry, members.end(), passes);
  if (found == members.end()) found = std::find_if(members.begin(), entry, passes);
  return found->second;
}

void Engine::Survey::Count(Obstacle obstacle, uint64_t hosts, ProfileNumber profile) {
  if (hosts == 0) return;
  failed_[static_cast<size_t>(obstacle)] += hosts;
  if (farthest_.has_value() && obstacle < *farthest_) return;
  const ProfileTable::Members& members = profiles_.members(profile);
  const bool by_name = obstacle == Obstacle::kExcluded || obstacle == Obstacle::kSelector ||
                       obstacle == Obstacle::kAntiAffinity;
  const auto first = std::find_if(members.begin(), members.end(), [&](const auto& member) {
    if (hosts == members.size()) return true;
    const std::optional<Obstacle> its = NameObstacle(member.second);
    if (by_name) return its == obstacle;
    // A taint comes before anti-affinity.
    return !its.has_value() || (obstacle == Obstacle::kTaint && its == Obstacle::kAntiAffinity);
  });
  if (first == members.end()) return;
  if (farthest_ == obstacle && nearest_ < *first) return;
  farthest_ = obstacle;
  nearest_ = *first;
}

void Engine::Survey::Fill(Explanation& explanation) const {
  explanation.failed = failed_;
  explanation.nearest = HostId();
  if (!farthest_.has_value()) return;
  explanation.nearest = engine_.hosts_[nearest_.second]->id;
  explanation.nearest_lacks = *farthest_;
}

Index::Walked Engine::AttemptByProfile(const Demand& demand, const ExcludedHosts& excluded,
                                       uint64_t& budget, Explanation& explanation) {
  using Standing = Index::Standing;
  struct Candidate {
    std::pair<uint32_t, uint64_t> order;
    bool wrapped = false;  // around the ring
    ProfileTable::Members::value_type first;
    ProfileNumber profile = 0;
  };
  Survey survey(*this, demand, excluded, View::kNow);
  const ProfileTable& profiles = profiles_[static_cast<size_t>(View::kNow)];
  std::vector<uint64_t> kinds;
  const Index::Query query = QueryFor(demand, kinds);
  const uint64_t start = Index::RingStart(query.seed);
  Index::Walked walked;
  std::vector<Candidate> candidates;
  for (ProfileNumber profile = 0; profile < profiles.size(); ++profile) {
    const ProfileTable::Members& members = profiles.members(profile);
    if (members.empty()) continue;
    const HostRecord& host = *hosts_[members.begin()->second];
    if (!host.schedulable()) continue;
    const Standing standing = Index::StandingOf(query, host.FindClass(query.device_class));
    walked.wrong_kinds += standing.kind == Standing::Kind::kWrongKinds ? members.size() : 0;
    walked.small_units += standing.kind == Standing::Kind::kSmallUnits ? members.size() : 0;
    if (standing.kind != Standing::Kind::kVisited) continue;
    Candidate& candidate = candidates.emplace_back();
    candidate = {standing.order, false, *members.begin(), profile};
    const std::optional<HostSlot> passing = survey.FirstPassing(profile, start);
    if (!passing.has_value()) continue;
    const uint64_t hash = hosts_[*passing]->hash;
    candidate = {standing.order, hash < start, {hash, *passing}, profile};
  }
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return std::tie(a.order, a.wrapped, a.first) < std::tie(b.order, b.wrapped, b.first);
  });
  for (const Candidate& candidate : candidates) {
    const HostRecord& first = *hosts_[candidate.first.second];
    const auto rest = [&](const HostRecord& host) -> std::optional<Obstacle> {
      if (const auto obstacle = fit_.TryAfterNames(host, budget)) return obstacle;
      // Units and groups of hosts that are alike may be in another order, and take other steps.
      if (fit_.Try(first, budget).has_value()) return Obstacle::kSearchBudget;
      return std::nullopt;
    };
    if (!survey.CountHosts(candidate.profile, rest)) {
      explanation.placement = fit_.TakePlacement(first);
      return walked;
    }
    walked.visited += profiles.members(candidate.profile).size();
  }
  survey.Fill(explanation);
  return walked;
}

std::optional<uint64_t> Engine::ProveByProfile(const Demand& demand, const ExcludedHosts& excluded,
                                               uint64_t& steps, Explanation& if_empty) {
  Survey survey(*this, demand, excluded, View::kEmpty);
  const ProfileTable& profiles = profiles_[static_cast<size_t>(View::kEmpty)];
  const Demand::ClassTotal& primary = demand.classes[0];
  std::vector<std::pair<ProfileTable::Members::value_type, ProfileNumber>> found;
  for (ProfileNumber profile = 0; profile < profiles.size(); ++profile) {
    const ProfileTable::Members& members = profiles.members(profile);
    if (members.empty()) continue;
    const ClassSummary* summary = hosts_[members.begin()->second]->FindClass(*primary.device_class);
    if (summary == nullptr || summary->potential < primary.devices) continue;
    if (summary->potential_unit >= primary.same_unit) found.emplace_back(*members.begin(), profile);
  }
  std::sort(found.begin(), found.end());
  if (found.size() >= options_.hosts_for_proof) return std::nullopt;
  uint64_t visited = 0;
  for (const auto& [first, profile] : found) {
    const bool counted = survey.CountHosts(profile, [&](const HostRecord& host) {
      const std::optional<Obstacle> obstacle = fit_.TryAfterNames(host, steps);
      return obstacle == Obstacle::kSearchBudget ? std::nullopt : obstacle;
    });
    if (!counted) return std::nullopt;
    visited += profiles.members(profile).size();
  }
  survey.Fill(if_empty);
  return visited;
}

}  // namespace berth::placement
