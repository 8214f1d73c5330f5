// SPDX-License-Identifier: Apache-2.0
//
// The placement engine: a model of the fleet that follows every change, and decisions on it.
#ifndef BERTH_LIB_PLACEMENT_ENGINE_H_
#define BERTH_LIB_PLACEMENT_ENGINE_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lib/base/ids.h"
#include "lib/placement/apart.h"
#include "lib/placement/explain.h"
#include "lib/placement/gang.h"
#include "lib/placement/host_fit.h"
#include "lib/placement/host_record.h"
#include "lib/placement/index.h"
#include "lib/placement/kind_table.h"
#include "lib/placement/label_index.h"
#include "lib/placement/model.h"
#include "lib/placement/profile_table.h"
#include "lib/placement/request.h"

namespace berth::placement {

struct EngineOptions {
  // Steps of backtracking for one host, and for one decision, also for one about a gang, where each
  // host that is looked at is a step too. At the limit the answer is typed
  // (Explanation::complete), never a wrong "no".
  uint64_t steps_per_host = 20'000;
  uint64_t steps_per_decision = 200'000;
  // Combinations of alternatives that one decision tries.
  uint64_t combinations = 64;
  // Profiles of hosts that are looked at to prove a request unsatisfiable.
  uint64_t hosts_for_proof = 4096;
  // Hosts that are looked at one by one. After so many in vain, hosts that are alike but for names
  // and labels are looked at once.
  uint64_t single_hosts = 16;
};

// Pure: no I/O, no clock, no randomness but the request's seed. A decision depends on the hosts,
// the reservations and the request alone, not on the order in which they came.
//
// Thread-compatible: one caller at a time, also for Place() and Explain(), which keep scratch
// memory.
class Engine {
 public:
  explicit Engine(EngineOptions options = {});
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Adds a host, or replaces what is known of it; reservations on it stay charged. A snapshot that
  // contradicts itself (BAD_INVENTORY) excludes that host, under its id, from new placements until
  // a good one comes; nothing else changes.
  absl::Status UpsertHost(const HostSnapshot& snapshot);
  // Forgets a host. Its reservations stay, and are charged again if it comes back. NOT_FOUND.
  absl::Status RemoveHost(const HostId& host);
  // NOT_FOUND.
  absl::Status SetHostSchedulable(const HostId& host, Schedulability schedulability);

  // Charges a placement. OK too when `uid` has this very placement already. Errors, with nothing
  // changed: ALREADY_EXISTS (another placement), NOT_FOUND (host), HOST_NOT_READY, DEVICE_GONE,
  // DEVICE_BUSY, INVALID_FIELD (not a whole IOMMU group, wrong unit, wrong SID slots, a device
  // twice), NO_CAPACITY (huge pages), STATE_CONFLICT (anti-affinity), UNIT_UNKNOWN, and those of
  // berth::Reserve().
  absl::Status Reserve(const AssignmentUid& uid, const Placement& placement);
  // Charges a placement that stands already, whatever the model says: a book that is loaded. The
  // host may still be unknown. ALREADY_EXISTS as Reserve().
  absl::Status Restore(const AssignmentUid& uid, const Placement& placement);
  // NOT_FOUND.
  absl::Status Release(const AssignmentUid& uid);
  // nullptr when there is none. Valid until the next change.
  [[nodiscard]] const Placement* FindReservation(const AssignmentUid& uid) const;

  // Where the request would go now; nothing is charged. INVALID_FIELD, MISSING_FIELD
  // (ValidateRequest), or Explanation::ToStatus(). What it returns can be Reserve()d as long as
  // nothing changes.
  absl::StatusOr<Placement> Place(const Request& request, const ExcludedHosts& excluded = {});
  // The same, with the reasons. INVALID_FIELD, MISSING_FIELD.
  absl::StatusOr<Explanation> Explain(const Request& request, const ExcludedHosts& excluded = {});

  // Where all members of a gang would go, in their order, together. Exact within its budget: when
  // there is a way, it is found, also behind a dead end. Of a member's alternatives the first is
  // preferred, those of members with more devices first. Errors: those of ValidateGang(), and
  // GangExplanation::ToStatus(), which says so when the budget ended the search.
  absl::StatusOr<std::vector<Placement>> PlaceGang(const GangRequest& request,
                                                   const ExcludedHosts& excluded = {});

  struct UnitStatus {
    UnitId id;
    UnitCapacity capacity;
    UnitUsage usage;  // of reservations
    uint32_t vintfs_held = 0;
    uint32_t vintfs_free = 0;
  };
  struct HostStatus {
    Schedulability schedulability = Schedulability::kReady;
    std::string defect;  // why its last snapshot was refused; empty: it was not
    std::vector<UnitStatus> units;
    size_t devices = 0;
    size_t placeable_devices = 0;
  };
  // NOT_FOUND.
  [[nodiscard]] absl::StatusOr<HostStatus> Describe(const HostId& host) const;
  [[nodiscard]] size_t hosts() const { return slots_.size(); }
  [[nodiscard]] size_t reservations() const { return reservations_.size(); }

  // Audits the model against the reservations: no unit beyond its VINTFs or SID slots, no device
  // twice, all derived counts and indexes as they should be. INTERNAL for a bug; STATE_CONFLICT for
  // reservations that contradict each other or their host (possible after Restore() or when a host
  // shrinks). Costs a pass over the fleet.
  [[nodiscard]] absl::Status Check() const;

 private:
  class Gang;    // engine_gang.cc
  class Survey;  // survey.h

  static constexpr size_t kStates = 4;  // ready, cordoned, not ready, defect

  [[nodiscard]] HostRecord* Find(const HostId& host);
  [[nodiscard]] const HostRecord* Find(const HostId& host) const;
  static Index::Before Facts(const HostRecord& record);
  static size_t StateOf(const HostRecord& record);
  HostSlot AddSlot(const HostId& host);
  // Brings summaries, index and state counts up to date after a change of the host at `slot`.
  void Refresh(HostSlot slot, const Index::Before& before, size_t state_before);
  template <typename Change>
  void Apply(HostSlot slot, const Change& change);
  // nullopt: `uid` is new.
  [[nodiscard]] std::optional<absl::Status> Known(const AssignmentUid& uid,
                                                  const Placement& placement) const;
  void Record(const AssignmentUid& uid, const Placement& placement);
  // Counts a placement in or out of its host, if that is known, and of its anti-affinity groups.
  void Charge(const Placement& placement, Direction direction);
  [[nodiscard]] absl::Status CheckApart(const Placement& placement, const HostRecord& record) const;
  [[nodiscard]] Avoid WhatToAvoid(const Request& request) const;

  // Decisions (engine_place.cc).
  void Decide(const Request& request, const ExcludedHosts& excluded, Explanation& explanation);
  // Tries one combination of alternatives; fills `explanation` in any case, and the obstacles and
  // the nearest host of `if_empty` when it is unsatisfiable.
  void Attempt(Demand& demand, const ExcludedHosts& excluded, uint64_t& budget,
               Explanation& explanation, Explanation& if_empty);
  // All hosts at once: takes the first that fits in Walk()'s order, or fills in why none does.
  // Returns what Walk() would have.
  Index::Walked AttemptByProfile(const Demand& demand, const ExcludedHosts& excluded,
                                 uint64_t& budget, Explanation& explanation);
  void ChoosePrimary(Demand& demand) const;
  Index::Query QueryFor(const Demand& demand, std::vector<uint64_t>& kinds) const;
  void CountUnvisited(const Demand& demand, const Index::Walked& walked,
                      Explanation& explanation) const;
  void FindNearest(const Demand& demand, Explanation& explanation);
  [[nodiscard]] bool ProveUnsatisfiable(const Demand& demand, const ExcludedHosts& excluded,
                                        Explanation& if_empty);
  // All hosts at once. Whether none would fit; then `if_empty` counts those with the devices, which
  // are returned.
  std::optional<uint64_t> ProveByProfile(const Demand& demand, const ExcludedHosts& excluded,
                                         uint64_t& steps, Explanation& if_empty);
  void CountUnvisitedIfEmpty(const Demand& demand, uint64_t visited, Explanation& if_empty);

  // Audits (engine_check.cc).
  [[nodiscard]] absl::Status CheckHost(HostSlot slot) const;
  [[nodiscard]] absl::Status CheckCapacity(const HostRecord& record) const;

  EngineOptions options_;
  KindTable kinds_;
  std::vector<std::unique_ptr<HostRecord>> hosts_;  // by slot; null: free
  std::vector<HostSlot> free_slots_;
  absl::flat_hash_map<HostId, HostSlot> slots_;
  Index index_;
  std::array<uint64_t, kStates> states_{};
  absl::flat_hash_map<AssignmentUid, Placement> reservations_;
  absl::flat_hash_map<HostId, std::vector<AssignmentUid>> by_host_;
  LabelIndex labels_;
  std::array<ProfileTable, 2> profiles_;  // by View
  ApartTable apart_;
  HostFit fit_;
};

}  // namespace berth::placement

#endif  // BERTH_LIB_PLACEMENT_ENGINE_H_
