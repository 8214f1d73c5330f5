// SPDX-License-Identifier: Apache-2.0
#include "lib/placement/search.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "lib/placement/hash.h"

namespace berth::placement {
namespace {

// Requests up to which all subsets are compared with what there is.
constexpr size_t kMaxSubsetItems = 6;

bool Covers(ItemMask items, size_t item) { return (items >> item & 1) != 0; }

bool HasKind(const Demand& demand, Constraint::Kind kind) {
  return std::any_of(demand.bonds.begin(), demand.bonds.end(),
                     [&](const Demand::Bond& bond) { return bond.kind == kind; });
}

}  // namespace

void Search::Start(const Rules& rules, Accept* accept) {
  accept_ = accept;
  sid_slots_ = rules.sid_slots;
  bonds_.clear();
  for (const Demand::Bond& bond : demand_->bonds) {
    if ((rules.constraints >> static_cast<uint32_t>(bond.kind) & 1) == 0) continue;
    bonds_.push_back({.rule = bond});
  }
  if (rules.one_unit) {
    bonds_.push_back({.rule = {Constraint::Kind::kSameUnit, demand_->AllItems(), nullptr}});
  }
  used_.assign(board_->candidates.size(), 0);
  group_devices_.assign(board_->groups.size(), 0);
  unit_devices_.assign(board_->units.size(), 0);
  unit_sids_.assign(board_->units.size(), 0);
  choices_.clear();
  failed_.clear();
  ended_ = false;
  signed_ = false;
}

Verdict Search::Run(const Board& board, const Demand& demand, const Rules& rules, uint64_t& budget,
                    Accept accept) {
  board_ = &board;
  demand_ = &demand;
  Start(rules, &accept);
  if (!Enough()) return Verdict::kDoesNotFit;
  budget_ = budget;
  const bool fits = Step(0, demand.items[0].spec->count, 0);
  budget = budget_;
  if (fits) return Verdict::kFits;
  return ended_ ? Verdict::kBudgetEnded : Verdict::kDoesNotFit;
}

bool Search::Enough() const {
  const size_t items = demand_->items.size();
  if (items == 1 || items > kMaxSubsetItems) return true;
  // Hall's condition, with what the SID slots of each unit allow.
  for (ItemMask subset = 1; subset <= demand_->AllItems(); ++subset) {
    uint64_t wanted = 0;
    for (size_t item = 0; item < items; ++item) {
      if (Covers(subset, item)) wanted += demand_->items[item].spec->count;
    }
    uint64_t there = 0;
    for (const Board::Unit& unit : board_->units) {
      const auto first = board_->candidates.begin();
      const auto here = std::count_if(first + unit.first, first + unit.last,
                                      [&](const auto& c) { return (c.items & subset) != 0; });
      there += std::min<uint64_t>(static_cast<uint64_t>(here), sid_slots_ ? unit.sids : here);
    }
    if (there < wanted) return false;
  }
  return true;
}

const AttributeValue* Search::ValueOf(const Board::Candidate& candidate, const Bond& bond) const {
  const AttributeMap& attributes = kinds_[candidate.kind].attributes;
  const auto it = attributes.find(*bond.rule.attribute);
  return it == attributes.end() ? nullptr : &it->second;
}

bool Search::Allowed(size_t index, size_t item) const {
  const Board::Candidate& candidate = board_->candidates[index];
  if (used_[index] != 0 || !Covers(candidate.items, item)) return false;
  if (sid_slots_ && group_devices_[candidate.group] == 0 &&
      uint64_t{unit_sids_[candidate.unit]} + board_->groups[candidate.group].size >
          board_->units[candidate.unit].sids) {
    return false;
  }
  return std::all_of(bonds_.begin(), bonds_.end(), [&](const Bond& bond) {
    if (!Covers(bond.rule.items, item)) return true;
    switch (bond.rule.kind) {
      case Constraint::Kind::kSameUnit:
        return bond.devices == 0 || bond.place == candidate.unit;
      case Constraint::Kind::kSameNumaNode:
        return candidate.numa_node >= 0 && (bond.devices == 0 || bond.place == candidate.numa_node);
      case Constraint::Kind::kSameAttribute: {
        const AttributeValue* value = ValueOf(candidate, bond);
        return value != nullptr && (bond.devices == 0 || *value == *bond.value);
      }
      case Constraint::Kind::kDistinctUnits:
        return (bond.units >> candidate.unit & 1) == 0;
    }
    return false;
  });
}

bool Search::NeedsDistinctUnits(size_t item) const {
  return std::any_of(bonds_.begin(), bonds_.end(), [&](const Bond& bond) {
    return bond.rule.kind == Constraint::Kind::kDistinctUnits && Covers(bond.rule.items, item);
  });
}

uint32_t Search::CountAllowed(size_t item, size_t first, size_t last) const {
  const bool distinct = NeedsDistinctUnits(item);
  uint32_t count = 0;
  for (size_t i = first; i < last; ++i) {
    if (!Allowed(i, item)) continue;
    ++count;
    if (distinct) i = board_->units[board_->candidates[i].unit].last - 1;
  }
  return count;
}

void Search::Narrow(size_t item, size_t& first, size_t& last) const {
  for (const Bond& bond : bonds_) {
    if (bond.rule.kind != Constraint::Kind::kSameUnit || bond.devices == 0 ||
        !Covers(bond.rule.items, item)) {
      continue;
    }
    const Board::Unit& unit = board_->units[static_cast<size_t>(bond.place)];
    first = std::max<size_t>(first, unit.first);
    last = std::min<size_t>(last, unit.last);
  }
}

void Search::Take(size_t index, size_t item) {
  const Board::Candidate& candidate = board_->candidates[index];
  used_[index] = 1;
  if (group_devices_[candidate.group]++ == 0) {
    unit_sids_[candidate.unit] += board_->groups[candidate.group].size;
  }
  ++unit_devices_[candidate.unit];
  for (Bond& bond : bonds_) {
    if (!Covers(bond.rule.items, item)) continue;
    if (bond.rule.kind == Constraint::Kind::kDistinctUnits) {
      bond.units |= uint64_t{1} << candidate.unit;
    } else if (bond.devices == 0) {
      const bool by_unit = bond.rule.kind == Constraint::Kind::kSameUnit;
      bond.place = by_unit ? int64_t{candidate.unit} : candidate.numa_node;
      if (bond.rule.kind == Constraint::Kind::kSameAttribute) bond.value = ValueOf(candidate, bond);
    }
    ++bond.devices;
  }
  choices_.push_back({static_cast<uint16_t>(index), static_cast<uint16_t>(item)});
}

void Search::Undo(size_t index, size_t item) {
  const Board::Candidate& candidate = board_->candidates[index];
  used_[index] = 0;
  if (--group_devices_[candidate.group] == 0) {
    unit_sids_[candidate.unit] -= board_->groups[candidate.group].size;
  }
  --unit_devices_[candidate.unit];
  for (Bond& bond : bonds_) {
    if (!Covers(bond.rule.items, item)) continue;
    --bond.devices;
    if (bond.rule.kind == Constraint::Kind::kDistinctUnits) {
      bond.units &= ~(uint64_t{1} << candidate.unit);
    }
  }
  choices_.pop_back();
}

bool Search::Promising(size_t item) const {
  ItemMask later = 0;
  for (const Bond& bond : bonds_) {
    // Only the first device of a bond narrows anything.
    if (Covers(bond.rule.items, item) && bond.devices == 1) later |= bond.rule.items;
  }
  for (size_t other = item + 1; other < demand_->items.size(); ++other) {
    if (!Covers(later, other)) continue;
    size_t first = 0;
    size_t last = board_->candidates.size();
    Narrow(other, first, last);
    if (CountAllowed(other, first, last) < demand_->items[other].spec->count) return false;
  }
  return true;
}

bool Search::Step(size_t item, uint32_t left, size_t start) {
  if (left == 0) {
    if (++item == demand_->items.size()) {
      const Answer answer = (*accept_)();
      ended_ = answer == Answer::kStop;
      return answer == Answer::kTake;
    }
    left = demand_->items[item].spec->count;
    start = 0;
  }
  if (budget_ == 0) {
    ended_ = true;
    return false;
  }
  --budget_;
  size_t first = start;
  size_t last = board_->candidates.size();
  Narrow(item, first, last);
  const uint32_t allowed = CountAllowed(item, first, last);
  if (allowed < left) return false;
  const size_t stack = failed_.size();
  const bool fits = TryFrom(item, left, first, last, allowed);
  failed_.resize(stack);
  return fits;
}

bool Search::TryFrom(size_t item, uint32_t left, size_t first, size_t last, uint32_t allowed) {
  const bool distinct = NeedsDistinctUnits(item);
  const size_t stack = failed_.size();
  for (size_t i = first; i < last; ++i) {
    if (!Allowed(i, item)) continue;
    if (!distinct && allowed-- < left) return false;
    const auto mine = failed_.begin() + static_cast<std::ptrdiff_t>(stack);
    if (mine != failed_.end() && std::find(mine, failed_.end(), Symmetry(i)) != failed_.end()) {
      continue;
    }
    Take(i, item);
    if (Promising(item) && Step(item, left - 1, i + 1)) return true;
    Undo(i, item);
    if (ended_) return false;
    if (!signed_) SignBoard();
    failed_.push_back(Symmetry(i));
  }
  return false;
}

void Search::SignBoard() {
  const bool by_node = HasKind(*demand_, Constraint::Kind::kSameNumaNode);
  const bool by_kind = HasKind(*demand_, Constraint::Kind::kSameAttribute);
  group_signs_.assign(board_->groups.size(), 0);
  unit_signs_.assign(board_->units.size(), 0);
  position_.assign(board_->candidates.size(), 0);
  for (size_t u = 0; u < board_->units.size(); ++u) {
    const Board::Unit& unit = board_->units[u];
    unit_signs_[u] = Combine(Combine(unit.sids, unit.last - unit.first), unit.likeness);
    for (size_t i = unit.first; i < unit.last; ++i) {
      const Board::Candidate& candidate = board_->candidates[i];
      uint64_t& sign = group_signs_[candidate.group];
      const bool opens = i == unit.first || board_->candidates[i - 1].group != candidate.group;
      position_[i] = opens ? 0 : static_cast<uint16_t>(position_[i - 1] + 1);
      const Board::Group& group = board_->groups[candidate.group];
      if (opens) sign = group.likeness == 0 ? group.size : group.likeness;
      sign = Combine(sign, candidate.items);
      if (by_node) sign = Combine(sign, static_cast<uint64_t>(candidate.numa_node));
      if (by_kind) sign = Combine(sign, candidate.kind);
      const bool closes = i + 1 == unit.last || board_->candidates[i + 1].group != candidate.group;
      if (closes) unit_signs_[u] = Combine(unit_signs_[u], sign);
    }
  }
  signed_ = true;
}

uint64_t Search::Symmetry(size_t index) const {
  const Board::Candidate& candidate = board_->candidates[index];
  // Whole units, and whole groups of a unit, can change places while nothing of them is taken:
  // candidates stand in the same order in both, so the order of the choices stays as it is.
  if (group_devices_[candidate.group] == 0) {
    const uint64_t unit = unit_devices_[candidate.unit] == 0 ? unit_signs_[candidate.unit]
                                                             : Combine(1, candidate.unit);
    return Combine(Combine(unit, group_signs_[candidate.group]), position_[index]);
  }
  // Of a group that is taken, its alike members can.
  uint64_t sign = Combine(Combine(2, candidate.group), candidate.items);
  sign = Combine(sign, static_cast<uint64_t>(candidate.numa_node));
  return Combine(sign, candidate.kind);
}

uint64_t Search::Fingerprint(const Board& board, const Demand& demand) {
  board_ = &board;
  demand_ = &demand;
  SignBoard();
  return std::accumulate(unit_signs_.begin(), unit_signs_.end(), uint64_t{0}, Combine);
}

}  // namespace berth::placement
