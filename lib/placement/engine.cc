// SPDX-License-Identifier: Apache-2.0
#include "lib/placement/engine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/placement/hash.h"
#include "lib/placement/likeness.h"

namespace berth::placement {
namespace {

absl::Status HostNotFound(const HostId& host) {
  return Error(Reason::kNotFound, absl::StrCat("no host ", host.str()), {{"host", host.str()}});
}

absl::Status Refuse(Reason reason, const Placement& placement, std::string_view key,
                    const std::string& subject, std::string_view what) {
  return Error(reason,
               absl::StrCat("host ", placement.host.str(), ": ", std::string(key), " ", subject,
                            " ", std::string(what)),
               {{"host", placement.host.str()}, {std::string(key), subject}});
}

// Devices: each there, free, on the unit that it is said to be on, and with its whole group.
absl::Status CheckDevices(HostRecord& record, const Placement& placement) {
  std::vector<size_t> indices;
  for (const PlacedDevice& placed : placement.devices) {
    const std::string& name = placed.device.str();
    const HostRecord::Device* device = record.FindDevice(placed.device);
    if (device == nullptr) {
      return Refuse(Reason::kDeviceGone, placement, "device", name, "is not there");
    }
    if (record.units[device->unit].id != placed.unit) {
      return Refuse(Reason::kInvalidField, placement, "device", name, "is behind another unit");
    }
    if (device->reserved > 0 || device->assignability != Assignability::kAssignable) {
      return Refuse(Reason::kDeviceBusy, placement, "device", name, "is not free");
    }
    indices.push_back(static_cast<size_t>(device - record.devices.data()));
  }
  std::sort(indices.begin(), indices.end());
  if (std::adjacent_find(indices.begin(), indices.end()) != indices.end()) {
    return Refuse(Reason::kInvalidField, placement, "devices", "", "name one twice");
  }
  for (const size_t index : indices) {
    const HostRecord::Group& group = record.groups[record.devices[index].group];
    for (size_t member = group.first; member < size_t{group.first} + group.size; ++member) {
      if (std::binary_search(indices.begin(), indices.end(), member)) continue;
      return Refuse(Reason::kInvalidField, placement, "device", record.devices[member].id.str(),
                    "must go with its IOMMU group");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckUnits(HostRecord& record, const Placement& placement) {
  size_t devices = 0;
  for (size_t i = 0; i < placement.units.size(); ++i) {
    const PlacedUnit& placed = placement.units[i];
    const HostRecord::Unit* unit = record.FindUnit(placed.unit);
    if (unit == nullptr) {
      return Refuse(Reason::kUnitUnknown, placement, "unit", placed.unit.str(), "is not there");
    }
    if (i > 0 && !(placement.units[i - 1].unit < placed.unit)) {
      return Refuse(Reason::kInvalidField, placement, "unit", placed.unit.str(), "is out of order");
    }
    const auto here =
        std::count_if(placement.devices.begin(), placement.devices.end(),
                      [&](const PlacedDevice& device) { return device.unit == placed.unit; });
    if (placed.claim.sid_slots != static_cast<size_t>(here)) {
      return Refuse(Reason::kInvalidField, placement, "unit", placed.unit.str(),
                    "needs one SID slot for each device");
    }
    devices += static_cast<size_t>(here);
    UnitUsage usage = unit->usage;
    usage.vintfs += unit->held;
    BERTH_RETURN_IF_ERROR(::berth::Reserve(placed.unit, unit->capacity, placed.claim, usage));
  }
  if (devices != placement.devices.size() || devices == 0) {
    return Refuse(Reason::kInvalidField, placement, "units", "", "do not cover the devices");
  }
  return absl::OkStatus();
}

absl::Status CheckPages(const HostRecord& record, const Placement& placement) {
  HostRecord after;
  after.promised_pages = record.promised_pages;
  after.huge_pages = record.huge_pages;
  for (const HugePages& pages : placement.huge_pages) after.promised_pages.push_back(pages);
  for (const HugePages& pages : placement.huge_pages) {
    if (pages.count < 0) {
      return Refuse(Reason::kInvalidField, placement, "huge_pages", std::to_string(pages.page_size),
                    "are negative");
    }
    if (pages.count > 0 && after.Pages(pages.page_size, View::kNow) < 0) {
      return Refuse(Reason::kNoCapacity, placement, "huge_pages", std::to_string(pages.page_size),
                    "are too few");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Engine::CheckApart(const Placement& placement, const HostRecord& record) const {
  Request request;
  request.anti_affinity = placement.anti_affinity;
  if (request.anti_affinity.empty() || !WhatToAvoid(request).Forbids(record)) {
    return absl::OkStatus();
  }
  return Refuse(Reason::kStateConflict, placement, "host", placement.host.str(),
                "is too near to another of an anti-affinity group");
}

Engine::Engine(EngineOptions options) : options_(options), fit_(kinds_, options.steps_per_host) {}

HostRecord* Engine::Find(const HostId& host) {
  const auto it = slots_.find(host);
  return it == slots_.end() ? nullptr : hosts_[it->second].get();
}

const HostRecord* Engine::Find(const HostId& host) const {
  const auto it = slots_.find(host);
  return it == slots_.end() ? nullptr : hosts_[it->second].get();
}

Index::Before Engine::Facts(const HostRecord& record) {
  return {record.classes, record.schedulable()};
}

size_t Engine::StateOf(const HostRecord& record) {
  return record.defect.empty() ? static_cast<size_t>(record.schedulability) : kStates - 1;
}

HostSlot Engine::AddSlot(const HostId& host) {
  HostSlot slot = static_cast<HostSlot>(hosts_.size());
  if (free_slots_.empty()) {
    hosts_.emplace_back();
  } else {
    slot = free_slots_.back();
    free_slots_.pop_back();
  }
  hosts_[slot] = std::make_unique<HostRecord>();
  hosts_[slot]->id = host;
  hosts_[slot]->hash = StableHash(host.str());
  for (const View view : {View::kNow, View::kEmpty}) {
    profiles_[static_cast<size_t>(view)].Put(slot, hosts_[slot]->hash,
                                             ProfileLikeness(*hosts_[slot], view));
  }
  slots_.emplace(host, slot);
  ++states_[StateOf(*hosts_[slot])];
  return slot;
}

void Engine::Refresh(HostSlot slot, const Index::Before& before, size_t state_before) {
  HostRecord& record = *hosts_[slot];
  Summarize(record);
  index_.Update(slot, record.hash, before, Facts(record));
  profiles_[static_cast<size_t>(View::kNow)].Put(slot, record.hash,
                                                 ProfileLikeness(record, View::kNow));
  --states_[state_before];
  ++states_[StateOf(record)];
}

template <typename Change>
void Engine::Apply(HostSlot slot, const Change& change) {
  HostRecord& record = *hosts_[slot];
  const Index::Before before = Facts(record);
  const size_t state = StateOf(record);
  change(record);
  Refresh(slot, before, state);
}

absl::Status Engine::UpsertHost(const HostSnapshot& snapshot) {
  absl::Status valid = ValidateSnapshot(snapshot);
  if (!valid.ok() && (snapshot.id.empty() || snapshot.id.str().size() > kMaxText)) return valid;
  const auto it = slots_.find(snapshot.id);
  const HostSlot slot = it == slots_.end() ? AddSlot(snapshot.id) : it->second;
  if (!valid.ok()) {
    Apply(slot, [&](HostRecord& record) {
      record.defect = std::string(valid.message().data(), valid.message().size());
    });
    return valid;
  }
  HostRecord record = MakeRecord(snapshot, kinds_);
  const auto reserved = by_host_.find(snapshot.id);
  if (reserved != by_host_.end()) {
    for (const AssignmentUid& uid : reserved->second) {
      Count(reservations_.at(uid), Direction::kIn, record);
    }
  }
  // The old kinds go last, so that no number changes its meaning while the index still has it.
  Apply(slot, [&](HostRecord& current) { std::swap(current, record); });
  const HostRecord& now = *hosts_[slot];
  labels_.Update(slot, record.labels, now.labels);
  profiles_[static_cast<size_t>(View::kEmpty)].Put(slot, now.hash,
                                                   ProfileLikeness(now, View::kEmpty));
  ReleaseKinds(record, kinds_);
  return absl::OkStatus();
}

absl::Status Engine::RemoveHost(const HostId& host) {
  const auto it = slots_.find(host);
  if (it == slots_.end()) return HostNotFound(host);
  const HostSlot slot = it->second;
  const HostRecord& record = *hosts_[slot];
  index_.Update(slot, record.hash, Facts(record), {});
  labels_.Update(slot, record.labels, {});
  for (ProfileTable& profiles : profiles_) profiles.Drop(slot, record.hash);
  --states_[StateOf(record)];
  ReleaseKinds(record, kinds_);
  hosts_[slot] = nullptr;
  free_slots_.push_back(slot);
  slots_.erase(it);
  return absl::OkStatus();
}

absl::Status Engine::SetHostSchedulable(const HostId& host, Schedulability schedulability) {
  const auto it = slots_.find(host);
  if (it == slots_.end()) return HostNotFound(host);
  Apply(it->second, [&](HostRecord& record) { record.schedulability = schedulability; });
  return absl::OkStatus();
}

std::optional<absl::Status> Engine::Known(const AssignmentUid& uid,
                                          const Placement& placement) const {
  const auto it = reservations_.find(uid);
  if (it == reservations_.end()) return std::nullopt;
  if (it->second == placement) return absl::OkStatus();
  return Error(Reason::kAlreadyExists,
               absl::StrCat("assignment ", uid.str(), " has another placement"),
               {{"assignment", uid.str()}});
}

void Engine::Charge(const Placement& placement, Direction direction) {
  apart_.Count(placement, direction);
  const auto it = slots_.find(placement.host);
  if (it == slots_.end()) return;
  Apply(it->second, [&](HostRecord& record) { Count(placement, direction, record); });
}

void Engine::Record(const AssignmentUid& uid, const Placement& placement) {
  reservations_.emplace(uid, placement);
  by_host_[placement.host].push_back(uid);
  Charge(placement, Direction::kIn);
}

absl::Status Engine::Reserve(const AssignmentUid& uid, const Placement& placement) {
  if (const auto known = Known(uid, placement)) return *known;
  HostRecord* record = Find(placement.host);
  if (record == nullptr) return HostNotFound(placement.host);
  if (!record->schedulable()) {
    return Refuse(Reason::kHostNotReady, placement, "host", placement.host.str(),
                  "takes nothing new");
  }
  BERTH_RETURN_IF_ERROR(CheckDevices(*record, placement));
  BERTH_RETURN_IF_ERROR(CheckUnits(*record, placement));
  BERTH_RETURN_IF_ERROR(CheckPages(*record, placement));
  BERTH_RETURN_IF_ERROR(CheckApart(placement, *record));
  Record(uid, placement);
  return absl::OkStatus();
}

absl::Status Engine::Restore(const AssignmentUid& uid, const Placement& placement) {
  if (const auto known = Known(uid, placement)) return *known;
  Record(uid, placement);
  return absl::OkStatus();
}

absl::Status Engine::Release(const AssignmentUid& uid) {
  const auto it = reservations_.find(uid);
  if (it == reservations_.end()) {
    return Error(Reason::kNotFound, absl::StrCat("assignment ", uid.str(), " has no placement"),
                 {{"assignment", uid.str()}});
  }
  const Placement placement = std::move(it->second);
  reservations_.erase(it);
  const auto uids = by_host_.find(placement.host);
  std::erase(uids->second, uid);
  if (uids->second.empty()) by_host_.erase(uids);
  Charge(placement, Direction::kOut);
  return absl::OkStatus();
}

const Placement* Engine::FindReservation(const AssignmentUid& uid) const {
  const auto it = reservations_.find(uid);
  return it == reservations_.end() ? nullptr : &it->second;
}

absl::StatusOr<Engine::HostStatus> Engine::Describe(const HostId& host) const {
  const HostRecord* record = Find(host);
  if (record == nullptr) return HostNotFound(host);
  HostStatus status{record->schedulability, record->defect, {}, record->devices.size(), 0};
  for (const HostRecord::Unit& unit : record->units) {
    status.units.push_back({unit.id, unit.capacity, unit.usage, unit.held, unit.FreeVintfs()});
  }
  for (const ClassSummary& summary : record->classes) {
    status.placeable_devices += summary.devices[kPlaceable];
  }
  return status;
}

}  // namespace berth::placement
