// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/history.h"

#include <tuple>

#include "absl/strings/str_cat.h"

namespace berth::testing {

using v1::Assignment;

std::vector<History::Device> History::DevicesOf(const Assignment& assignment) {
  std::vector<Device> devices;
  for (const v1::UnitPlacement& unit : assignment.placement().units()) {
    for (const auto& device : unit.devices()) {
      devices.emplace_back(assignment.placement().host(), device.device());
    }
  }
  return devices;
}

void History::Created(const v1::CreateAssignmentRequest& request, const Assignment& answer) {
  const std::string& id = request.assignment_id();
  absl::MutexLock lock(&mu_);
  const auto [entry, first] = entries_.try_emplace(id);
  if (!first) {
    const Assignment& before = entry->second.told.answer;
    if (answer.uid() != before.uid()) {
      violations_.insert(
          absl::StrCat(id, " has two uids for one request: ", before.uid(), " and ", answer.uid()));
    } else if (answer.attach_token() != before.attach_token()) {
      violations_.insert(absl::StrCat(id, " has two tokens for one request"));
    }
    return;
  }
  entry->second.told = {.request = request, .answer = answer};
  CheckDevicesOf(id, entry->second);
}

// Who asks for the end says so before he sends it, and who was given something says so after: so
// whoever has not asked yet when another was given his device has it still.
void History::CheckDevicesOf(const std::string& id, const Entry& entry) {
  for (const Device& device : DevicesOf(entry.told.answer)) {
    std::set<std::string>& holders = given_[device];
    for (const std::string& other : holders) {
      if (hold_ != Hold::kUntilDeleted || entries_.at(other).delete_asked) continue;
      violations_.insert(absl::StrCat(device.second, " of ", device.first, " was given to ", id,
                                      " while ", other, " had it"));
    }
    holders.insert(id);
  }
}

void History::DeleteAsked(const std::string& id) {
  absl::MutexLock lock(&mu_);
  entries_.at(id).delete_asked = true;
}

void History::Deleted(const std::string& id) {
  absl::MutexLock lock(&mu_);
  entries_.at(id).deleted = true;
}

void History::HasVintfs(const std::string& host, const std::string& unit, int vintfs) {
  absl::MutexLock lock(&mu_);
  vintfs_[{host, unit}] = vintfs;
}

void History::CheckEpoch(const std::string& host, const agent::v1::Epoch& epoch) {
  agent::v1::Epoch& before = epochs_[host];
  if (!before.store_uid().empty() && epoch.store_uid() != before.store_uid()) {
    violations_.insert(absl::StrCat(host, " obeys another store: ", epoch.store_uid(), ", not ",
                                    before.store_uid()));
  } else if (std::make_tuple(epoch.restore_count(), epoch.term()) <
             std::make_tuple(before.restore_count(), before.term())) {
    violations_.insert(absl::StrCat(host, " went back from term ", before.restore_count(), ".",
                                    before.term(), " to ", epoch.restore_count(), ".",
                                    epoch.term()));
    return;
  }
  before = epoch;
}

void History::Saw(const std::string& host, const std::vector<agent::v1::LocalGrant>& grants,
                  const agent::v1::Epoch& epoch) {
  absl::MutexLock lock(&mu_);
  ++looks_;
  std::map<std::string, std::string> holder_of;
  std::map<std::string, int> used;
  for (const agent::v1::LocalGrant& grant : grants) {
    for (const v1::UnitPlacement& unit : grant.status().units()) {
      ++used[unit.unit()];
      for (const auto& device : unit.devices()) {
        const auto [holder, first] = holder_of.try_emplace(device.device(), grant.assignment());
        if (first) continue;
        violations_.insert(absl::StrCat(host, " has ", device.device(), " in two grants: ",
                                        holder->second, " and ", grant.assignment()));
      }
    }
  }
  for (const auto& [unit, count] : used) {
    const auto limit = vintfs_.find({host, unit});
    if (limit == vintfs_.end() || count <= limit->second) continue;
    violations_.insert(absl::StrCat(unit, " of ", host, " has ", limit->second, " VINTFs, and ",
                                    count, " are in use"));
  }
  CheckEpoch(host, epoch);
}

void History::CheckFound(const std::string& id, const std::optional<Assignment>& now) {
  const Entry& entry = entries_.at(id);
  if (!now.has_value()) {
    if (!entry.delete_asked) violations_.insert(id + " was acknowledged, and is lost");
    return;
  }
  if (now->uid() != entry.told.answer.uid()) {
    violations_.insert(
        absl::StrCat(id, " is another one: ", now->uid(), ", not ", entry.told.answer.uid()));
  }
  if (entry.deleted) violations_.insert(id + " was deleted, and is there again");
}

void History::Found(const std::map<std::string, std::optional<Assignment>>& book) {
  absl::MutexLock lock(&mu_);
  std::map<Device, std::string> holder_of;
  for (const auto& [id, now] : book) {
    CheckFound(id, now);
    if (!now.has_value() || now->intent() != Assignment::PLACED) continue;
    for (const Device& device : DevicesOf(*now)) {
      const auto [holder, first] = holder_of.try_emplace(device, id);
      if (first) continue;
      violations_.insert(absl::StrCat("the book gives ", device.second, " of ", device.first,
                                      " to two: ", holder->second, " and ", id));
    }
  }
}

std::map<std::string, History::Told> History::Kept() const {
  absl::MutexLock lock(&mu_);
  std::map<std::string, Told> kept;
  for (const auto& [id, entry] : entries_) {
    if (!entry.deleted) kept[id] = entry.told;
  }
  return kept;
}

std::vector<std::string> History::Gone() const {
  absl::MutexLock lock(&mu_);
  std::vector<std::string> gone;
  for (const auto& [id, entry] : entries_) {
    if (entry.deleted) gone.push_back(id);
  }
  return gone;
}

size_t History::created() const {
  absl::MutexLock lock(&mu_);
  return entries_.size();
}

size_t History::looks() const {
  absl::MutexLock lock(&mu_);
  return looks_;
}

std::vector<std::string> History::Violations() const {
  absl::MutexLock lock(&mu_);
  return {violations_.begin(), violations_.end()};
}

}  // namespace berth::testing
