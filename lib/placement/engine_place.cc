// SPDX-License-Identifier: Apache-2.0
//
// Decisions of the engine.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/placement/engine.h"

namespace berth::placement {
namespace {

// Steps that the search for an obstacle of the nearest host, and the proof that a request is
// unsatisfiable, may take in addition to the decision's.
constexpr uint64_t kExtraSteps = 20'000;

}  // namespace

absl::StatusOr<Placement> Engine::Place(const Request& request, const ExcludedHosts& excluded) {
  BERTH_RETURN_IF_ERROR(ValidateRequest(request));
  Explanation explanation;
  Decide(request, excluded, explanation);
  if (explanation.placement.has_value()) return *std::move(explanation.placement);
  return explanation.ToStatus();
}

absl::StatusOr<Explanation> Engine::Explain(const Request& request, const ExcludedHosts& excluded) {
  BERTH_RETURN_IF_ERROR(ValidateRequest(request));
  Explanation explanation;
  Decide(request, excluded, explanation);
  return explanation;
}

void Engine::Decide(const Request& request, const ExcludedHosts& excluded,
                    Explanation& explanation) {
  uint64_t budget = options_.steps_per_decision;
  uint64_t combinations = options_.combinations;
  std::vector<size_t> choice(request.devices.size(), 0);
  Explanation if_empty;
  const Avoid avoid = WhatToAvoid(request);
  bool first = true;
  bool more = true;
  for (; more && combinations > 0; --combinations) {
    Demand demand = MakeDemand(request, choice, kinds_);
    demand.avoid = &avoid;
    Explanation attempt;
    Explanation attempt_if_empty;
    Attempt(demand, excluded, budget, attempt, attempt_if_empty);
    if (attempt.placement.has_value()) {
      explanation = std::move(attempt);
      return;
    }
    const bool complete = explanation.complete && attempt.complete;
    const bool unsatisfiable = attempt.unsatisfiable && (first || explanation.unsatisfiable);
    if (first) {
      explanation = std::move(attempt);
      if_empty = std::move(attempt_if_empty);
    }
    explanation.complete = complete;
    explanation.unsatisfiable = unsatisfiable;
    first = false;
    more = NextChoice(request, choice);
  }
  if (more) {
    explanation.complete = false;
    explanation.unsatisfiable = false;
  }
  if (!explanation.unsatisfiable) return;
  // What is in use now is no reason for what would not fit an empty fleet either.
  explanation.failed = if_empty.failed;
  explanation.nearest = std::move(if_empty.nearest);
  explanation.nearest_lacks = if_empty.nearest_lacks;
}

Avoid Engine::WhatToAvoid(const Request& request) const {
  return apart_.Find(request.anti_affinity, [this](const HostId& host) {
    const HostRecord* record = Find(host);
    return record == nullptr ? nullptr : &record->labels;
  });
}

void Engine::ChoosePrimary(Demand& demand) const {
  size_t best = 0;
  uint64_t fewest = ~uint64_t{0};
  for (size_t i = 0; i < demand.classes.size(); ++i) {
    const Demand::ClassTotal& total = demand.classes[i];
    const uint64_t hosts = total.device_class.has_value()
                               ? index_.CountHosts(*total.device_class, kPlaceable, total.devices)
                               : 0;
    if (hosts < fewest) {
      fewest = hosts;
      best = i;
    }
  }
  SetPrimary(best, demand);
}

Index::Query Engine::QueryFor(const Demand& demand, std::vector<uint64_t>& kinds) const {
  const Demand::ClassTotal& primary = demand.classes[0];
  for (const Demand::Item& item : demand.items) {
    if (item.device_class == primary.device_class && !item.spec->requirements.empty()) {
      kinds.push_back(item.kind_bits);
    }
  }
  Index::Query query;
  query.device_class = *primary.device_class;
  query.devices = primary.devices;
  query.same_unit = primary.same_unit;
  query.policy = demand.request->policy;
  query.seed = demand.request->seed;
  query.kinds = kinds;
  return query;
}

void Engine::Attempt(Demand& demand, const ExcludedHosts& excluded, uint64_t& budget,
                     Explanation& explanation, Explanation& if_empty) {
  explanation.hosts = slots_.size();
  ChoosePrimary(demand);
  fit_.Begin(demand, excluded, View::kNow);
  Index::Walked walked;
  if (demand.classes[0].device_class.has_value()) {
    std::vector<uint64_t> kinds;
    uint64_t singles = 0;
    walked = index_.Walk(QueryFor(demand, kinds), [&](HostSlot slot) {
      if (++singles > options_.single_hosts) return true;
      const HostRecord& host = *hosts_[slot];
      const std::optional<Obstacle> obstacle = fit_.Try(host, budget);
      if (!obstacle.has_value()) {
        explanation.placement = fit_.TakePlacement(host);
        return true;
      }
      explanation.CountHost(*obstacle, host.id);
      return budget == 0;
    });
    if (singles > options_.single_hosts) {
      walked = AttemptByProfile(demand, excluded, budget, explanation);
    }
  }
  if (explanation.placement.has_value()) {
    explanation.failed = {};
    explanation.nearest = HostId();
    return;
  }
  explanation.device_class = demand.ClassText();
  CountUnvisited(demand, walked, explanation);
  explanation.complete = explanation.failed[static_cast<size_t>(Obstacle::kSearchBudget)] == 0;
  if (explanation.nearest.empty()) FindNearest(demand, explanation);
  explanation.unsatisfiable =
      explanation.complete && ProveUnsatisfiable(demand, excluded, if_empty);
}

void Engine::CountUnvisited(const Demand& demand, const Index::Walked& walked,
                            Explanation& explanation) const {
  explanation.Count(Obstacle::kCordoned, states_[static_cast<size_t>(Schedulability::kCordoned)]);
  explanation.Count(Obstacle::kNotReady, states_[static_cast<size_t>(Schedulability::kNotReady)]);
  explanation.Count(Obstacle::kDefect, states_[kStates - 1]);
  const Demand::ClassTotal& primary = demand.classes[0];
  uint64_t left = states_[static_cast<size_t>(Schedulability::kReady)];
  const auto keep = [&](Obstacle obstacle, Level level, uint32_t devices) {
    const uint64_t hosts = primary.device_class.has_value()
                               ? index_.CountHosts(*primary.device_class, level, devices)
                               : 0;
    explanation.Count(obstacle, left - hosts);
    left = hosts;
  };
  keep(Obstacle::kClass, kInstalled, 1);
  keep(Obstacle::kCount, kInstalled, primary.devices);
  keep(Obstacle::kAssignable, kAssignable, primary.devices);
  keep(Obstacle::kInUse, kFree, primary.devices);
  keep(Obstacle::kIommuGroup, kWholeGroup, primary.devices);
  keep(Obstacle::kVintfs, kPlaceable, primary.devices);
  // What is left had enough devices.
  explanation.Count(Obstacle::kAttributes, walked.wrong_kinds);
  explanation.Count(Obstacle::kSameUnit, walked.small_units);
  explanation.Count(Obstacle::kCompetition, walked.too_few);
  const uint64_t seen = walked.visited + walked.wrong_kinds + walked.small_units + walked.too_few;
  explanation.Count(Obstacle::kSearchBudget, left - std::min(left, seen));
}

void Engine::FindNearest(const Demand& demand, Explanation& explanation) {
  const Demand::ClassTotal& primary = demand.classes[0];
  if (!primary.device_class.has_value()) return;
  if (const auto slot = index_.Richest(*primary.device_class)) {
    const HostRecord& host = *hosts_[*slot];
    uint64_t steps = kExtraSteps;
    explanation.nearest = host.id;
    explanation.nearest_lacks = fit_.Try(host, steps).value_or(Obstacle::kSearchBudget);
    return;
  }
  index_.WalkPotential(*primary.device_class, 0, 0, [&](HostSlot slot) {
    const HostRecord& host = *hosts_[slot];
    explanation.nearest = host.id;
    explanation.nearest_lacks = !host.defect.empty() ? Obstacle::kDefect
                                : host.schedulability == Schedulability::kCordoned
                                    ? Obstacle::kCordoned
                                    : Obstacle::kNotReady;
    return true;
  });
}

bool Engine::ProveUnsatisfiable(const Demand& demand, const ExcludedHosts& excluded,
                                Explanation& if_empty) {
  if (slots_.empty()) return false;
  const Demand::ClassTotal& primary = demand.classes[0];
  if (!primary.device_class.has_value()) {
    if_empty.Count(Obstacle::kClass, slots_.size());
    return true;
  }
  fit_.Begin(demand, excluded, View::kEmpty);
  uint64_t steps = kExtraSteps;
  uint64_t visited = 0;
  bool proved = true;
  index_.WalkPotential(*primary.device_class, primary.devices, primary.same_unit,
                       [&](HostSlot slot) {
                         if (visited == options_.single_hosts) {
                           const auto all = ProveByProfile(demand, excluded, steps, if_empty);
                           proved = all.has_value();
                           visited = all.value_or(visited);
                           return true;
                         }
                         const std::optional<Obstacle> obstacle = fit_.Try(*hosts_[slot], steps);
                         if (!obstacle.has_value() || obstacle == Obstacle::kSearchBudget) {
                           proved = false;
                         } else {
                           if_empty.CountHost(*obstacle, hosts_[slot]->id);
                           ++visited;
                         }
                         return !proved;
                       });
  if (proved) CountUnvisitedIfEmpty(demand, visited, if_empty);
  return proved;
}

void Engine::CountUnvisitedIfEmpty(const Demand& demand, uint64_t visited, Explanation& if_empty) {
  const Demand::ClassTotal& primary = demand.classes[0];
  const Index::Potential potential = index_.CountPotential(*primary.device_class, primary.devices);
  if_empty.Count(Obstacle::kClass, slots_.size() - potential.hosts);
  if_empty.Count(Obstacle::kCount, potential.hosts - potential.installed);
  if_empty.Count(Obstacle::kAssignable, potential.installed - potential.assignable);
  if_empty.Count(Obstacle::kIommuGroup, potential.assignable - potential.potential);
  if_empty.Count(Obstacle::kSameUnit, potential.potential - visited);
  if (!if_empty.nearest.empty()) return;
  index_.WalkPotential(*primary.device_class, 0, 0, [&](HostSlot slot) {
    uint64_t steps = kExtraSteps;
    if_empty.nearest = hosts_[slot]->id;
    // It has the devices when its units alone keep it from being visited.
    if_empty.nearest_lacks = potential.potential > 0
                                 ? Obstacle::kSameUnit
                                 : fit_.Try(*hosts_[slot], steps).value_or(Obstacle::kSearchBudget);
    return true;
  });
}

}  // namespace berth::placement
