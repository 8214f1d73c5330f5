// SPDX-License-Identifier: Apache-2.0
//
// Random hosts and requests for property tests.
#ifndef BERTH_TESTS_PLACEMENT_DICE_H_
#define BERTH_TESTS_PLACEMENT_DICE_H_

#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "lib/placement/gang.h"
#include "lib/placement/model.h"
#include "lib/placement/request.h"

namespace berth::placement {

// Small ranges, so that scarcity and ties are common.
class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed) {}

  int Roll(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  bool OneIn(int n) { return Roll(1, n) == 1; }

  HostSnapshot Host(const std::string& id, int max_devices) {
    HostSnapshot host;
    host.id = HostId(id);
    const int units = Roll(1, 4);
    for (int i = 0; i < units; ++i) {
      UnitSnapshot unit;
      unit.id = UnitId(absl::StrCat("u", i));
      unit.capacity =
          DefaultCapacity(OneIn(4) ? UnitProfile::kArmSmmuV3 : UnitProfile::kTegra241Cmdqv);
      unit.capacity.vintfs = OneIn(8) ? 0 : static_cast<uint32_t>(Roll(1, 3));
      unit.capacity.sids_per_vintf = static_cast<uint32_t>(Roll(1, 4));
      unit.vintfs_held = OneIn(10) ? unit.capacity.vintfs : 0;
      if (OneIn(10)) unit.taints.push_back({"u", "", TaintEffect::kEvict});
      host.units.push_back(unit);
    }
    host.huge_pages.push_back({2 << 20, Roll(0, 4)});
    const int devices = Roll(2, max_devices);
    for (int i = 0; i < devices; ++i) host.devices.push_back(Device(host, i));
    if (OneIn(8)) host.taints.push_back({"t", "", TaintEffect::kNoNew});
    if (!OneIn(8)) host.labels["rack"] = absl::StrCat("r", Roll(0, 1));
    return host;
  }

  DeviceSnapshot Device(const HostSnapshot& host, int index) {
    DeviceSnapshot device;
    device.id = DeviceId(absl::StrCat("d", index));
    device.device_class = Class();
    device.unit =
        host.units[static_cast<size_t>(Roll(0, static_cast<int>(host.units.size()) - 1))].id;
    device.numa_node = Roll(-1, 1);
    device.iommu_group = index;
    if (OneIn(2)) device.attributes["mem"] = int64_t{Roll(1, 2)};
    if (OneIn(3)) device.attributes["link"] = absl::StrCat("l", Roll(0, 1));
    if (OneIn(3) && index > 0) {  // joins the group of the device before it
      const DeviceSnapshot& last = host.devices.back();
      device.iommu_group = last.iommu_group;
      device.unit = last.unit;
    }
    if (OneIn(10)) device.assignability = Assignability::kHeld;
    if (OneIn(10)) device.assignability = Assignability::kNotAssignable;
    return device;
  }

  std::string Class() { return OneIn(3) ? "nic" : "gpu"; }

  DeviceSpec Spec() {
    DeviceSpec spec;
    spec.device_class = Class();
    spec.count = static_cast<uint32_t>(OneIn(2) ? 1 : Roll(2, 3));
    if (OneIn(3)) spec.requirements.push_back(Condition());
    if (OneIn(5)) spec.queues = {QueueNeed::kRequired, static_cast<uint32_t>(Roll(0, 2))};
    return spec;
  }

  Requirement Condition() {
    const auto op = static_cast<Operator>(Roll(0, 5));
    const std::string key = OneIn(2) ? "mem" : "link";
    if (op == Operator::kExists || op == Operator::kDoesNotExist) return {key, op, {}};
    if (op == Operator::kGt || op == Operator::kLt) return {key, op, {OneIn(2) ? "1" : "2"}};
    return {key, op, {OneIn(2) ? "1" : "l0"}};
  }

  Request Ask() {
    Request request;
    const int items = OneIn(4) ? 3 : Roll(1, 2);
    for (int i = 0; i < items; ++i) {
      DeviceRequest device{absl::StrCat("r", i), {Spec()}};
      if (OneIn(6)) device.alternatives.push_back(Spec());
      request.devices.push_back(device);
    }
    const int constraints = Roll(0, 2);
    for (int i = 0; i < constraints; ++i) {
      Constraint constraint;
      constraint.kind = static_cast<Constraint::Kind>(Roll(0, 3));
      if (constraint.kind == Constraint::Kind::kSameAttribute) constraint.attribute = "mem";
      if (OneIn(2)) constraint.requests.push_back(absl::StrCat("r", Roll(0, items - 1)));
      if (OneIn(2)) constraint.requests.push_back(absl::StrCat("r", Roll(0, items - 1)));
      request.constraints.push_back(constraint);
    }
    if (OneIn(8)) request.host_selector.push_back({"rack", Operator::kIn, {"r0"}});
    if (OneIn(2)) request.tolerations.push_back({});
    if (OneIn(8)) request.huge_pages.push_back({2 << 20, Roll(1, 3)});
    request.policy = OneIn(2) ? Policy::kSpread : Policy::kPack;
    request.seed = static_cast<uint64_t>(Roll(0, 3));
    return request;
  }

  // Makes the host contradict itself in one way.
  void Spoil(HostSnapshot& host) {
    switch (Roll(0, 6)) {
      case 0:
        host.devices.push_back(host.devices[0]);
        break;
      case 1:
        host.devices[0].unit = UnitId("nowhere");
        break;
      case 2:
        host.huge_pages = {{2 << 20, -1}};
        break;
      case 3:
        host.devices[0].iommu_group = -1;
        break;
      case 4:
        host.units[0].vintfs_held = host.units[0].capacity.vintfs + 1;
        host.units[0].capacity.profile = UnitProfile::kTegra241Cmdqv;
        break;
      case 5:
        host.units.push_back(host.units[0]);
        break;
      default:
        host.units[0].capacity.vintfs = UINT32_MAX;
        break;
    }
  }

  GangRequest AskGang() {
    GangRequest gang;
    const int members = OneIn(3) ? 3 : 2;
    while (static_cast<int>(gang.members.size()) < members) {
      // Members that are alike are what makes a search long.
      if (!gang.members.empty() && OneIn(2)) {
        gang.members.push_back(gang.members.back());
        continue;
      }
      Request member;
      const int items = OneIn(3) ? 2 : 1;
      for (int i = 0; i < items; ++i) {
        DeviceRequest device{absl::StrCat("r", i), {Spec()}};
        if (OneIn(8)) device.alternatives.push_back(Spec());
        for (DeviceSpec& spec : device.alternatives) {
          spec.count = OneIn(3) ? 2 : 1;
          if (!OneIn(3)) spec.requirements.clear();
          if (!OneIn(3)) spec.queues = {};
        }
        member.devices.push_back(device);
      }
      if (OneIn(8)) member.constraints.push_back({Constraint::Kind::kSameUnit, {}, ""});
      if (OneIn(8)) member.constraints.push_back({Constraint::Kind::kSameNumaNode, {}, ""});
      if (OneIn(8)) member.host_selector.push_back({"rack", Operator::kIn, {"r0"}});
      if (OneIn(6)) member.huge_pages.push_back({2 << 20, Roll(1, 2)});
      if (OneIn(4)) member.anti_affinity.push_back(Apart());
      member.tolerations.push_back({});
      gang.members.push_back(member);
    }
    const int constraints = Roll(0, 2);
    for (int i = 0; i < constraints; ++i) {
      GangConstraint constraint;
      constraint.kind = static_cast<GangConstraint::Kind>(Roll(0, 2));
      if (constraint.kind == GangConstraint::Kind::kSameLabel) constraint.label = "rack";
      for (int m = 0; OneIn(2) && m < members; ++m) {
        constraint.members.push_back(static_cast<size_t>(Roll(0, members - 1)));
      }
      gang.constraints.push_back(constraint);
    }
    return gang;
  }

  AntiAffinity Apart() { return {absl::StrCat("g", Roll(0, 1)), OneIn(2) ? "rack" : ""}; }

 private:
  std::mt19937_64 random_;
};

}  // namespace berth::placement

#endif  // BERTH_TESTS_PLACEMENT_DICE_H_
