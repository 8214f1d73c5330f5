// SPDX-License-Identifier: Apache-2.0
#include "lib/placement/engine_gang.h"

#include <algorithm>

#include "lib/base/status.h"

namespace berth::placement {
namespace {

using Kind = GangConstraint::Kind;

bool SharesGroup(const Request& a, const Request& b) {
  return std::any_of(a.anti_affinity.begin(), a.anti_affinity.end(), [&](const AntiAffinity& x) {
    return std::any_of(b.anti_affinity.begin(), b.anti_affinity.end(),
                       [&](const AntiAffinity& y) { return x.group == y.group; });
  });
}

}  // namespace

absl::StatusOr<std::vector<Placement>> Engine::PlaceGang(const GangRequest& request,
                                                         const ExcludedHosts& excluded) {
  BERTH_RETURN_IF_ERROR(ValidateGang(request));
  Gang gang(*this, request, excluded);
  std::optional<std::vector<Placement>> placements = gang.Run();
  if (placements.has_value()) return *std::move(placements);
  return gang.explanation().ToStatus();
}

Engine::Gang::Gang(Engine& engine, const GangRequest& request, const ExcludedHosts& excluded)
    : engine_(engine),
      request_(request),
      excluded_(excluded),
      members_(request.members.size()),
      budget_(engine.options_.steps_per_decision) {
  for (const GangConstraint& constraint : request.constraints) {
    if (constraint.kind == Kind::kSameLabel) labels_.insert(constraint.label);
  }
  for (size_t i = 0; i < members_.size(); ++i) Classify(i);
  SortMembers();
  explanation_.members = members_.size();
  explanation_.explanation.hosts = engine.slots_.size();
}

void Engine::Gang::Classify(size_t index) {
  Member& member = members_[index];
  const Request& request = request_.members[index];
  member.request = &request;
  member.fit = std::make_unique<HostFit>(engine_.kinds_, engine_.options_.steps_per_host);
  for (const auto& [name, count] : ClassesOf(request)) member.devices += count;
  member.one_way = std::all_of(request.devices.begin(), request.devices.end(),
                               [](const auto& device) { return device.alternatives.size() == 1; });
  for (size_t c = 0; c < request_.constraints.size(); ++c) {
    if (request_.constraints[c].Binds(index)) member.constraints.push_back(c);
  }
  for (const Requirement& requirement : request.host_selector) labels_.insert(requirement.key);
  for (const AntiAffinity& term : request.anti_affinity) {
    apart_ = true;
    if (!term.label.empty()) labels_.insert(term.label);
  }
  member.kind = index;
  for (size_t other = 0; other < index; ++other) {
    if (members_[other].constraints == member.constraints && *members_[other].request == request) {
      member.kind = members_[other].kind;
      return;
    }
  }
}

void Engine::Gang::SortMembers() {
  std::vector<size_t> by_size(members_.size());
  for (size_t i = 0; i < by_size.size(); ++i) by_size[i] = i;
  std::stable_sort(by_size.begin(), by_size.end(),
                   [&](size_t a, size_t b) { return members_[a].devices > members_[b].devices; });
  // Those that must share a host go one after the other.
  std::vector<bool> taken(members_.size());
  const auto take = [&](size_t member) {
    if (!taken[member]) order_.push_back(member);
    taken[member] = true;
  };
  for (const size_t member : by_size) {
    take(member);
    for (const size_t c : members_[member].constraints) {
      if (request_.constraints[c].kind != Kind::kSameHost) continue;
      for (const size_t other : by_size) {
        if (request_.constraints[c].Binds(other)) take(other);
      }
    }
  }
}

bool Engine::Gang::FailsAlone() {
  for (size_t i = 0; i < members_.size(); ++i) {
    if (members_[i].kind != i) continue;
    Explanation alone;
    engine_.Decide(*members_[i].request, excluded_, alone);
    if (alone.placement.has_value()) continue;
    explanation_.member = i;
    explanation_.complete = alone.complete;
    explanation_.explanation = std::move(alone);
    return true;
  }
  return false;
}

std::optional<std::vector<Placement>> Engine::Gang::Run() {
  if (FailsAlone()) return std::nullopt;
  const Verdict verdict = Place(0);
  explanation_.complete = complete_ && verdict != Verdict::kBudgetEnded;
  if (verdict != Verdict::kFits) return std::nullopt;
  std::vector<Placement> placements;
  for (Member& member : members_) placements.push_back(std::move(member.placement));
  return placements;
}

bool Engine::Gang::Spend() {
  if (budget_ == 0) return false;
  --budget_;
  return true;
}

bool Engine::Gang::Pass() {
  constexpr uint64_t kPassesPerStep = 16;
  return ++passed_ % kPassesPerStep != 0 || Spend();
}

Verdict Engine::Gang::Place(size_t depth) {
  if (depth == order_.size()) return Verdict::kFits;
  if (budget_ == 0) return Verdict::kBudgetEnded;
  // Only after a dead end, which is what an answer is made of.
  if (dead_end_ && Hopeless(depth)) return Verdict::kDoesNotFit;
  const size_t index = order_[depth];
  Member& member = members_[index];
  std::vector<size_t> choice(member.request->devices.size(), 0);
  std::vector<std::pair<Wish, HostSlot>> bars;
  Verdict verdict = Verdict::kDoesNotFit;
  bool more = true;
  for (size_t way = 0; more && verdict == Verdict::kDoesNotFit; ++way) {
    if (way == engine_.options_.combinations) {
      complete_ = false;
      break;
    }
    Turn turn{.depth = depth,
              .index = index,
              .member = member,
              .wish = {member.kind, way},
              .bars = bars,
              .demand = MakeDemand(*member.request, choice, engine_.kinds_),
              .avoid = engine_.WhatToAvoid(*member.request),
              .to_come = {},
              .refused = {},
              .together = {},
              .room = {}};
    turn.demand.avoid = &turn.avoid;
    verdict = PlaceWith(turn);
    more = NextChoice(*member.request, choice);
  }
  for (const auto& [wish, slot] : bars) barred_[wish].erase(slot);
  return verdict;
}

Verdict Engine::Gang::PlaceWith(Turn& turn) {
  LookAhead(turn);
  engine_.ChoosePrimary(turn.demand);
  turn.member.fit->Begin(turn.demand, excluded_, View::kNow);
  const std::optional<HostSlot> first = FirstHost(turn);
  if (!first.has_value()) return budget_ == 0 ? Verdict::kBudgetEnded : Verdict::kDoesNotFit;
  const uint64_t likeness = Likeness(turn, *first);
  Verdict verdict = PlaceOn(turn, *first);
  if (verdict != Verdict::kDoesNotFit) return verdict;
  turn.refused.insert(likeness);
  for (const Likes& likes : OtherHosts(turn)) {
    verdict = PlaceOn(turn, likes.front());
    if (verdict != Verdict::kDoesNotFit) return verdict;
    Bar(turn, likes);
  }
  return budget_ == 0 ? Verdict::kBudgetEnded : Verdict::kDoesNotFit;
}

void Engine::Gang::LookAhead(Turn& turn) const {
  std::set<size_t> kinds;
  for (size_t depth = turn.depth; apart_ && depth < order_.size(); ++depth) {
    const Member& member = members_[order_[depth]];
    if (member.request->anti_affinity.empty() || !kinds.insert(member.kind).second) continue;
    turn.to_come.push_back(engine_.WhatToAvoid(*member.request));
  }
  std::set<size_t> sharers;
  for (const size_t c : turn.member.constraints) {
    if (request_.constraints[c].kind != Kind::kSameHost) continue;
    for (size_t depth = turn.depth; depth < order_.size(); ++depth) {
      if (request_.constraints[c].Binds(order_[depth])) sharers.insert(order_[depth]);
    }
  }
  for (const size_t sharer : sharers) {
    if (!members_[sharer].one_way) continue;
    for (const auto& [name, count] : ClassesOf(*members_[sharer].request)) {
      const std::optional<ClassNumber> number = engine_.kinds_.FindClass(name);
      if (number.has_value()) turn.together[*number] += count;
    }
  }
}

void Engine::Gang::NoteDeadEnd(Turn& turn, Explanation explanation) {
  if (dead_end_ && turn.depth <= explanation_.placed) return;
  dead_end_ = true;
  explanation.device_class = turn.demand.ClassText();
  if (explanation.nearest.empty()) {
    engine_.fit_.Begin(turn.demand, excluded_, View::kNow);
    engine_.FindNearest(turn.demand, explanation);
  }
  explanation_.placed = turn.depth;
  explanation_.member = turn.index;
  explanation_.explanation = std::move(explanation);
}

void Engine::Gang::Bar(Turn& turn, const Likes& slots) {
  absl::flat_hash_set<HostSlot>& barred = barred_[turn.wish];
  for (const HostSlot slot : slots) {
    if (barred.insert(slot).second) turn.bars.emplace_back(turn.wish, slot);
  }
}

Verdict Engine::Gang::PlaceOn(Turn& turn, HostSlot slot) {
  HostFit& fit = *turn.member.fit;
  const HostRecord& host = *engine_.hosts_[slot];
  // It fits, as was found before; here it comes to how.
  if (fit.Try(host, budget_).has_value()) return Verdict::kBudgetEnded;
  absl::flat_hash_set<uint64_t> seen;
  Verdict verdict = Proceed(turn, slot, fit.TakePlacement(host), seen);
  if (verdict != Verdict::kDoesNotFit || !Contested(turn)) return verdict;
  const Verdict rest = fit.TryEach(host, budget_, [&] {
    verdict = Proceed(turn, slot, fit.TakePlacement(host), seen);
    if (verdict == Verdict::kDoesNotFit) return Search::Answer::kNext;
    return verdict == Verdict::kFits ? Search::Answer::kTake : Search::Answer::kStop;
  });
  // The host's own share of steps has ended: there may be more ways on it.
  if (verdict == Verdict::kDoesNotFit && rest == Verdict::kBudgetEnded) complete_ = false;
  return verdict;
}

Verdict Engine::Gang::Proceed(Turn& turn, HostSlot slot, const Placement& placement,
                              absl::flat_hash_set<uint64_t>& seen) {
  engine_.Charge(placement, Direction::kIn);
  turn.member.slot = slot;
  Verdict verdict = Verdict::kDoesNotFit;
  if (seen.insert(engine_.profiles_[static_cast<size_t>(View::kNow)].LikenessOf(slot)).second)
    verdict = Place(turn.depth + 1);
  turn.member.slot.reset();
  engine_.Charge(placement, Direction::kOut);
  if (verdict == Verdict::kFits) turn.member.placement = placement;
  return verdict;
}

bool Engine::Gang::Contested(const Turn& turn) const {
  const Member& mine = turn.member;
  for (size_t depth = turn.depth + 1; depth < order_.size(); ++depth) {
    const size_t other = order_[depth];
    if (SharesGroup(*mine.request, *members_[other].request)) continue;
    if (std::none_of(mine.constraints.begin(), mine.constraints.end(), [&](size_t c) {
          const GangConstraint& constraint = request_.constraints[c];
          return constraint.kind == Kind::kDistinctHosts && constraint.Binds(other);
        })) {
      return true;
    }
  }
  return false;
}

bool Engine::Gang::Hopeless(size_t depth) const {
  std::map<size_t, uint64_t> wanted;  // by kind
  for (; depth < order_.size(); ++depth) ++wanted[members_[order_[depth]].kind];
  return std::any_of(wanted.begin(), wanted.end(), [&](const auto& kind) {
    const Member& member = members_[kind.first];
    return member.one_way && Room(member, kind.second) < kind.second;
  });
}

bool Engine::Gang::KeepsApart(const Member& member) const {
  // Members of one kind are bound by the same constraints, so one that binds this binds all.
  return !member.request->anti_affinity.empty() ||
         std::any_of(member.constraints.begin(), member.constraints.end(), [&](size_t c) {
           return request_.constraints[c].kind == Kind::kDistinctHosts;
         });
}

uint64_t Engine::Gang::Room(const Member& member, uint64_t wanted) const {
  const bool distinct = KeepsApart(member);
  uint64_t room = wanted;
  for (const auto& [name, count] : ClassesOf(*member.request)) {
    const std::optional<ClassNumber> number = engine_.kinds_.FindClass(name);
    if (!number.has_value()) return 0;
    uint64_t here = 0;
    for (uint64_t on_one = 1; on_one <= (distinct ? 1 : wanted) && here < wanted; ++on_one) {
      here += engine_.index_.CountHosts(*number, kPlaceable, static_cast<uint32_t>(on_one * count));
    }
    room = std::min(room, here);
  }
  return room;
}

}  // namespace berth::placement
