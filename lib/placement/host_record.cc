// SPDX-License-Identifier: Apache-2.0
#include "lib/placement/host_record.h"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "lib/placement/hash.h"

namespace berth::placement {
namespace {

constexpr size_t Index(View view) { return static_cast<size_t>(view); }

int64_t CountOf(const std::vector<HugePages>& pages, int64_t page_size) {
  int64_t count = 0;
  for (const HugePages& entry : pages) {
    if (entry.page_size == page_size) count += entry.count;
  }
  return count;
}

ClassSummary& SummaryOf(std::vector<ClassSummary>& classes, ClassNumber device_class) {
  for (ClassSummary& summary : classes) {
    if (summary.device_class == device_class) return summary;
  }
  return classes.emplace_back(ClassSummary{.device_class = device_class});
}

// How far the group as a whole comes, and whether it does so on an empty host.
struct GroupState {
  Level level = kPlaceable;
  bool potential = false;
};

GroupState StateOf(const HostRecord& record, const HostRecord::Group& group) {
  const HostRecord::Unit& unit = record.units[record.devices[group.first].unit];
  const bool fits_vintf = group.size <= SidSlotLimit(unit.capacity);
  bool assignable = true;
  bool free = true;
  for (size_t i = group.first; i < size_t{group.first} + group.size; ++i) {
    const HostRecord::Device& device = record.devices[i];
    assignable &= device.assignability != Assignability::kNotAssignable;
    free &= device.assignability != Assignability::kHeld && device.reserved == 0;
  }
  GroupState state;
  state.potential = assignable && fits_vintf && ::berth::FreeVintfs(unit.capacity, {}) > 0;
  if (!assignable || !free || !fits_vintf) {
    state.level = kFree;
  } else if (unit.FreeVintfs() == 0) {
    state.level = kWholeGroup;
  }
  return state;
}

Level LevelOf(const HostRecord::Device& device, Level group_level) {
  if (device.assignability == Assignability::kNotAssignable) return kInstalled;
  if (device.assignability == Assignability::kHeld || device.reserved > 0) return kAssignable;
  return group_level;
}

// Adds the devices behind one unit, [first, last), to the summaries.
void SummarizeUnit(HostRecord& record, size_t first, size_t last) {
  const uint32_t sids = SidSlotLimit(record.units[record.devices[first].unit].capacity);
  struct Here {
    uint16_t placeable = 0;
    uint16_t potential = 0;
  };
  std::array<Here, 8> small{};  // the usual case: a few classes
  std::vector<Here> large;
  for (size_t i = first; i < last;) {
    const HostRecord::Group& group = record.groups[record.devices[i].group];
    const GroupState state = StateOf(record, group);
    for (const size_t end = i + group.size; i < end; ++i) {
      HostRecord::Device& device = record.devices[i];
      ClassSummary& summary = SummaryOf(record.classes, device.device_class);
      const Level level = LevelOf(device, state.level);
      for (size_t reached = kInstalled; reached <= level; ++reached) ++summary.devices[reached];
      device.placeable[Index(View::kNow)] = level == kPlaceable;
      device.placeable[Index(View::kEmpty)] = state.potential;
      if (level == kPlaceable) summary.kinds |= uint64_t{1} << (device.kind % 64);
      summary.potential += state.potential ? 1 : 0;
      const auto at = static_cast<size_t>(&summary - record.classes.data());
      if (at >= small.size() && large.size() <= at - small.size()) {
        large.resize(at - small.size() + 1);
      }
      Here& here = at < small.size() ? small[at] : large[at - small.size()];
      here.placeable += level == kPlaceable ? 1 : 0;
      here.potential += state.potential ? 1 : 0;
    }
  }
  for (size_t at = 0; at < record.classes.size() && at < small.size() + large.size(); ++at) {
    const Here& here = at < small.size() ? small[at] : large[at - small.size()];
    ClassSummary& summary = record.classes[at];
    const uint32_t size = std::min<uint32_t>(here.placeable, sids);
    if (size > 0) summary.unit_sizes |= uint64_t{1} << ClampUnitSize(size);
    summary.potential_unit = std::max(
        summary.potential_unit, static_cast<uint16_t>(std::min<uint32_t>(here.potential, sids)));
  }
}

void CountUnits(const Placement& placement, Direction direction, HostRecord& record) {
  for (const PlacedUnit& placed : placement.units) {
    HostRecord::Unit* unit = record.FindUnit(placed.unit);
    if (unit == nullptr) continue;
    if (direction == Direction::kIn) {
      Charge(placed.claim, unit->usage);
    } else {
      // It was charged by the same claim, so there is enough.
      Release(placed.unit, placed.claim, unit->usage).IgnoreError();
    }
  }
}

void CountDevices(const Placement& placement, Direction direction, HostRecord& record) {
  for (const PlacedDevice& placed : placement.devices) {
    HostRecord::Device* device = record.FindDevice(placed.device);
    if (device == nullptr) continue;
    if (direction == Direction::kIn) {
      device->reserved += device->reserved < UINT8_MAX ? 1 : 0;
    } else {
      device->reserved -= device->reserved > 0 ? 1 : 0;
    }
  }
}

}  // namespace

uint32_t HostRecord::Unit::FreeVintfs() const {
  UnitUsage all = usage;
  all.vintfs += held;
  return ::berth::FreeVintfs(capacity, all);
}

const ClassSummary* HostRecord::FindClass(ClassNumber number) const {
  for (const ClassSummary& summary : classes) {
    if (summary.device_class == number) return &summary;
  }
  return nullptr;
}

HostRecord::Unit* HostRecord::FindUnit(const UnitId& unit_id) {
  const auto it =
      std::lower_bound(units.begin(), units.end(), unit_id,
                       [](const Unit& unit, const UnitId& wanted) { return unit.id < wanted; });
  return it != units.end() && it->id == unit_id ? &*it : nullptr;
}

HostRecord::Device* HostRecord::FindDevice(const DeviceId& device_id) {
  const auto it = std::find_if(devices.begin(), devices.end(),
                               [&](const Device& device) { return device.id == device_id; });
  return it == devices.end() ? nullptr : &*it;
}

int64_t HostRecord::Pages(int64_t page_size, View view) const {
  const int64_t promised = view == View::kNow ? CountOf(promised_pages, page_size) : 0;
  return CountOf(huge_pages, page_size) - promised;
}

HostRecord MakeRecord(const HostSnapshot& snapshot, KindTable& kinds) {
  HostRecord record;
  record.id = snapshot.id;
  record.hash = StableHash(snapshot.id.str());
  record.schedulability = snapshot.schedulability;
  record.labels = snapshot.labels;
  record.taints = snapshot.taints;
  record.huge_pages = snapshot.huge_pages;
  record.units.reserve(snapshot.units.size());
  for (const UnitSnapshot& unit : snapshot.units) {
    record.units.push_back({unit.id, unit.capacity, unit.vintfs_held, {}, unit.taints});
  }
  std::sort(record.units.begin(), record.units.end(),
            [](const auto& a, const auto& b) { return a.id < b.id; });

  std::vector<size_t> order(snapshot.devices.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto key = [&](size_t i) {
    const DeviceSnapshot& device = snapshot.devices[i];
    return std::tie(device.unit, device.iommu_group, device.id);
  };
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return key(a) < key(b); });
  record.devices.reserve(order.size());
  for (const size_t i : order) {
    const DeviceSnapshot& from = snapshot.devices[i];
    const bool same_group =
        !record.devices.empty() &&
        from.iommu_group == snapshot.devices[order[record.devices.size() - 1]].iommu_group;
    if (!same_group) {
      record.groups.push_back({static_cast<uint16_t>(record.devices.size()), 0});
    }
    ++record.groups.back().size;
    HostRecord::Device& device = record.devices.emplace_back();
    device.id = from.id;
    device.kind = kinds.Acquire(from);
    device.device_class = kinds[device.kind].device_class;
    device.group = static_cast<uint16_t>(record.groups.size() - 1);
    device.numa_node = static_cast<int16_t>(from.numa_node);
    device.unit = static_cast<uint8_t>(record.FindUnit(from.unit) - record.units.data());
    device.assignability = from.assignability;
  }
  record.groups.shrink_to_fit();
  return record;
}

void ReleaseKinds(const HostRecord& record, KindTable& kinds) {
  for (const HostRecord::Device& device : record.devices) kinds.Release(device.kind);
}

void Count(const Placement& placement, Direction direction, HostRecord& record) {
  CountUnits(placement, direction, record);
  CountDevices(placement, direction, record);
  for (const HugePages& pages : placement.huge_pages) {
    const auto it = std::find_if(record.promised_pages.begin(), record.promised_pages.end(),
                                 [&](const auto& p) { return p.page_size == pages.page_size; });
    const int64_t change = direction == Direction::kIn ? pages.count : -pages.count;
    if (it != record.promised_pages.end()) {
      it->count += change;
      if (it->count == 0) record.promised_pages.erase(it);
    } else if (change != 0) {
      record.promised_pages.push_back({pages.page_size, change});
    }
  }
}

void Summarize(HostRecord& record) {
  for (ClassSummary& summary : record.classes) {
    summary = ClassSummary{.device_class = summary.device_class};
  }
  for (size_t first = 0; first < record.devices.size();) {
    size_t last = first;
    while (last < record.devices.size() &&
           record.devices[last].unit == record.devices[first].unit) {
      ++last;
    }
    SummarizeUnit(record, first, last);
    first = last;
  }
}

}  // namespace berth::placement
