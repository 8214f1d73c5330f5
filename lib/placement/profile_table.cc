// SPDX-License-Identifier: Apache-2.0
#include "lib/placement/profile_table.h"

namespace berth::placement {

void ProfileTable::Put(HostSlot slot, uint64_t hash, uint64_t likeness) {
  if (of_.size() <= slot) of_.resize(slot + 1, kNone);
  if (of_[slot] != kNone) {
    if (LikenessOf(slot) == likeness) return;
    Drop(slot, hash);
  }
  const auto [it, is_new] = numbers_.try_emplace(likeness, 0);
  if (is_new) {
    if (free_.empty()) {
      it->second = static_cast<ProfileNumber>(profiles_.size());
      profiles_.emplace_back();
    } else {
      it->second = free_.back();
      free_.pop_back();
    }
    profiles_[it->second].likeness = likeness;
  }
  of_[slot] = it->second;
  profiles_[it->second].members.emplace(hash, slot);
}

void ProfileTable::Drop(HostSlot slot, uint64_t hash) {
  const ProfileNumber number = of_[slot];
  of_[slot] = kNone;
  Profile& profile = profiles_[number];
  profile.members.erase({hash, slot});
  if (!profile.members.empty()) return;
  numbers_.erase(profile.likeness);
  free_.push_back(number);
}

bool ProfileTable::Holds(HostSlot slot, uint64_t hash, uint64_t likeness) const {
  return slot < of_.size() && of_[slot] != kNone && LikenessOf(slot) == likeness &&
         members(of_[slot]).contains({hash, slot});
}

size_t ProfileTable::entries() const {
  size_t entries = 0;
  for (const Profile& profile : profiles_) entries += profile.members.size();
  return entries;
}

}  // namespace berth::placement
