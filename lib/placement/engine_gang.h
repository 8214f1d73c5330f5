// SPDX-License-Identifier: Apache-2.0
//
// The search for a way to place a gang: depth first, member by member, over hosts and over the ways
// to place a member on a host. What was chosen is charged to the model while the search goes on
// from there, so each member sees the fleet as those before it have left it.
//
// Three things keep it from trying the same in other clothes: hosts that are alike are tried once
// for each member (likeness.h); what a host refused to one member is not tried for another that
// asks for the same; and a host that looks as after a refused choice is not tried again.
#ifndef BERTH_LIB_PLACEMENT_ENGINE_GANG_H_
#define BERTH_LIB_PLACEMENT_ENGINE_GANG_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "lib/placement/engine.h"

namespace berth::placement {

// For one decision. Borrows all that it is given; the engine is as it was when Run() returns.
class Engine::Gang {
 public:
  Gang(Engine& engine, const GangRequest& request, const ExcludedHosts& excluded);

  // The placements, in the order of the members; nullopt: explanation() says why.
  std::optional<std::vector<Placement>> Run();
  [[nodiscard]] const GangExplanation& explanation() const { return explanation_; }

 private:
  struct Member {
    const Request* request = nullptr;
    size_t kind = 0;  // equal: the members can change places
    uint64_t devices = 0;
    bool one_way = false;  // no request of it has alternatives
    std::vector<size_t> constraints;
    std::unique_ptr<HostFit> fit;
    std::optional<HostSlot> slot;
    Placement placement;
  };
  // A member kind with one combination of alternatives.
  using Wish = std::pair<size_t, size_t>;
  using Likes = std::vector<HostSlot>;  // hosts that are alike
  // One member's attempt with one combination of alternatives, with those before it placed.
  struct Turn {
    size_t depth;
    size_t index;
    Member& member;
    Wish wish;
    std::vector<std::pair<Wish, HostSlot>>& bars;  // to lift when the member's turn ends
    Demand demand;
    Avoid avoid;                            // the member's own
    std::vector<Avoid> to_come;             // that of each kind of member from here on
    absl::flat_hash_set<uint64_t> refused;  // hosts like these lead nowhere
    // Devices that this member and those that must share its host need there.
    std::map<ClassNumber, uint32_t> together;
    // By constraint and value of its label: HasRoom().
    std::map<std::pair<size_t, std::string>, bool> room;
  };

  void SortMembers();
  void Classify(size_t member);
  // A member that does not fit even alone.
  bool FailsAlone();

  // Each is about order_[depth] and all after it, with those before it placed. kDoesNotFit is a
  // proof unless complete_ has become false.
  Verdict Place(size_t depth);
  Verdict PlaceWith(Turn& turn);
  Verdict PlaceOn(Turn& turn, HostSlot slot);
  Verdict Proceed(Turn& turn, HostSlot slot, const Placement& placement,
                  absl::flat_hash_set<uint64_t>& seen);

  // Fills in what depends on the members to come.
  void LookAhead(Turn& turn) const;
  // Devices of each class in the first alternatives.
  static std::map<std::string, uint32_t> ClassesOf(const Request& request);
  // Whether no two of the member's kind can be on one host.
  [[nodiscard]] bool KeepsApart(const Member& member) const;
  // The hosts with the label that the member must share with one that is placed, in order of
  // preference; nullopt: there is no such label, or too many hosts have it.
  std::optional<std::vector<HostSlot>> HostsOfLabel(const Turn& turn) const;
  // The same of a label of which no value is chosen yet: hosts with a value for which HasRoom().
  std::optional<std::vector<HostSlot>> HostsWithRoom(Turn& turn) const;
  // Whether counts allow that all members that constraint `c` binds, of which none is placed, go to
  // these hosts.
  [[nodiscard]] bool HasRoom(size_t c, const std::vector<HostSlot>& hosts) const;
  // The same of the hosts with that value, found out once in a turn.
  bool HasRoomAt(Turn& turn, size_t c, const std::string& value,
                 const std::vector<HostSlot>& hosts) const;
  // The value of the label of constraint `c` where a member is placed; null: none is.
  [[nodiscard]] const std::string* LabelToShare(size_t c) const;
  [[nodiscard]] std::vector<HostSlot> InOrder(const Turn& turn,
                                              const std::vector<HostSlot>& hosts) const;
  [[nodiscard]] Index::Query QueryFor(const Turn& turn, std::vector<uint64_t>& kinds) const;
  // The first host that fits; nullopt: there is none, which is noted, or the budget has ended.
  std::optional<HostSlot> FirstHost(Turn& turn);
  // All others that fit; bars those that are like a refused one.
  std::vector<Likes> OtherHosts(Turn& turn);
  // What keeps the member off the host before its devices are looked at.
  std::optional<Obstacle> Outside(Turn& turn, HostSlot slot) const;
  [[nodiscard]] bool Allowed(const Member& member, const HostRecord& host, HostSlot slot) const;
  // The host of those that must be on the same as this member; nullopt: none is placed yet.
  [[nodiscard]] std::optional<HostSlot> HostToShare(const Member& member) const;
  // Whether a later member could want the same host.
  [[nodiscard]] bool Contested(const Turn& turn) const;
  // Whether counts alone show that the members from `depth` on have no place.
  [[nodiscard]] bool Hopeless(size_t depth) const;
  // At least so many such members have a place, if not `wanted`.
  [[nodiscard]] uint64_t Room(const Member& member, uint64_t wanted) const;
  // Equal for hosts that can change places from here on.
  [[nodiscard]] uint64_t Likeness(const Turn& turn, HostSlot slot) const;
  void Bar(Turn& turn, const Likes& slots);
  void NoteDeadEnd(Turn& turn, Explanation explanation);
  // Takes a step. False: the budget has ended.
  bool Spend();
  // As Spend(), for a host that is turned away before its devices are looked at: many are a step.
  bool Pass();

  Engine& engine_;
  const GangRequest& request_;
  const ExcludedHosts& excluded_;
  std::vector<Member> members_;
  std::vector<size_t> order_;     // of the search: positions in members_
  std::set<std::string> labels_;  // that any condition looks at
  bool apart_ = false;            // any member has anti-affinity
  // Hosts that were refused to a wish further up the search.
  std::map<Wish, absl::flat_hash_set<HostSlot>> barred_;
  uint64_t budget_;
  uint64_t passed_ = 0;
  bool complete_ = true;
  bool dead_end_ = false;  // one has been met
  GangExplanation explanation_;
};

}  // namespace berth::placement

#endif  // BERTH_LIB_PLACEMENT_ENGINE_GANG_H_
