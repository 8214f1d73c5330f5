// SPDX-License-Identifier: Apache-2.0
//
// The hosts that a member of a gang may go to, in order of preference.
#include <algorithm>
#include <tuple>

#include "lib/placement/engine_gang.h"
#include "lib/placement/hash.h"

namespace berth::placement {
namespace {

using Kind = GangConstraint::Kind;

// So many hosts are put in order by themselves; where there are more, all are walked.
constexpr size_t kFewHosts = 1024;
// Hosts that may be turned away before it is looked up which can be taken at all.
constexpr uint64_t kPatience = 64;

}  // namespace

std::map<std::string, uint32_t> Engine::Gang::ClassesOf(const Request& request) {
  std::map<std::string, uint32_t> classes;
  for (const DeviceRequest& device : request.devices) {
    classes[device.alternatives[0].device_class] += device.alternatives[0].count;
  }
  return classes;
}

std::optional<Obstacle> Engine::Gang::Outside(Turn& turn, HostSlot slot) const {
  const HostRecord& host = *engine_.hosts_[slot];
  if (!host.schedulable()) {
    if (!host.defect.empty()) return Obstacle::kDefect;
    return host.schedulability == Schedulability::kCordoned ? Obstacle::kCordoned
                                                            : Obstacle::kNotReady;
  }
  if (!Allowed(turn.member, host, slot)) return Obstacle::kGang;
  const auto barred = barred_.find(turn.wish);
  if (barred != barred_.end() && barred->second.contains(slot)) return Obstacle::kCompetition;
  const bool room =
      std::all_of(turn.together.begin(), turn.together.end(), [&](const auto& needed) {
        const ClassSummary* summary = host.FindClass(needed.first);
        return summary != nullptr && summary->devices[kPlaceable] >= needed.second;
      });
  if (!room) return Obstacle::kCompetition;
  for (const size_t c : turn.member.constraints) {
    const GangConstraint& constraint = request_.constraints[c];
    if (constraint.kind != Kind::kSameLabel || LabelToShare(c) != nullptr) continue;
    const std::string& value = host.labels.at(constraint.label);
    const std::vector<HostSlot>& hosts = engine_.labels_.Hosts(constraint.label, value);
    if (!HasRoomAt(turn, c, value, hosts)) return Obstacle::kGang;
  }
  return std::nullopt;
}

bool Engine::Gang::Allowed(const Member& member, const HostRecord& host, HostSlot slot) const {
  return std::all_of(member.constraints.begin(), member.constraints.end(), [&](size_t c) {
    const GangConstraint& constraint = request_.constraints[c];
    const auto label = host.labels.find(constraint.label);
    if (constraint.kind == Kind::kSameLabel && label == host.labels.end()) return false;
    for (size_t other = 0; other < members_.size(); ++other) {
      const std::optional<HostSlot> its = members_[other].slot;
      if (!its.has_value() || !constraint.Binds(other)) continue;
      switch (constraint.kind) {
        case Kind::kSameHost:
          return *its == slot;
        case Kind::kSameLabel:
          return engine_.hosts_[*its]->labels.at(constraint.label) == label->second;
        case Kind::kDistinctHosts:
          if (*its == slot) return false;
      }
    }
    return true;
  });
}

const std::string* Engine::Gang::LabelToShare(size_t c) const {
  const GangConstraint& constraint = request_.constraints[c];
  for (size_t other = 0; other < members_.size(); ++other) {
    if (members_[other].slot.has_value() && constraint.Binds(other)) {
      return &engine_.hosts_[*members_[other].slot]->labels.at(constraint.label);
    }
  }
  return nullptr;
}

bool Engine::Gang::HasRoomAt(Turn& turn, size_t c, const std::string& value,
                             const std::vector<HostSlot>& hosts) const {
  const auto known = turn.room.find({c, value});
  if (known != turn.room.end()) return known->second;
  return turn.room.emplace(std::pair(c, value), HasRoom(c, hosts)).first->second;
}

bool Engine::Gang::HasRoom(size_t c, const std::vector<HostSlot>& hosts) const {
  struct Need {
    std::vector<std::pair<ClassNumber, uint32_t>> classes;
    bool apart = false;
    uint64_t members = 0;
    uint64_t places = 0;
  };
  std::map<size_t, Need> needs;            // by kind of member
  std::map<ClassNumber, int64_t> devices;  // that are missing still
  for (size_t i = 0; i < members_.size(); ++i) {
    const Member& member = members_[i];
    if (!member.one_way || !request_.constraints[c].Binds(i)) continue;
    Need& need = needs[member.kind];
    for (const auto& [name, count] : ClassesOf(*member.request)) {
      const std::optional<ClassNumber> number = engine_.kinds_.FindClass(name);
      if (!number.has_value()) return false;
      if (need.members == 0) need.classes.emplace_back(*number, count);
      devices[*number] += count;
    }
    need.apart = KeepsApart(member);
    ++need.members;
  }
  for (const HostSlot slot : hosts) {
    const HostRecord& host = *engine_.hosts_[slot];
    if (!host.schedulable()) continue;
    const auto placeable = [&host](ClassNumber number) -> uint64_t {
      const ClassSummary* summary = host.FindClass(number);
      return summary == nullptr ? 0 : summary->devices[kPlaceable];
    };
    for (auto& [number, missing] : devices) missing -= static_cast<int64_t>(placeable(number));
    bool enough = std::all_of(devices.begin(), devices.end(),
                              [](const auto& missing) { return missing.second <= 0; });
    for (auto& [kind, need] : needs) {
      uint64_t places = need.apart ? 1 : need.members;
      for (const auto& [number, count] : need.classes) {
        places = std::min(places, placeable(number) / count);
      }
      need.places += places;
      enough = enough && need.places >= need.members;
    }
    if (enough) return true;
  }
  return false;
}

std::optional<HostSlot> Engine::Gang::HostToShare(const Member& member) const {
  for (const size_t c : member.constraints) {
    if (request_.constraints[c].kind != Kind::kSameHost) continue;
    for (size_t other = 0; other < members_.size(); ++other) {
      if (members_[other].slot.has_value() && request_.constraints[c].Binds(other)) {
        return members_[other].slot;
      }
    }
  }
  return std::nullopt;
}

std::optional<std::vector<HostSlot>> Engine::Gang::HostsOfLabel(const Turn& turn) const {
  for (const size_t c : turn.member.constraints) {
    const GangConstraint& constraint = request_.constraints[c];
    if (constraint.kind != Kind::kSameLabel) continue;
    if (const std::string* value = LabelToShare(c)) {
      const std::vector<HostSlot>& hosts = engine_.labels_.Hosts(constraint.label, *value);
      if (hosts.size() <= kFewHosts) return InOrder(turn, hosts);
    }
  }
  return std::nullopt;
}

std::optional<std::vector<HostSlot>> Engine::Gang::HostsWithRoom(Turn& turn) const {
  for (const size_t c : turn.member.constraints) {
    const GangConstraint& constraint = request_.constraints[c];
    if (constraint.kind != Kind::kSameLabel || LabelToShare(c) != nullptr) continue;
    std::vector<HostSlot> all;
    const auto add = [&](const std::string& value, const std::vector<HostSlot>& hosts) {
      if (HasRoomAt(turn, c, value, hosts) && all.size() <= kFewHosts) {
        all.insert(all.end(), hosts.begin(), hosts.end());
      }
    };
    engine_.labels_.ForEachValue(constraint.label, add);
    if (all.size() <= kFewHosts) return InOrder(turn, all);
  }
  return std::nullopt;
}

std::vector<HostSlot> Engine::Gang::InOrder(const Turn& turn,
                                            const std::vector<HostSlot>& hosts) const {
  std::vector<uint64_t> kinds;
  const Index::Query query = QueryFor(turn, kinds);
  const uint64_t start = Index::RingStart(query.seed);
  struct Place {
    Index::Standing::Kind kind;
    std::pair<uint32_t, uint64_t> order;
    bool wrapped;
    uint64_t hash;
    HostSlot slot;
  };
  std::vector<Place> places;
  for (const HostSlot slot : hosts) {
    const HostRecord& host = *engine_.hosts_[slot];
    const Index::Standing standing = Index::StandingOf(query, host.FindClass(query.device_class));
    places.push_back({standing.kind, standing.order, host.hash < start, host.hash, slot});
  }
  // Those that the index would turn away come last.
  std::sort(places.begin(), places.end(), [](const Place& a, const Place& b) {
    return std::tie(a.kind, a.order, a.wrapped, a.hash, a.slot) <
           std::tie(b.kind, b.order, b.wrapped, b.hash, b.slot);
  });
  std::vector<HostSlot> slots;
  slots.reserve(places.size());
  for (const Place& place : places) slots.push_back(place.slot);
  return slots;
}

Index::Query Engine::Gang::QueryFor(const Turn& turn, std::vector<uint64_t>& kinds) const {
  Index::Query query = engine_.QueryFor(turn.demand, kinds);
  const auto together = turn.together.find(query.device_class);
  if (together != turn.together.end()) query.on_host = together->second;
  return query;
}

std::optional<HostSlot> Engine::Gang::FirstHost(Turn& turn) {
  std::optional<HostSlot> found;
  Explanation explanation;
  const uint64_t hosts = engine_.slots_.size();
  uint64_t turned_away = 0;
  const auto visit = [&](HostSlot slot) {
    const HostRecord& host = *engine_.hosts_[slot];
    std::optional<Obstacle> obstacle = Outside(turn, slot);
    turned_away += obstacle.has_value() ? 1 : 0;
    if (!(obstacle.has_value() ? Pass() : Spend())) return true;
    if (!obstacle.has_value()) obstacle = turn.member.fit->Try(host, budget_);
    if (!obstacle.has_value()) {
      found = slot;
      return true;
    }
    complete_ &= obstacle != Obstacle::kSearchBudget;
    explanation.CountHost(*obstacle, host.id);
    return budget_ == 0;
  };
  // Those alone; what is elsewhere cannot go with the rest of the gang.
  const auto visit_only = [&](const std::vector<HostSlot>& slots) {
    explanation = {};
    explanation.Count(Obstacle::kGang, hosts - slots.size());
    for (const HostSlot slot : slots) {
      if (visit(slot)) break;
    }
  };
  const std::optional<HostSlot> shared = HostToShare(turn.member);
  std::optional<std::vector<HostSlot>> few;
  if (shared.has_value()) few.emplace(1, *shared);
  const bool any = turn.demand.classes[0].device_class.has_value();
  if (!few.has_value() && any) few = HostsOfLabel(turn);
  Index::Walked walked;
  if (few.has_value()) {
    visit_only(*few);
  } else if (any) {
    std::vector<uint64_t> kinds;
    const Index::Query query = QueryFor(turn, kinds);
    walked = engine_.index_.Walk(
        query, [&](HostSlot slot) { return visit(slot) || turned_away > kPatience; });
    if (!found.has_value() && budget_ > 0 && turned_away > kPatience) {
      few = HostsWithRoom(turn);
      if (few.has_value()) {
        visit_only(*few);
      } else {
        explanation = {};
        walked = engine_.index_.Walk(query, visit);
      }
    }
  }
  if (found.has_value() || budget_ == 0) return found;
  explanation.hosts = hosts;
  if (!few.has_value()) engine_.CountUnvisited(turn.demand, walked, explanation);
  NoteDeadEnd(turn, std::move(explanation));
  return std::nullopt;
}

std::vector<Engine::Gang::Likes> Engine::Gang::OtherHosts(Turn& turn) {
  std::vector<Likes> found;
  if (HostToShare(turn.member).has_value()) return found;
  absl::flat_hash_map<uint64_t, size_t> known;  // to a place in `found`, or to kUnfit
  constexpr size_t kUnfit = ~size_t{0};
  std::vector<HostSlot> refused;
  const auto visit = [&](HostSlot slot) {
    if (Outside(turn, slot).has_value()) return !Pass();
    if (!Spend()) return true;
    const uint64_t likeness = Likeness(turn, slot);
    if (turn.refused.contains(likeness)) {
      refused.push_back(slot);
      return false;
    }
    const auto [it, is_new] = known.emplace(likeness, found.size());
    if (!is_new) {
      if (it->second != kUnfit) found[it->second].push_back(slot);
      return false;
    }
    const std::optional<Obstacle> obstacle = turn.member.fit->Try(*engine_.hosts_[slot], budget_);
    complete_ &= obstacle != Obstacle::kSearchBudget;
    if (obstacle.has_value()) {
      it->second = kUnfit;
    } else {
      found.push_back({slot});
    }
    return false;
  };
  std::optional<std::vector<HostSlot>> few = HostsOfLabel(turn);
  if (!few.has_value()) few = HostsWithRoom(turn);
  if (few.has_value()) {
    for (const HostSlot slot : *few) {
      if (visit(slot)) break;
    }
  } else {
    std::vector<uint64_t> kinds;
    engine_.index_.Walk(QueryFor(turn, kinds), visit);
  }
  Bar(turn, refused);
  return found;
}

uint64_t Engine::Gang::Likeness(const Turn& turn, HostSlot slot) const {
  const HostRecord& host = *engine_.hosts_[slot];
  uint64_t hash = engine_.profiles_[static_cast<size_t>(View::kNow)].LikenessOf(slot);
  for (const std::string& label : labels_) {
    const auto value = host.labels.find(label);
    hash = Combine(hash, value == host.labels.end() ? 0 : StableHash(value->second));
  }
  hash = Combine(hash, excluded_.contains(host.id) ? 1 : 0);
  for (const Avoid& avoid : turn.to_come) hash = Combine(hash, avoid.Forbids(host) ? 1 : 0);
  const bool ours = std::any_of(members_.begin(), members_.end(),
                                [&](const Member& member) { return member.slot == slot; });
  return ours ? Combine(hash, slot) : hash;
}

}  // namespace berth::placement
