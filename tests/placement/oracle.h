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
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "lib/placement/model.h"
#include "lib/placement/request.h"

namespace berth::placement {

class Oracle {
 public:
  // Borrows both. Only the first alternative of each request is looked at, and one size of pages.
  Oracle(const HostSnapshot& host, const Request& request) : host_(host), request_(request) {
    for (const UnitSnapshot& unit : host.units) units_[unit.id] = &unit;
  }

  // By device: index of a request, or -1.
  using Given = std::vector<int>;
  using Accept = absl::FunctionRef<bool(const Given&)>;
  // Calls `accept` for one way after the other to give devices to requests, until it returns true.
  bool Each(Accept accept) {
    given_.assign(host_.devices.size(), -1);
    return Tolerates(request_.tolerations, host_.taints) &&
           Meets(request_.host_selector, host_.labels) && HasPages() && Try(0, accept);
  }

 private:
  bool Try(size_t device, Accept accept) {
    if (device == given_.size()) return Valid() && accept(given_);
    for (int item = -1; item < static_cast<int>(request_.devices.size()); ++item) {
      given_[device] = item;
      if (Try(device + 1, accept)) return true;
    }
    return false;
  }

  bool HasPages() const {
    return std::all_of(
        request_.huge_pages.begin(), request_.huge_pages.end(), [&](const HugePages& wanted) {
          return std::any_of(
              host_.huge_pages.begin(), host_.huge_pages.end(), [&](const auto& has) {
                return has.page_size == wanted.page_size && has.count >= wanted.count;
              });
        });
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
      if (!Tolerates(request_.tolerations, units_.at(device.unit)->taints)) return false;
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
  Given given_;
};

// The request once for each combination of its alternatives.
inline std::vector<Request> Expand(const Request& request) {
  std::vector<Request> expanded{request};
  for (size_t i = 0; i < request.devices.size(); ++i) {
    std::vector<Request> next;
    for (const Request& one : expanded) {
      for (const DeviceSpec& spec : request.devices[i].alternatives) {
        next.push_back(one);
        next.back().devices[i].alternatives = {spec};
      }
    }
    expanded = std::move(next);
  }
  return expanded;
}

inline bool Fits(const HostSnapshot& host, const Request& request) {
  const std::vector<Request> expanded = Expand(request);
  return std::any_of(expanded.begin(), expanded.end(), [&](const Request& one) {
    return Oracle(host, one).Each([](const Oracle::Given&) { return true; });
  });
}

}  // namespace berth::placement

#endif  // BERTH_TESTS_PLACEMENT_ORACLE_H_
