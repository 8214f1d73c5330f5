// SPDX-License-Identifier: Apache-2.0
#include "lib/placement/host_fit.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>
#include <utility>
#include <vector>

#include "lib/placement/hash.h"
#include "lib/placement/likeness.h"

namespace berth::placement {
namespace {

constexpr size_t Index(View view) { return static_cast<size_t>(view); }

// Steps of each search that only asks why. Enough for hosts with hundreds of devices.
constexpr uint64_t kDiagnosisSteps = 2000;
// Boards remembered for one demand.
constexpr size_t kMaxInVain = 4096;

constexpr Obstacle kLevelObstacles[kLevels] = {Obstacle::kCount, Obstacle::kAssignable,
                                               Obstacle::kInUse, Obstacle::kIommuGroup,
                                               Obstacle::kVintfs};

struct BondObstacle {
  Constraint::Kind kind;
  Obstacle obstacle;
};
constexpr BondObstacle kBondObstacles[] = {
    {Constraint::Kind::kSameUnit, Obstacle::kSameUnit},
    {Constraint::Kind::kSameNumaNode, Obstacle::kSameNumaNode},
    {Constraint::Kind::kSameAttribute, Obstacle::kSameAttribute},
    {Constraint::Kind::kDistinctUnits, Obstacle::kDistinctUnits},
};

bool BindsAllTo(const Demand& demand, Constraint::Kind kind) {
  return std::any_of(demand.bonds.begin(), demand.bonds.end(), [&](const Demand::Bond& bond) {
    return bond.kind == kind && bond.items == demand.AllItems();
  });
}

bool Has(const Demand& demand, Constraint::Kind kind) {
  return std::any_of(demand.bonds.begin(), demand.bonds.end(),
                     [&](const Demand::Bond& bond) { return bond.kind == kind; });
}

}  // namespace

void HostFit::Begin(const Demand& demand, const ExcludedHosts& excluded, View view) {
  demand_ = &demand;
  excluded_ = &excluded;
  view_ = view;
  in_vain_.clear();
}

std::optional<Obstacle> HostFit::Try(const HostRecord& host, uint64_t& budget) {
  likeness_ = false;
  if (const auto obstacle = CheckCounts(host)) return obstacle;
  if (const auto obstacle = CheckHost(host)) {
    return view_ == View::kEmpty || HasWantedKinds(host) ? *obstacle : Obstacle::kAttributes;
  }
  return TryDevices(host, budget);
}

std::optional<Obstacle> HostFit::TryDevices(const HostRecord& host, uint64_t& budget) {
  MakeBoard(host);
  if (const auto obstacle = CheckCandidates()) return obstacle;
  SortBoard();
  if (in_vain_.empty()) return CheckSearch(budget);
  const auto it = in_vain_.find(Fingerprint());
  return it == in_vain_.end() ? CheckSearch(budget) : it->second;
}

std::optional<Obstacle> HostFit::TryBeforeNames(const HostRecord& host) const {
  if (const auto obstacle = CheckCounts(host)) return obstacle;
  if (view_ == View::kNow && !HasWantedKinds(host)) return Obstacle::kAttributes;
  return std::nullopt;
}

bool HostFit::IsTainted(const HostRecord& host) const {
  return view_ == View::kNow && !host.taints.empty() &&
         !Tolerates(demand_->request->tolerations, host.taints);
}

std::optional<Obstacle> HostFit::TryAfterNames(const HostRecord& host, uint64_t& budget) {
  likeness_ = false;
  if (const auto obstacle = CheckPages(host)) return obstacle;
  return TryDevices(host, budget);
}

Verdict HostFit::TryEach(const HostRecord& host, uint64_t& budget,
                         absl::FunctionRef<Search::Answer()> accept) {
  likeness_ = true;
  if (CheckCounts(host).has_value() || CheckHost(host).has_value()) return Verdict::kDoesNotFit;
  MakeBoard(host);
  if (CheckCandidates().has_value()) return Verdict::kDoesNotFit;
  SortBoard();
  uint64_t steps = std::min(budget, steps_per_host_);
  const uint64_t allowed = steps;
  const Verdict verdict = search_.Run(board_, *demand_, {}, steps, accept);
  budget -= std::min(budget, allowed - steps);
  return verdict;
}

bool HostFit::HasWantedKinds(const HostRecord& host) const {
  return std::all_of(demand_->items.begin(), demand_->items.end(), [&](const Demand::Item& item) {
    return item.spec->requirements.empty() ||
           item.spec->device_class != *demand_->classes[0].name ||
           std::any_of(host.devices.begin(), host.devices.end(), [&](const auto& device) {
             return device.placeable[Index(view_)] && item.Takes(device.device_class, device.kind);
           });
  });
}

std::optional<Obstacle> HostFit::CheckCounts(const HostRecord& host) const {
  for (const Demand::ClassTotal& total : demand_->classes) {
    const ClassSummary* summary =
        total.device_class.has_value() ? host.FindClass(*total.device_class) : nullptr;
    if (summary == nullptr) return Obstacle::kClass;
    if (view_ == View::kEmpty) {
      if (summary->devices[kInstalled] < total.devices) return Obstacle::kCount;
      if (summary->devices[kAssignable] < total.devices) return Obstacle::kAssignable;
      if (summary->potential < total.devices) return Obstacle::kIommuGroup;
      continue;
    }
    for (size_t level = 0; level < kLevels; ++level) {
      if (summary->devices[level] < total.devices) return kLevelObstacles[level];
    }
  }
  return std::nullopt;
}

ItemMask HostFit::ItemsFor(const HostRecord::Device& device, ItemMask usable) const {
  ItemMask mask = 0;
  for (size_t i = 0; i < demand_->items.size(); ++i) {
    if ((usable >> i & 1) != 0 && demand_->items[i].Takes(device.device_class, device.kind)) {
      mask |= ItemMask{1} << i;
    }
  }
  return mask;
}

void HostFit::AddUnit(const HostRecord& host, uint8_t unit, size_t first, size_t last) {
  const HostRecord::Unit& record = host.units[unit];
  const bool tainted = view_ == View::kNow && !record.taints.empty() &&
                       !Tolerates(demand_->request->tolerations, record.taints);
  ItemMask with_queues = 0;
  for (size_t i = 0; i < demand_->items.size(); ++i) {
    const auto queues = QueuesFor(demand_->items[i].spec->queues, record.capacity.vcmdqs_per_vintf);
    if (queues.has_value()) with_queues |= ItemMask{1} << i;
  }
  Board::Unit on_board{static_cast<uint32_t>(board_.candidates.size()), 0,
                       SidSlotLimit(record.capacity), unit,
                       likeness_ ? UnitLikeness(host, unit, first, last) : 0};
  int last_group = -1;
  for (size_t i = first; i < last; ++i) {
    const HostRecord::Device& device = host.devices[i];
    if (!device.placeable[Index(view_)]) continue;
    const ItemMask takes = ItemsFor(device, demand_->AllItems());
    if (takes == 0) continue;
    for (size_t item = 0; item < matching_.size(); ++item) {
      matching_[item] += takes >> item & 1;
      with_queues_[item] += takes >> item & with_queues >> item & 1;
    }
    if (tainted) {
      tainted_units_ = true;
      continue;
    }
    if ((takes & with_queues) == 0) continue;
    if (device.group != last_group) {
      last_group = device.group;
      const HostRecord::Group& group = host.groups[device.group];
      board_.groups.push_back(
          {group.size, device.group, likeness_ ? GroupLikeness(host, group) : 0});
    }
    board_.candidates.push_back({static_cast<uint16_t>(i),
                                 static_cast<uint16_t>(board_.groups.size() - 1),
                                 static_cast<uint16_t>(board_.units.size()), device.numa_node,
                                 device.kind, takes & with_queues});
  }
  on_board.last = static_cast<uint32_t>(board_.candidates.size());
  if (on_board.last > on_board.first) board_.units.push_back(on_board);
}

void HostFit::MakeBoard(const HostRecord& host) {
  board_.candidates.clear();
  board_.groups.clear();
  board_.units.clear();
  matching_.assign(demand_->items.size(), 0);
  with_queues_.assign(demand_->items.size(), 0);
  tainted_units_ = false;
  for (size_t first = 0; first < host.devices.size();) {
    const uint8_t unit = host.devices[first].unit;
    size_t last = first;
    while (last < host.devices.size() && host.devices[last].unit == unit) ++last;
    AddUnit(host, unit, first, last);
    first = last;
  }
}

std::optional<Obstacle> HostFit::CheckCandidates() {
  for (size_t i = 0; i < demand_->items.size(); ++i) {
    if (matching_[i] < demand_->items[i].spec->count) return Obstacle::kAttributes;
  }
  for (size_t i = 0; i < demand_->items.size(); ++i) {
    if (with_queues_[i] < demand_->items[i].spec->count) return Obstacle::kQueues;
  }
  return std::nullopt;
}

std::optional<Obstacle> HostFit::CheckHost(const HostRecord& host) const {
  const Request& request = *demand_->request;
  const bool now = view_ == View::kNow;
  if (now && !excluded_->empty() && excluded_->contains(host.id)) return Obstacle::kExcluded;
  if (!request.host_selector.empty() && !Meets(request.host_selector, host.labels)) {
    return Obstacle::kSelector;
  }
  if (IsTainted(host)) return Obstacle::kTaint;
  if (demand_->avoid != nullptr &&
      (now ? demand_->avoid->Forbids(host) : demand_->avoid->LacksLabel(host))) {
    return Obstacle::kAntiAffinity;
  }
  return CheckPages(host);
}

std::optional<Obstacle> HostFit::CheckPages(const HostRecord& host) const {
  const Request& request = *demand_->request;
  for (const HugePages& pages : request.huge_pages) {
    int64_t wanted = 0;
    for (const HugePages& other : request.huge_pages) {
      wanted += other.page_size == pages.page_size ? other.count : 0;
    }
    if (host.Pages(pages.page_size, view_) < wanted) return Obstacle::kHugePages;
  }
  return std::nullopt;
}

void HostFit::SortBoard() {
  const bool pack = demand_->request->policy == Policy::kPack;
  const bool shared = std::any_of(board_.groups.begin(), board_.groups.end(),
                                  [](const Board::Group& group) { return group.size > 1; });
  if (board_.units.size() <= 1 && !shared) return;
  std::vector<uint16_t> unit_order(board_.units.size());
  std::iota(unit_order.begin(), unit_order.end(), uint16_t{0});
  const auto size = [&](uint16_t u) { return board_.units[u].last - board_.units[u].first; };
  std::stable_sort(unit_order.begin(), unit_order.end(), [&](uint16_t a, uint16_t b) {
    return pack ? size(a) < size(b) : size(a) > size(b);
  });
  // Groups that bring the fewest co-travellers first, then large ones, which singles would break.
  std::vector<uint32_t> extra(board_.groups.size());
  for (size_t g = 0; g < extra.size(); ++g) extra[g] = board_.groups[g].size;
  const uint32_t first_count = demand_->items[0].spec->count;
  std::vector<uint32_t> mine(board_.groups.size());
  for (const Board::Candidate& candidate : board_.candidates) ++mine[candidate.group];
  for (size_t g = 0; g < extra.size(); ++g) extra[g] -= std::min(mine[g], first_count);

  sorted_.candidates.clear();
  sorted_.units.clear();
  for (const uint16_t u : unit_order) {
    Board::Unit unit = board_.units[u];
    const auto begin = board_.candidates.begin();
    const auto first = static_cast<uint32_t>(sorted_.candidates.size());
    sorted_.candidates.insert(sorted_.candidates.end(), begin + unit.first, begin + unit.last);
    unit.last = first + (unit.last - unit.first);
    unit.first = first;
    const auto own = sorted_.candidates.begin() + first;
    for (auto it = own; it != sorted_.candidates.end(); ++it) {
      it->unit = static_cast<uint16_t>(sorted_.units.size());
    }
    if (shared) {
      std::stable_sort(own, sorted_.candidates.end(), [&](const auto& a, const auto& b) {
        const auto key = [&](uint16_t group) {
          return std::tuple(extra[group], ~board_.groups[group].size, group);
        };
        return key(a.group) < key(b.group);
      });
    }
    sorted_.units.push_back(unit);
  }
  std::swap(board_.candidates, sorted_.candidates);
  std::swap(board_.units, sorted_.units);
}

std::optional<Obstacle> HostFit::CheckSearch(uint64_t& budget) {
  uint64_t steps = std::min(budget, steps_per_host_);
  const uint64_t allowed = steps;
  // One unit costs one VINTF, so everything behind one is tried before anything else.
  Verdict verdict = Verdict::kDoesNotFit;
  const bool apart = demand_->devices > 1 && Has(*demand_, Constraint::Kind::kDistinctUnits);
  const bool together = BindsAllTo(*demand_, Constraint::Kind::kSameUnit);
  if (!apart && !together) {
    uint64_t half = steps / 2;
    steps -= half;
    verdict = search_.Run(board_, *demand_, {.one_unit = true}, half);
    steps += half;
  }
  if (verdict != Verdict::kFits && (demand_->devices > 1 || apart || together)) {
    verdict = search_.Run(board_, *demand_, {}, steps);
  }
  budget -= allowed - steps;
  if (verdict == Verdict::kFits) return std::nullopt;
  Obstacle obstacle = verdict == Verdict::kBudgetEnded ? Obstacle::kSearchBudget : Diagnose();
  // A budget that was already used up says nothing about this board.
  const bool full = allowed == steps_per_host_;
  if (in_vain_.size() < kMaxInVain && (full || obstacle != Obstacle::kSearchBudget)) {
    in_vain_.emplace(Fingerprint(), obstacle);
  }
  return obstacle;
}

uint64_t HostFit::Fingerprint() {
  return Combine(search_.Fingerprint(board_, *demand_), tainted_units_ ? 1 : 0);
}

Obstacle HostFit::Diagnose() {
  if (tainted_units_) return Obstacle::kTaint;
  Rules rules{.sid_slots = false, .one_unit = false, .constraints = 0};
  const auto fails = [&] {
    uint64_t steps = kDiagnosisSteps;
    return search_.Run(board_, *demand_, rules, steps) != Verdict::kFits;
  };
  if (fails()) return Obstacle::kCompetition;
  rules.sid_slots = true;
  if (fails()) return Obstacle::kSidSlots;
  for (const BondObstacle& bond : kBondObstacles) {
    if (!Has(*demand_, bond.kind)) continue;
    rules.constraints |= 1U << static_cast<uint32_t>(bond.kind);
    if (fails()) return bond.obstacle;
  }
  // Only when a diagnosis ran out of steps that the search itself had.
  return Obstacle::kCompetition;
}

Placement HostFit::TakePlacement(const HostRecord& host) const {
  const Request& request = *demand_->request;
  Placement placement;
  placement.host = host.id;
  placement.huge_pages = request.huge_pages;
  placement.anti_affinity = request.anti_affinity;
  std::map<uint8_t, VintfClaim> claims;              // by unit, which are sorted by id
  std::vector<std::pair<size_t, uint16_t>> chosen;   // request, device
  std::vector<std::pair<uint16_t, uint16_t>> taken;  // group, device
  for (const Search::Choice& choice : search_.choices()) {
    const Board::Candidate& candidate = board_.candidates[choice.candidate];
    const Demand::Item& item = demand_->items[choice.item];
    const HostRecord::Device& device = host.devices[candidate.device];
    VintfClaim& claim = claims[device.unit];
    const uint32_t limit = host.units[device.unit].capacity.vcmdqs_per_vintf;
    claim.vcmdqs = std::max(claim.vcmdqs, QueuesFor(item.spec->queues, limit).value_or(0));
    chosen.emplace_back(item.request, candidate.device);
    taken.emplace_back(device.group, candidate.device);
  }
  std::sort(chosen.begin(), chosen.end());
  for (const auto& [which, index] : chosen) {
    const HostRecord::Device& device = host.devices[index];
    placement.devices.push_back(
        {device.id, host.units[device.unit].id, request.devices[which].name});
  }
  std::sort(taken.begin(), taken.end());
  for (size_t i = 0; i < taken.size();) {
    const HostRecord::Group& group = host.groups[taken[i].first];
    claims[host.devices[group.first].unit].sid_slots += group.size;
    for (uint16_t member = group.first; member < group.first + group.size; ++member) {
      if (i < taken.size() && taken[i].second == member) {
        ++i;
        continue;
      }
      const HostRecord::Device& device = host.devices[member];
      placement.devices.push_back({device.id, host.units[device.unit].id, ""});
    }
  }
  for (const auto& [unit, claim] : claims) placement.units.push_back({host.units[unit].id, claim});
  return placement;
}

}  // namespace berth::placement
