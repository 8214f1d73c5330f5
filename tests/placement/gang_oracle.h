// SPDX-License-Identifier: Apache-2.0
//
// The rules of gangs and of anti-affinity, written down once more in the plainest way: try every
// host and every way on it for each member in turn.
#ifndef BERTH_TESTS_PLACEMENT_GANG_ORACLE_H_
#define BERTH_TESTS_PLACEMENT_GANG_ORACLE_H_

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "lib/placement/gang.h"
#include "tests/placement/oracle.h"

namespace berth::placement {

class GangOracle {
 public:
  // What stands already, as far as distance goes.
  struct Standing {
    size_t host = 0;  // in the fleet
    std::vector<AntiAffinity> terms;
  };

  // Hosts show what is free on them. Borrows `request`.
  GangOracle(std::vector<HostSnapshot> fleet, const GangRequest& request,
             std::vector<Standing> standing)
      : fleet_(std::move(fleet)), request_(request), standing_(std::move(standing)) {}

  bool Fits() { return Place(0); }

 private:
  bool Place(size_t member) {
    if (member == request_.members.size()) return true;
    for (const Request& one : Expand(request_.members[member])) {
      for (size_t host = 0; host < fleet_.size(); ++host) {
        if (PlaceOn(member, one, host)) return true;
      }
    }
    return false;
  }

  bool PlaceOn(size_t member, const Request& one, size_t host) {
    hosts_.push_back(host);
    standing_.push_back({host, one.anti_affinity});
    const HostSnapshot before = fleet_[host];
    const bool fits =
        HoldTogether() && KeepApart() && Oracle(before, one).Each([&](const Oracle::Given& given) {
          Take(given, one, fleet_[host]);
          const bool rest = Place(member + 1);
          fleet_[host] = before;
          return rest;
        });
    hosts_.pop_back();
    standing_.pop_back();
    return fits;
  }

  static void Take(const Oracle::Given& given, const Request& one, HostSnapshot& host) {
    std::set<int32_t> groups;
    std::set<UnitId> units;
    for (size_t i = 0; i < given.size(); ++i) {
      if (given[i] < 0) continue;
      groups.insert(host.devices[i].iommu_group);
      units.insert(host.devices[i].unit);
    }
    for (DeviceSnapshot& device : host.devices) {
      if (groups.contains(device.iommu_group)) device.assignability = Assignability::kHeld;
    }
    for (UnitSnapshot& unit : host.units) {
      if (units.contains(unit.id) && CountsVintfs(unit.capacity.profile)) ++unit.vintfs_held;
    }
    for (const HugePages& wanted : one.huge_pages) {
      for (HugePages& has : host.huge_pages) {
        if (has.page_size == wanted.page_size) has.count -= wanted.count;
      }
    }
  }

  const std::string* Label(size_t host, const std::string& key) const {
    const auto label = fleet_[host].labels.find(key);
    return label == fleet_[host].labels.end() ? nullptr : &label->second;
  }
  bool SameLabel(size_t a, size_t b, const std::string& key) const {
    return Label(a, key) != nullptr && Label(b, key) != nullptr && *Label(a, key) == *Label(b, key);
  }

  bool HoldTogether() const {
    for (const GangConstraint& constraint : request_.constraints) {
      for (size_t a = 0; a < hosts_.size(); ++a) {
        for (size_t b = 0; b < hosts_.size(); ++b) {
          if (!constraint.Binds(a) || !constraint.Binds(b)) continue;
          if (constraint.kind == GangConstraint::Kind::kSameHost && hosts_[a] != hosts_[b]) {
            return false;
          }
          if (constraint.kind == GangConstraint::Kind::kDistinctHosts && a != b &&
              hosts_[a] == hosts_[b]) {
            return false;
          }
          if (constraint.kind == GangConstraint::Kind::kSameLabel &&
              !SameLabel(hosts_[a], hosts_[b], constraint.label)) {
            return false;
          }
        }
      }
    }
    return true;
  }

  // Whether the last that stands does so far enough from the others.
  bool KeepApart() const {
    const Standing& last = standing_.back();
    for (const AntiAffinity& mine : last.terms) {
      if (!mine.label.empty() && Label(last.host, mine.label) == nullptr) return false;
      for (size_t i = 0; i + 1 < standing_.size(); ++i) {
        for (const AntiAffinity& other : standing_[i].terms) {
          if (other.group != mine.group) continue;
          if (standing_[i].host == last.host) return false;
          if (SameLabel(standing_[i].host, last.host, mine.label)) return false;
          if (SameLabel(standing_[i].host, last.host, other.label)) return false;
        }
      }
    }
    return true;
  }

  std::vector<HostSnapshot> fleet_;
  const GangRequest& request_;
  std::vector<Standing> standing_;
  std::vector<size_t> hosts_;  // by member, as far as they are placed
};

}  // namespace berth::placement

#endif  // BERTH_TESTS_PLACEMENT_GANG_ORACLE_H_
