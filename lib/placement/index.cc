// SPDX-License-Identifier: Apache-2.0
#include "lib/placement/index.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <numeric>

#include "lib/placement/hash.h"

namespace berth::placement {
namespace {

constexpr uint32_t kCountBits = 12;  // kMaxDevices fits
static_assert(kMaxDevices < (1U << kCountBits));
static_assert(kCountBits * kLevels <= 64);

// Bits of sizes >= n.
constexpr uint64_t AtLeast(uint32_t n) { return ~uint64_t{0} << n; }

// Histograms: table[value] is a number of hosts.
void CountOne(std::vector<uint32_t>& table, size_t value) {
  if (table.size() <= value) table.resize(value + 1);
  ++table[value];
}

uint64_t HostsFrom(const std::vector<uint32_t>& table, size_t least) {
  if (table.size() <= least) return 0;
  return std::accumulate(table.begin() + static_cast<std::ptrdiff_t>(least), table.end(),
                         uint64_t{0});
}

const ClassSummary* Same(const std::vector<ClassSummary>& classes, const ClassSummary& wanted) {
  const auto it = std::find(classes.begin(), classes.end(), wanted);
  return it == classes.end() ? nullptr : &*it;
}

// Which of a host's entries in by_unit stands for the host: the first that a walk meets.
bool IsFirst(uint64_t sizes, uint32_t size, uint32_t least, Policy policy) {
  if (policy == Policy::kSpread) return size == kMaxUnitSize || (sizes & AtLeast(size + 1)) == 0;
  return (sizes & AtLeast(least) & ~AtLeast(size)) == 0;
}

}  // namespace

uint64_t Index::UnitRank(uint32_t size, const ClassSummary& summary) {
  return uint64_t{size} << 32 | summary.devices[kPlaceable];
}

uint64_t Index::HostRank(const ClassSummary& summary) {
  return std::accumulate(summary.devices.rbegin(), summary.devices.rend(), uint64_t{0},
                         [](uint64_t rank, uint16_t count) { return rank << kCountBits | count; });
}

void Index::Put(const Key& base, const ClassSummary& summary, bool schedulable) {
  if (classes_.size() <= summary.device_class) classes_.resize(summary.device_class + 1);
  ClassIndex& index = classes_[summary.device_class];
  index.by_potential.emplace(Key{summary.potential, base.hash, base.slot}, summary.potential_unit);
  CountOne(index.potential_units, summary.potential_unit);
  CountOne(index.potentials, summary.potential);
  CountOne(index.installed, summary.devices[kInstalled]);
  CountOne(index.assignable, summary.devices[kAssignable]);
  if (!schedulable) return;
  const Facts facts{summary.unit_sizes, summary.kinds};
  for (uint64_t sizes = summary.unit_sizes; sizes != 0; sizes &= sizes - 1) {
    const auto size = static_cast<uint32_t>(std::countr_zero(sizes));
    index.by_unit.emplace(Key{UnitRank(size, summary), base.hash, base.slot}, facts);
  }
  index.by_host.emplace(Key{HostRank(summary), base.hash, base.slot}, facts);
  for (size_t level = 0; level < kLevels; ++level) {
    CountOne(index.histograms[level], summary.devices[level]);
  }
}

void Index::Drop(const Key& base, const ClassSummary& summary, bool schedulable) {
  ClassIndex& index = classes_[summary.device_class];
  index.by_potential.erase(Key{summary.potential, base.hash, base.slot});
  --index.potential_units[summary.potential_unit];
  --index.potentials[summary.potential];
  --index.installed[summary.devices[kInstalled]];
  --index.assignable[summary.devices[kAssignable]];
  if (!schedulable) return;
  for (uint64_t sizes = summary.unit_sizes; sizes != 0; sizes &= sizes - 1) {
    const auto size = static_cast<uint32_t>(std::countr_zero(sizes));
    index.by_unit.erase(Key{UnitRank(size, summary), base.hash, base.slot});
  }
  index.by_host.erase(Key{HostRank(summary), base.hash, base.slot});
  for (size_t level = 0; level < kLevels; ++level) {
    --index.histograms[level][summary.devices[level]];
  }
}

void Index::Update(HostSlot slot, uint64_t hash, const Before& before, const Before& now) {
  const Key base{0, hash, slot};
  const bool all = before.schedulable != now.schedulable;
  for (const ClassSummary& summary : before.classes) {
    if (all || Same(now.classes, summary) == nullptr) Drop(base, summary, before.schedulable);
  }
  for (const ClassSummary& summary : now.classes) {
    if (all || Same(before.classes, summary) == nullptr) Put(base, summary, now.schedulable);
  }
}

const Index::ClassIndex* Index::Find(ClassNumber device_class) const {
  return device_class < classes_.size() ? &classes_[device_class] : nullptr;
}

uint64_t Index::CountHosts(ClassNumber device_class, Level level, uint32_t devices) const {
  const ClassIndex* index = Find(device_class);
  if (index == nullptr) return 0;
  return HostsFrom(index->histograms[level], devices);
}

Index::Standing Index::StandingOf(const Query& query, const ClassSummary* summary) {
  using Kind = Standing::Kind;
  if (summary == nullptr || summary->devices[kPlaceable] < query.devices) return {};
  const bool up = query.policy == Policy::kPack;
  const uint32_t whole = ClampUnitSize(query.devices);
  const uint64_t enough =
      query.same_unit == 0 ? ~uint64_t{0} : AtLeast(ClampUnitSize(query.same_unit));
  const uint64_t sizes = summary->unit_sizes & AtLeast(whole);
  const bool one_unit = sizes != 0;
  if (!one_unit && (query.same_unit == query.devices || (summary->unit_sizes & enough) == 0)) {
    return {.kind = Kind::kSmallUnits, .order = {}};
  }
  if (std::any_of(query.kinds.begin(), query.kinds.end(),
                  [&](uint64_t kinds) { return (kinds & summary->kinds) == 0; })) {
    return {.kind = Kind::kWrongKinds, .order = {}};
  }
  uint64_t rank = HostRank(*summary);
  if (one_unit) {
    const int size = up ? std::countr_zero(sizes) : 63 - std::countl_zero(sizes);
    rank = UnitRank(static_cast<uint32_t>(size), *summary);
  }
  return {.kind = Kind::kVisited, .order = {one_unit ? 0 : 1, up ? rank : ~rank}};
}

uint64_t Index::RingStart(uint64_t seed) { return seed == 0 ? 0 : Mix(seed); }

bool Index::WalkRanks(const Ranking& ranking, Ranks ranks, uint64_t min_rank, const Query& query,
                      absl::FunctionRef<bool(const Key&, const Facts&)> visit) {
  const uint64_t start = RingStart(query.seed);
  const bool up = query.policy == Policy::kPack;
  const bool by_size = ranks == Ranks::kBySize;
  auto it = up ? ranking.lower_bound(Key{min_rank, 0, 0}) : ranking.end();
  while (up ? it != ranking.end() : it != ranking.begin()) {
    const uint64_t rank = (up ? it : std::prev(it))->first.rank;
    if (rank < min_rank) return false;
    // Among units of one size, hosts with few devices come before those with many.
    const uint64_t size_only = rank & ~uint64_t{UINT32_MAX};
    if (by_size && (rank & UINT32_MAX) < query.on_host) {
      it = ranking.lower_bound(Key{up ? size_only | query.on_host : size_only, 0, 0});
      continue;
    }
    const auto first = up ? it : ranking.lower_bound(Key{rank, 0, 0});
    // Hosts of equal rank form a ring, which is entered at the seed.
    const auto entry = start == 0 ? first : ranking.lower_bound(Key{rank, start, 0});
    auto at = entry;
    for (; at != ranking.end() && at->first.rank == rank; ++at) {
      if (visit(at->first, at->second)) return true;
    }
    for (auto wrapped = first; wrapped != entry; ++wrapped) {
      if (visit(wrapped->first, wrapped->second)) return true;
    }
    it = up ? at : first;
  }
  return false;
}

Index::Walked Index::Walk(const Query& query, absl::FunctionRef<bool(HostSlot)> visit) const {
  Walked walked;
  const ClassIndex* index = Find(query.device_class);
  if (index == nullptr) return walked;
  const auto try_host = [&](const Key& key, const Facts& facts) {
    if (std::any_of(query.kinds.begin(), query.kinds.end(),
                    [&](uint64_t kinds) { return (kinds & facts.kinds) == 0; })) {
      ++walked.wrong_kinds;
      return false;
    }
    ++walked.visited;
    return visit(key.slot);
  };
  const uint32_t whole = ClampUnitSize(query.devices);
  const auto by_unit = [&](const Key& key, const Facts& facts) {
    const auto size = static_cast<uint32_t>(key.rank >> 32);
    return IsFirst(facts.unit_sizes, size, whole, query.policy) && try_host(key, facts);
  };
  const uint32_t least = std::max(query.devices, query.on_host);
  const uint64_t enough_devices = CountHosts(query.device_class, kPlaceable, query.devices);
  const uint64_t all = CountHosts(query.device_class, kPlaceable, least);
  walked.too_few = enough_devices - all;
  const uint64_t min_size = uint64_t{whole} << 32;
  if (WalkRanks(index->by_unit, Ranks::kBySize, min_size, query, by_unit)) return walked;
  if (query.same_unit == query.devices) {
    walked.small_units = all - std::min(all, walked.visited + walked.wrong_kinds);
    return walked;
  }
  const uint64_t enough =
      query.same_unit == 0 ? ~uint64_t{0} : AtLeast(ClampUnitSize(query.same_unit));
  const auto by_host = [&](const Key& key, const Facts& facts) {
    if ((facts.unit_sizes & AtLeast(whole)) != 0) return false;  // visited above
    if ((facts.unit_sizes & enough) == 0) {
      ++walked.small_units;
      return false;
    }
    return try_host(key, facts);
  };
  const uint64_t min_rank = uint64_t{least} << (kCountBits * kPlaceable);
  WalkRanks(index->by_host, Ranks::kByHost, min_rank, query, by_host);
  return walked;
}

void Index::WalkPotential(ClassNumber device_class, uint32_t devices, uint32_t same_unit,
                          absl::FunctionRef<bool(HostSlot)> visit) const {
  const ClassIndex* index = Find(device_class);
  if (index == nullptr || HostsFrom(index->potential_units, same_unit) == 0) return;
  for (auto it = index->by_potential.rbegin(); it != index->by_potential.rend(); ++it) {
    if (it->first.rank < devices) return;
    if (it->second >= same_unit && visit(it->first.slot)) return;
  }
}

Index::Potential Index::CountPotential(ClassNumber device_class, uint32_t devices) const {
  const ClassIndex* index = Find(device_class);
  if (index == nullptr) return {};
  return {.hosts = HostsFrom(index->installed, 0),
          .installed = HostsFrom(index->installed, devices),
          .assignable = HostsFrom(index->assignable, devices),
          .potential = HostsFrom(index->potentials, devices)};
}

std::optional<HostSlot> Index::Richest(ClassNumber device_class) const {
  const ClassIndex* index = Find(device_class);
  if (index == nullptr || index->by_host.empty()) return std::nullopt;
  return index->by_host.rbegin()->first.slot;
}

bool Index::Holds(HostSlot slot, uint64_t hash, const Before& now) const {
  return std::all_of(now.classes.begin(), now.classes.end(), [&](const ClassSummary& summary) {
    const ClassIndex* index = Find(summary.device_class);
    if (index == nullptr || !index->by_potential.contains(Key{summary.potential, hash, slot})) {
      return false;
    }
    if (!now.schedulable) return true;
    const Facts facts{summary.unit_sizes, summary.kinds};
    const auto host = index->by_host.find(Key{HostRank(summary), hash, slot});
    if (host == index->by_host.end() || host->second != facts) return false;
    for (uint64_t sizes = summary.unit_sizes; sizes != 0; sizes &= sizes - 1) {
      const auto size = static_cast<uint32_t>(std::countr_zero(sizes));
      const auto unit = index->by_unit.find(Key{UnitRank(size, summary), hash, slot});
      if (unit == index->by_unit.end() || unit->second != facts) return false;
    }
    return true;
  });
}

size_t Index::entries() const {
  size_t entries = 0;
  for (const ClassIndex& index : classes_) {
    entries += index.by_unit.size() + index.by_host.size() + index.by_potential.size();
  }
  return entries;
}

size_t Index::EntriesOf(const Before& host) {
  size_t entries = 0;
  for (const ClassSummary& summary : host.classes) {
    entries += 1;
    if (host.schedulable) entries += 1 + static_cast<size_t>(std::popcount(summary.unit_sizes));
  }
  return entries;
}

}  // namespace berth::placement
