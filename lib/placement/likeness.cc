// SPDX-License-Identifier: Apache-2.0
#include "lib/placement/likeness.h"

#include <vector>

#include "lib/placement/hash.h"

namespace berth::placement {
namespace {

uint64_t OfTaints(const std::vector<Taint>& taints) {
  uint64_t hash = taints.size();
  for (const Taint& taint : taints) {
    hash = Combine(Combine(hash, StableHash(taint.key)), StableHash(taint.value));
    hash = Combine(hash, static_cast<uint64_t>(taint.effect));
  }
  return hash;
}

uint64_t OfPages(const HostRecord& host, View view) {
  uint64_t hash = host.huge_pages.size();
  for (const HugePages& pages : host.huge_pages) {
    hash = Combine(hash, static_cast<uint64_t>(pages.page_size));
    hash = Combine(hash, static_cast<uint64_t>(host.Pages(pages.page_size, view)));
  }
  return hash;
}

uint64_t EmptyGroupLikeness(const HostRecord& host, const HostRecord::Group& group) {
  uint64_t hash = group.size;
  for (size_t i = group.first; i < size_t{group.first} + group.size; ++i) {
    const HostRecord::Device& device = host.devices[i];
    const bool assignable = device.assignability != Assignability::kNotAssignable;
    hash = Combine(hash, Combine(device.kind, assignable ? 1 : 0));
    hash = Combine(hash, static_cast<uint64_t>(device.numa_node));
  }
  return hash;
}

}  // namespace

uint64_t GroupLikeness(const HostRecord& host, const HostRecord::Group& group) {
  uint64_t hash = group.size;
  for (size_t i = group.first; i < size_t{group.first} + group.size; ++i) {
    const HostRecord::Device& device = host.devices[i];
    const auto state = static_cast<uint64_t>(device.assignability) << 1 | (device.reserved > 0);
    hash = Combine(hash, Combine(device.kind, state));
    hash = Combine(hash, static_cast<uint64_t>(device.numa_node));
  }
  return hash | 1;
}

uint64_t UnitLikeness(const HostRecord& host, uint8_t unit, size_t first, size_t last) {
  const HostRecord::Unit& record = host.units[unit];
  uint64_t hash = Combine(OfTaints(record.taints), record.FreeVintfs());
  hash = Combine(hash, record.capacity.vcmdqs_per_vintf);
  hash = Combine(hash, SidSlotLimit(record.capacity));
  for (size_t i = first; i < last;) {
    const HostRecord::Group& group = host.groups[host.devices[i].group];
    hash = Combine(hash, GroupLikeness(host, group));
    i += group.size;
  }
  return hash | 1;
}

uint64_t ProfileLikeness(const HostRecord& host, View view) {
  const bool now = view == View::kNow;
  uint64_t hash = Combine(now ? OfTaints(host.taints) : 0, OfPages(host, view));
  if (now) {
    hash = Combine(hash,
                   static_cast<uint64_t>(host.schedulability) << 1 | (host.defect.empty() ? 1 : 0));
  }
  uint64_t units = 0;
  for (size_t i = 0; i < host.devices.size();) {
    const uint8_t number = host.devices[i].unit;
    const HostRecord::Unit& unit = host.units[number];
    const uint64_t free = now ? unit.FreeVintfs() : ::berth::FreeVintfs(unit.capacity, {});
    uint64_t groups = 0;
    while (i < host.devices.size() && host.devices[i].unit == number) {
      const HostRecord::Group& group = host.groups[host.devices[i].group];
      groups += Mix(now ? GroupLikeness(host, group) : EmptyGroupLikeness(host, group));
      i += group.size;
    }
    uint64_t sign = Combine(now ? OfTaints(unit.taints) : 0, now ? free : (free > 0 ? 1 : 0));
    sign = Combine(sign, unit.capacity.vcmdqs_per_vintf);
    units += Mix(Combine(Combine(sign, SidSlotLimit(unit.capacity)), groups));
  }
  return Combine(hash, units);
}

}  // namespace berth::placement
