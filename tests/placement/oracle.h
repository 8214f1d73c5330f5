// SPDX-License-Identifier: Apache-2.0
//
// The rules of placement on one host, written down once more in the plainest way: try every way to
// give devices to requests. For hosts with a handful of devices.
#ifndef BERTH_TESTS_PLACEMENT_ORACLE_H_
#define BERTH_TESTS_PLACEMENT_ORACLE_H_

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "lib/placement/model.h"
#include "lib/placement/request.h"

namespace berth::placement {

class Oracle {
 public:
  // Borrows both. Only the first alternative of each request is looked at.
  Oracle(const HostSnapshot& host, const Request& request) : host_(host), request_(request) {
    for (const UnitSnapshot& unit : host.units) units_[unit.id] = &unit;
  }

  bool Fits() {
    given_.assign(host_.devices.size(), -1);
    return Tolerates(request_.tolerations, host_.taints) &&
           Meets(request_.host_selector, host_.labels) && Try(0);
  }

 private:
  bool Try(size_t device) {
    if (device == given_.size()) return Valid();
    for (int item = -1; item < static_cast<int>(request_.devices.size()); ++item) {
      given_[device] = item;
      if (Try(device + 1)) return true;
    }
    return false;
  }

  bool Valid() const {
    std::vector<uint32_t> counts(request_.devices.size());
    std::set<int32_t> groups;
    for (size_t i = 0; i < given_.size(); ++i) {
      if (given_[i] < 0) continue;
      const DeviceSnapshot& device = host_.devices[i];
      ++counts[static_cast<size_t>(given_[i])];
      groups.insert(device.iommu_group);
      const DeviceSpec& spec = SpecOf(i);
      const UnitCapacity& capacity = units_.at(device.unit)->capacity;
      if (device.device_class != spec.device_class) return false;
      if (!Meets(spec.requirements, device.attributes)) return false;
      if (spec.queues.need == QueueNeed::kRequired &&
          (capacity.vcmdqs_per_vintf == 0 || capacity.vcmdqs_per_vintf < spec.queues.count)) {
        return false;
      }
    }
    for (size_t item = 0; item < counts.size(); ++item) {
      if (counts[item] != request_.devices[item].alternatives[0].count) return false;
    }
    return GroupsAndUnits(groups) &&
           std::all_of(request_.constraints.begin(), request_.constraints.end(),
                       [&](const Constraint& constraint) { return Holds(constraint); });
  }

  bool GroupsAndUnits(const std::set<int32_t>& groups) const {
    std::map<UnitId, uint32_t> slots;
    for (const DeviceSnapshot& device : host_.devices) {
      if (!groups.contains(device.iommu_group)) continue;
      if (device.assignability != Assignability::kAssignable) return false;
      ++slots[device.unit];
    }
    return std::all_of(slots.begin(), slots.end(), [&](const auto& entry) {
      const UnitSnapshot& unit = *units_.at(entry.first);
      return unit.capacity.vintfs > unit.vintfs_held &&
             entry.second <= unit.capacity.sids_per_vintf;
    });
  }

  bool Holds(const Constraint& constraint) const {
    std::vector<const DeviceSnapshot*> bound;
    for (size_t i = 0; i < given_.size(); ++i) {
      if (given_[i] < 0) continue;
      const std::string& name = request_.devices[static_cast<size_t>(given_[i])].name;
      const auto& names = constraint.requests;
      if (names.empty() || std::find(names.begin(), names.end(), name) != names.end()) {
        bound.push_back(&host_.devices[i]);
      }
    }
    for (const DeviceSnapshot* a : bound) {
      for (const DeviceSnapshot* b : bound) {
        if (!PairHolds(constraint, *a, *b)) return false;
      }
    }
    return true;
  }

  static bool PairHolds(const Constraint& constraint, const DeviceSnapshot& a,
                        const DeviceSnapshot& b) {
    switch (constraint.kind) {
      case Constraint::Kind::kSameUnit:
        return a.unit == b.unit;
      case Constraint::Kind::kSameNumaNode:
        return a.numa_node >= 0 && a.numa_node == b.numa_node;
      case Constraint::Kind::kSameAttribute: {
        const auto in_a = a.attributes.find(constraint.attribute);
        const auto in_b = b.attributes.find(constraint.attribute);
        return in_a != a.attributes.end() && in_b != b.attributes.end() &&
               in_a->second == in_b->second;
      }
      case Constraint::Kind::kDistinctUnits:
        return &a == &b || a.unit != b.unit;
    }
    return false;
  }

  const DeviceSpec& SpecOf(size_t device) const {
    return request_.devices[static_cast<size_t>(given_[device])].alternatives[0];
  }

  const HostSnapshot& host_;
  const Request& request_;
  std::map<UnitId, const UnitSnapshot*> units_;
  std::vector<int> given_;  // by device: index of a request, or -1
};

}  // namespace berth::placement

#endif  // BERTH_TESTS_PLACEMENT_ORACLE_H_
