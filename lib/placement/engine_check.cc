// SPDX-License-Identifier: Apache-2.0
//
// The engine's audit of itself.
#include <algorithm>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/placement/engine.h"
#include "lib/placement/likeness.h"

namespace berth::placement {
namespace {

absl::Status Broken(Reason reason, const HostRecord& record, std::string_view what) {
  return Error(reason, absl::StrCat("host ", record.id.str(), ": ", std::string(what)),
               {{"host", record.id.str()}});
}

// The record as it would be with nothing reserved.
HostRecord Unreserved(const HostRecord& record) {
  HostRecord empty = record;
  for (HostRecord::Unit& unit : empty.units) unit.usage = {};
  for (HostRecord::Device& device : empty.devices) device.reserved = 0;
  empty.promised_pages.clear();
  return empty;
}

bool SameCharges(const HostRecord& a, const HostRecord& b) {
  const auto same_unit = [](const auto& x, const auto& y) { return x.usage == y.usage; };
  const auto same_device = [](const auto& x, const auto& y) {
    return x.reserved == y.reserved && x.placeable == y.placeable;
  };
  return a.classes == b.classes &&
         std::equal(a.units.begin(), a.units.end(), b.units.begin(), same_unit) &&
         std::equal(a.devices.begin(), a.devices.end(), b.devices.begin(), same_device) &&
         std::all_of(a.promised_pages.begin(), a.promised_pages.end(), [&](const HugePages& pages) {
           return a.Pages(pages.page_size, View::kNow) == b.Pages(pages.page_size, View::kNow);
         });
}

}  // namespace

absl::Status Engine::CheckHost(HostSlot slot) const {
  const HostRecord& record = *hosts_[slot];
  HostRecord expected = Unreserved(record);
  const auto uids = by_host_.find(record.id);
  if (uids != by_host_.end()) {
    for (const AssignmentUid& uid : uids->second) {
      const Placement* placement = FindReservation(uid);
      if (placement == nullptr || placement->host != record.id) {
        return Broken(Reason::kInternal, record, "lists a reservation that is not there");
      }
      Count(*placement, Direction::kIn, expected);
    }
  }
  Summarize(expected);
  if (!SameCharges(record, expected) || !SameCharges(expected, record)) {
    return Broken(Reason::kInternal, record, "is not charged what its reservations say");
  }
  if (!index_.Holds(slot, record.hash, Facts(record))) {
    return Broken(Reason::kInternal, record, "is not in the index as it is");
  }
  for (const View view : {View::kNow, View::kEmpty}) {
    if (!profiles_[static_cast<size_t>(view)].Holds(slot, record.hash,
                                                    ProfileLikeness(record, view))) {
      return Broken(Reason::kInternal, record, "is not among the hosts that are like it");
    }
  }
  for (const auto& [key, value] : record.labels) {
    const std::vector<HostSlot>& hosts = labels_.Hosts(key, value);
    if (!std::binary_search(hosts.begin(), hosts.end(), slot)) {
      return Broken(Reason::kInternal, record, "is not found by its labels");
    }
  }
  return absl::OkStatus();
}

absl::Status Engine::CheckCapacity(const HostRecord& record) const {
  for (const HostRecord::Unit& unit : record.units) {
    if (CountsVintfs(unit.capacity.profile) &&
        uint64_t{unit.usage.vintfs} + unit.held > unit.capacity.vintfs) {
      return Broken(Reason::kStateConflict, record,
                    absl::StrCat("unit ", unit.id.str(), " has ", unit.capacity.vintfs,
                                 " VINTFs, and ", unit.usage.vintfs, " are reserved"));
    }
  }
  for (const HostRecord::Device& device : record.devices) {
    if (device.reserved > 1) {
      return Broken(Reason::kStateConflict, record,
                    absl::StrCat("device ", device.id.str(), " is reserved twice"));
    }
  }
  return absl::OkStatus();
}

absl::Status Engine::Check() const {
  size_t entries = 0;
  size_t labels = 0;
  std::array<uint64_t, kStates> states{};
  for (const auto& [id, slot] : slots_) {
    BERTH_RETURN_IF_ERROR(CheckHost(slot));
    entries += Index::EntriesOf(Facts(*hosts_[slot]));
    labels += hosts_[slot]->labels.size();
    ++states[StateOf(*hosts_[slot])];
  }
  const auto all_known = [&](const ProfileTable& table) {
    return table.entries() == slots_.size();
  };
  if (entries != index_.entries() || states != states_ || labels != labels_.entries() ||
      !std::all_of(profiles_.begin(), profiles_.end(), all_known)) {
    return Error(Reason::kInternal, "the index has entries of hosts that are not there");
  }
  ApartTable apart;
  for (const auto& [uid, placement] : reservations_) apart.Count(placement, Direction::kIn);
  if (!(apart == apart_)) {
    return Error(Reason::kInternal, "the anti-affinity groups are not those of the reservations");
  }
  for (const auto& [id, slot] : slots_) {
    const HostRecord& record = *hosts_[slot];
    BERTH_RETURN_IF_ERROR(CheckCapacity(record));
    const auto uids = by_host_.find(id);
    if (uids == by_host_.end()) continue;
    for (const AssignmentUid& uid : uids->second) {
      for (const PlacedUnit& placed : reservations_.at(uid).units) {
        const HostRecord::Unit* unit = hosts_[slot]->FindUnit(placed.unit);
        if (unit == nullptr) continue;
        BERTH_RETURN_IF_ERROR(Annotate(CheckClaim(placed.unit, unit->capacity, placed.claim),
                                       absl::StrCat("assignment ", uid.str())));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace berth::placement
