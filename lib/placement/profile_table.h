// SPDX-License-Identifier: Apache-2.0
//
// Hosts that are alike in all that placement looks at but their names and labels: what is found out
// about one holds for all. A fleet has far fewer profiles than hosts.
#ifndef BERTH_LIB_PLACEMENT_PROFILE_TABLE_H_
#define BERTH_LIB_PLACEMENT_PROFILE_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "lib/placement/slot_set.h"

namespace berth::placement {

using ProfileNumber = uint32_t;

// Thread-compatible. A change of one host costs O(log hosts).
class ProfileTable {
 public:
  // By hash, so that their order does not depend on who came first.
  using Members = absl::btree_set<std::pair<uint64_t, HostSlot>>;

  // `hash`: of the host's name. `likeness`: ProfileLikeness().
  void Put(HostSlot slot, uint64_t hash, uint64_t likeness);
  // Forgets a host that was put.
  void Drop(HostSlot slot, uint64_t hash);

  // All numbers are below this; the members of unused ones are empty.
  [[nodiscard]] size_t size() const { return profiles_.size(); }
  [[nodiscard]] const Members& members(ProfileNumber number) const {
    return profiles_[number].members;
  }
  // Of a host that was put.
  [[nodiscard]] ProfileNumber Of(HostSlot slot) const { return of_[slot]; }
  [[nodiscard]] uint64_t LikenessOf(HostSlot slot) const { return profiles_[of_[slot]].likeness; }

  // Whether the host is there, with that likeness; for audits.
  [[nodiscard]] bool Holds(HostSlot slot, uint64_t hash, uint64_t likeness) const;
  // Hosts in all; for audits.
  [[nodiscard]] size_t entries() const;

 private:
  static constexpr ProfileNumber kNone = ~ProfileNumber{0};

  struct Profile {
    uint64_t likeness = 0;
    Members members;
  };

  std::vector<Profile> profiles_;
  std::vector<ProfileNumber> free_;
  absl::flat_hash_map<uint64_t, ProfileNumber> numbers_;  // by likeness
  std::vector<ProfileNumber> of_;                         // by slot
};

}  // namespace berth::placement

#endif  // BERTH_LIB_PLACEMENT_PROFILE_TABLE_H_
