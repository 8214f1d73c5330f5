// SPDX-License-Identifier: Apache-2.0
//
// Whether and how one host can satisfy one demand.
#ifndef BERTH_LIB_PLACEMENT_HOST_FIT_H_
#define BERTH_LIB_PLACEMENT_HOST_FIT_H_

#include <cstdint>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "lib/placement/demand.h"
#include "lib/placement/host_record.h"
#include "lib/placement/obstacle.h"
#include "lib/placement/search.h"

namespace berth::placement {

// Keeps its memory from one host to the next. Thread-compatible.
class HostFit {
 public:
  // `kinds` is borrowed. `steps_per_host` bounds the search of one host.
  HostFit(const KindTable& kinds, uint64_t steps_per_host)
      : search_(kinds), steps_per_host_(steps_per_host) {}

  // Starts on a demand with a view: borrows `demand` and `excluded` until the next call.
  void Begin(const Demand& demand, const ExcludedHosts& excluded, View view);

  // nullopt: the host fits, and TakePlacement() says how. Else the first obstacle. Takes the steps
  // of its search from `budget`; at 0 the answer is Obstacle::kSearchBudget. Does not look at
  // whether the host is schedulable.
  std::optional<Obstacle> Try(const HostRecord& host, uint64_t& budget);

  // Try() in parts, for hosts that are alike but for their names and labels. In their order: what
  // comes before names and labels count; what comes between excluded names and the selector, and
  // anti-affinity; and all the rest.
  std::optional<Obstacle> TryBeforeNames(const HostRecord& host) const;
  [[nodiscard]] bool IsTainted(const HostRecord& host) const;
  std::optional<Obstacle> TryAfterNames(const HostRecord& host, uint64_t& budget);

  // Calls `accept`, with TakePlacement() valid, for one way after the other to place the demand on
  // the host, until it does not want another: all ways but those that differ from one that was
  // refused by an exchange of parts of the host that are alike (likeness.h). kFits when one was
  // taken. The steps that `accept` takes are its own.
  Verdict TryEach(const HostRecord& host, uint64_t& budget,
                  absl::FunctionRef<Search::Answer()> accept);

  // After a Try() of `host` that fitted, or in a TryEach(), with View::kNow.
  [[nodiscard]] Placement TakePlacement(const HostRecord& host) const;

 private:
  // Each returns the first obstacle of its kind.
  std::optional<Obstacle> CheckCounts(const HostRecord& host) const;
  std::optional<Obstacle> CheckCandidates();
  std::optional<Obstacle> CheckHost(const HostRecord& host) const;
  std::optional<Obstacle> CheckPages(const HostRecord& host) const;
  std::optional<Obstacle> CheckSearch(uint64_t& budget);
  std::optional<Obstacle> TryDevices(const HostRecord& host, uint64_t& budget);

  // Whether there is any placeable device for each request of the primary class. The index turns
  // hosts away for this before they are looked at, so it counts before what the host itself fails.
  [[nodiscard]] bool HasWantedKinds(const HostRecord& host) const;

  // Fills board_ with the devices that could satisfy any item.
  void MakeBoard(const HostRecord& host);
  void AddUnit(const HostRecord& host, uint8_t unit, size_t first, size_t last);
  [[nodiscard]] ItemMask ItemsFor(const HostRecord::Device& device, ItemMask usable) const;
  // Puts units and groups in the order in which they are to be tried.
  void SortBoard();
  // Of the board, and of what was left out of it.
  uint64_t Fingerprint();
  // What the search fails at: the first rule that, added to those before, leaves no solution.
  Obstacle Diagnose();

  Search search_;
  uint64_t steps_per_host_;
  const Demand* demand_ = nullptr;
  const ExcludedHosts* excluded_ = nullptr;
  View view_ = View::kNow;
  Board board_;
  Board sorted_;
  std::vector<uint32_t> matching_;     // by item: devices that meet its requirements
  std::vector<uint32_t> with_queues_;  // by item: those of them behind units with its queues
  bool tainted_units_ = false;         // units were left out because of a taint
  bool likeness_ = false;              // the board says what is alike
  // Boards of this demand that were searched in vain. Hosts are often alike.
  absl::flat_hash_map<uint64_t, Obstacle> in_vain_;
};

}  // namespace berth::placement

#endif  // BERTH_LIB_PLACEMENT_HOST_FIT_H_
