// SPDX-License-Identifier: Apache-2.0
//
// The backtracking search over the devices of one host. Exact within its budget: when any choice of
// devices satisfies the demand, one is found. Candidates that are interchangeable are tried once,
// so symmetric units cost nothing.
#ifndef BERTH_LIB_PLACEMENT_SEARCH_H_
#define BERTH_LIB_PLACEMENT_SEARCH_H_

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "lib/placement/demand.h"
#include "lib/placement/kind_table.h"

namespace berth::placement {

enum class Verdict : uint8_t {
  kFits,
  kDoesNotFit,   // proved
  kBudgetEnded,  // not known
};

// What one host offers to one demand, in the order in which it is to be tried.
struct Board {
  struct Candidate {
    uint16_t device = 0;  // in HostRecord::devices
    uint16_t group = 0;   // in `groups`
    uint16_t unit = 0;    // in `units`
    int16_t numa_node = -1;
    KindNumber kind = 0;
    ItemMask items = 0;  // that it could satisfy
  };
  struct Group {
    uint32_t size = 0;    // members, candidates or not: SID slots when one is taken
    uint16_t record = 0;  // in HostRecord::groups
    // Where more than this demand goes to the host: GroupLikeness() and UnitLikeness(). Else 0.
    uint64_t likeness = 0;
  };
  struct Unit {
    uint32_t first = 0;  // candidates [first, last)
    uint32_t last = 0;
    uint32_t sids = 0;   // SID slots of a VINTF
    uint8_t record = 0;  // in HostRecord::units
    uint64_t likeness = 0;
  };
  std::vector<Candidate> candidates;  // by unit, then by group
  std::vector<Group> groups;
  std::vector<Unit> units;
};

// Which rules hold. Fewer than all tell what a host fails at.
struct Rules {
  bool sid_slots = true;
  bool one_unit = false;       // in addition: everything behind one unit
  uint32_t constraints = ~0U;  // bit k: Constraint::Kind k
};

// Keeps its memory from one run to the next. Thread-compatible.
class Search {
 public:
  explicit Search(const KindTable& kinds) : kinds_(kinds) {}

  struct Choice {
    uint16_t candidate = 0;  // in Board::candidates
    uint16_t item = 0;       // in Demand::items
  };
  // What is to be done with a choice that satisfies the demand.
  enum class Answer : uint8_t {
    kTake,  // it is the result
    kNext,  // another one is wanted
    kStop,  // none is wanted any more: kBudgetEnded
  };
  using Accept = absl::FunctionRef<Answer()>;
  // Takes steps from `budget` until it is 0. choices() holds the answer in `accept` and after
  // kFits.
  Verdict Run(
      const Board& board, const Demand& demand, const Rules& rules, uint64_t& budget,
      Accept accept = [] { return Answer::kTake; });
  [[nodiscard]] const std::vector<Choice>& choices() const { return choices_; }

  // Equal for boards on which a demand has the same answer.
  uint64_t Fingerprint(const Board& board, const Demand& demand);

 private:
  struct Bond {
    Demand::Bond rule;
    uint32_t devices = 0;  // that are bound by it
    int64_t place = 0;     // their unit or node
    const AttributeValue* value = nullptr;
    uint64_t units = 0;  // kDistinctUnits: units taken
  };

  void Start(const Rules& rules, Accept* accept);
  // Could any choice give all items as many devices as they want?
  [[nodiscard]] bool Enough() const;
  bool Step(size_t item, uint32_t left, size_t start);
  bool TryFrom(size_t item, uint32_t left, size_t first, size_t last, uint32_t allowed);
  [[nodiscard]] bool Allowed(size_t candidate, size_t item) const;
  [[nodiscard]] const AttributeValue* ValueOf(const Board::Candidate& candidate,
                                              const Bond& bond) const;
  // Candidates (under kDistinctUnits: units) in [first, last) that the item could take.
  [[nodiscard]] uint32_t CountAllowed(size_t item, size_t first, size_t last) const;
  [[nodiscard]] bool NeedsDistinctUnits(size_t item) const;
  // Narrows [first, last) to the unit that the item is bound to, if any.
  void Narrow(size_t item, size_t& first, size_t& last) const;
  void Take(size_t candidate, size_t item);
  void Undo(size_t candidate, size_t item);
  // Can the items that are bound to the same unit, node or value as `item` still be satisfied?
  [[nodiscard]] bool Promising(size_t item) const;
  // Equal for candidates that are interchangeable as things stand.
  [[nodiscard]] uint64_t Symmetry(size_t candidate) const;
  void SignBoard();

  const KindTable& kinds_;
  const Board* board_ = nullptr;
  const Demand* demand_ = nullptr;
  Accept* accept_ = nullptr;
  bool sid_slots_ = true;
  uint64_t budget_ = 0;
  bool ended_ = false;
  bool signed_ = false;
  std::vector<Bond> bonds_;
  std::vector<uint8_t> used_;            // by candidate
  std::vector<uint16_t> group_devices_;  // by group: devices taken
  std::vector<uint16_t> unit_devices_;   // by unit
  std::vector<uint32_t> unit_sids_;
  std::vector<Choice> choices_;
  std::vector<uint64_t> group_signs_;
  std::vector<uint64_t> unit_signs_;
  std::vector<uint16_t> position_;  // by candidate: its place in its group
  std::vector<uint64_t> failed_;    // a stack: symmetries that failed at the open steps
};

}  // namespace berth::placement

#endif  // BERTH_LIB_PLACEMENT_SEARCH_H_
