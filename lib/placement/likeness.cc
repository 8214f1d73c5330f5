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

uint64_t OfPages(const HostRecord& host) {
  uint64_t hash = host.huge_pages.size();
  for (const HugePages& pages : host.huge_pages) {
    hash = Combine(hash, static_cast<uint64_t>(pages.page_size));
    hash = Combine(hash, static_cast<uint64_t>(host.Pages(pages.page_size, View::kNow)));
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

uint64_t HostLikeness(const HostRecord& host, const std::set<std::string>& labels) {
  uint64_t hash = Combine(OfTaints(host.taints), OfPages(host));
  for (const std::string& label : labels) {
    const auto value = host.labels.find(label);
    hash = Combine(hash, value == host.labels.end() ? 0 : StableHash(value->second));
  }
  uint64_t units = 0;
  for (size_t first = 0; first < host.devices.size();) {
    const uint8_t unit = host.devices[first].unit;
    size_t last = first;
    while (last < host.devices.size() && host.devices[last].unit == unit) ++last;
    units += Mix(UnitLikeness(host, unit, first, last));
    first = last;
  }
  return Combine(hash, units);
}

}  // namespace berth::placement
