// SPDX-License-Identifier: Apache-2.0
//
// Which hosts can take how many devices of a class, kept in order of preference while the fleet
// changes, so that a decision looks at the hosts that fit and at no others.
#ifndef BERTH_LIB_PLACEMENT_INDEX_H_
#define BERTH_LIB_PLACEMENT_INDEX_H_

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "lib/placement/host_record.h"
#include "lib/placement/request.h"
#include "lib/placement/slot_set.h"

namespace berth::placement {

// Thread-compatible. A change of one host costs O(log hosts) for each class whose counts changed.
class Index {
 public:
  // Replaces what the index knows of a host. `before`: its classes at the last call (empty: none),
  // and whether they were counted as schedulable.
  struct Before {
    std::vector<ClassSummary> classes;
    bool schedulable = false;
  };
  void Update(HostSlot slot, uint64_t hash, const Before& before, const Before& now);

  // Schedulable hosts with at least `devices` of the class at `level`.
  [[nodiscard]] uint64_t CountHosts(ClassNumber device_class, Level level, uint32_t devices) const;

  struct Query {
    ClassNumber device_class = 0;
    uint32_t devices = 1;    // of this class, in all
    uint32_t same_unit = 0;  // so many of them behind one unit; 0: no such constraint
    Policy policy = Policy::kPack;
    uint64_t seed = 0;
    // At least so many placeable ones on the host, not all of them for this query.
    uint32_t on_host = 0;
    // For each request: Bit k % 64 for each kind k that meets it (ClassSummary::kinds).
    absl::Span<const uint64_t> kinds = {};
  };
  struct Walked {
    uint64_t visited = 0;
    uint64_t wrong_kinds = 0;  // not visited: none of their placeable devices meets a request
    uint64_t small_units = 0;  // not visited: no unit is large enough for `same_unit`
    uint64_t too_few = 0;      // not visited: enough for `devices`, but not for `on_host`
  };
  // Visits, best first, each schedulable host that has the devices, until `visit` returns true.
  // First those that have all of them behind one unit, then, unless all must be, the rest.
  Walked Walk(const Query& query, absl::FunctionRef<bool(HostSlot)> visit) const;

  // How Walk() comes by a schedulable host; of `on_host` nothing is asked.
  struct Standing {
    enum class Kind : uint8_t { kVisited, kTooFew, kWrongKinds, kSmallUnits };
    Kind kind = Kind::kTooFew;
    // kVisited: less is earlier. Equal ones form a ring, which is entered at RingStart().
    std::pair<uint32_t, uint64_t> order;
  };
  // `summary`: null when the host has none of the class.
  static Standing StandingOf(const Query& query, const ClassSummary* summary);
  static uint64_t RingStart(uint64_t seed);

  // Visits hosts, schedulable or not, that would have the devices if they were empty; roomiest
  // first, until `visit` returns true.
  void WalkPotential(ClassNumber device_class, uint32_t devices, uint32_t same_unit,
                     absl::FunctionRef<bool(HostSlot)> visit) const;

  // How many hosts, schedulable or not, would have the devices if they were empty.
  struct Potential {
    uint64_t hosts = 0;       // with any of the class
    uint64_t installed = 0;   // of them, with so many devices
    uint64_t assignable = 0;  // of them, with so many assignable ones
    uint64_t potential = 0;   // of them, those that WalkPotential() visits without same_unit
  };
  [[nodiscard]] Potential CountPotential(ClassNumber device_class, uint32_t devices) const;

  // The schedulable host that has come farthest: most placeable devices, then most of the level
  // before, and so on. nullopt when no schedulable host has the class.
  [[nodiscard]] std::optional<HostSlot> Richest(ClassNumber device_class) const;

  // Whether the entries of a host are exactly those of `now`; for audits.
  [[nodiscard]] bool Holds(HostSlot slot, uint64_t hash, const Before& now) const;
  // Entries in all; for audits.
  [[nodiscard]] size_t entries() const;
  static size_t EntriesOf(const Before& host);

 private:
  struct Key {
    uint64_t rank = 0;
    uint64_t hash = 0;
    HostSlot slot = 0;
    auto operator<=>(const Key&) const = default;
  };
  struct Facts {
    uint64_t unit_sizes = 0;
    uint64_t kinds = 0;
    bool operator==(const Facts&) const = default;
  };
  using Ranking = absl::btree_map<Key, Facts>;
  struct ClassIndex {
    Ranking by_unit;  // one entry for each different size of a host's units
    Ranking by_host;
    absl::btree_map<Key, uint16_t> by_potential;  // value: ClassSummary::potential_unit
    std::vector<uint32_t> potential_units;        // hosts by ClassSummary::potential_unit
    std::vector<uint32_t> potentials;             // hosts by ClassSummary::potential
    // Of all hosts, unlike the histograms.
    std::vector<uint32_t> installed;
    std::vector<uint32_t> assignable;
    std::array<std::vector<uint32_t>, kLevels> histograms;  // hosts by number of devices
  };

  static uint64_t UnitRank(uint32_t size, const ClassSummary& summary);
  static uint64_t HostRank(const ClassSummary& summary);
  // Entries of one class of a schedulable host, and of any host.
  void Put(const Key& base, const ClassSummary& summary, bool schedulable);
  void Drop(const Key& base, const ClassSummary& summary, bool schedulable);
  // Whose ranks a ranking has: UnitRank() or HostRank().
  enum class Ranks : uint8_t { kBySize, kByHost };
  static bool WalkRanks(const Ranking& ranking, Ranks ranks, uint64_t min_rank, const Query& query,
                        absl::FunctionRef<bool(const Key&, const Facts&)> visit);
  [[nodiscard]] const ClassIndex* Find(ClassNumber device_class) const;

  std::vector<ClassIndex> classes_;  // by class number
};

}  // namespace berth::placement

#endif  // BERTH_LIB_PLACEMENT_INDEX_H_
