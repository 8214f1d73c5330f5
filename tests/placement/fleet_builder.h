// SPDX-License-Identifier: Apache-2.0
//
// Short ways to say what a host has and what is asked for.
#ifndef BERTH_TESTS_PLACEMENT_FLEET_BUILDER_H_
#define BERTH_TESTS_PLACEMENT_FLEET_BUILDER_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "lib/placement/engine.h"

namespace berth::placement {

// A host under construction. Devices get ids "<class><n>", groups of their own, and the last unit.
class HostBuilder {
 public:
  explicit HostBuilder(const std::string& id) { host_.id = HostId(id); }

  HostBuilder& Unit(const std::string& id, uint32_t vintfs = 63, uint32_t sids = 16) {
    UnitSnapshot unit;
    unit.id = UnitId(id);
    unit.capacity = DefaultCapacity(UnitProfile::kTegra241Cmdqv);
    unit.capacity.vintfs = vintfs;
    unit.capacity.sids_per_vintf = sids;
    host_.units.push_back(unit);
    return *this;
  }
  HostBuilder& PlainUnit(const std::string& id) {
    UnitSnapshot unit;
    unit.id = UnitId(id);
    unit.capacity = DefaultCapacity(UnitProfile::kArmSmmuV3);
    host_.units.push_back(unit);
    return *this;
  }
  HostBuilder& Devices(const std::string& device_class, int count,
                       const AttributeMap& attributes = {}) {
    for (int i = 0; i < count; ++i) {
      DeviceSnapshot device;
      device.id = DeviceId(absl::StrCat(device_class, host_.devices.size()));
      device.device_class = device_class;
      device.vendor_id = 0x10de;
      device.device_id = 0x2342;
      device.attributes = attributes;
      device.unit = host_.units.back().id;
      device.numa_node = node_;
      device.iommu_group = static_cast<int32_t>(host_.devices.size());
      host_.devices.push_back(device);
    }
    return *this;
  }
  // `count` devices that share one IOMMU group.
  HostBuilder& Group(const std::string& device_class, int count) {
    const auto group = static_cast<int32_t>(host_.devices.size());
    Devices(device_class, count);
    for (int i = 0; i < count; ++i) host_.devices[group + i].iommu_group = group;
    return *this;
  }
  HostBuilder& OnNode(int node) {
    node_ = node;
    return *this;
  }
  HostBuilder& Label(const std::string& key, const std::string& value) {
    host_.labels[key] = value;
    return *this;
  }
  HostBuilder& TaintedBy(const std::string& key) {
    host_.taints.push_back({key, "", TaintEffect::kNoNew});
    return *this;
  }
  HostBuilder& Pages(int64_t count) {
    host_.huge_pages.push_back({int64_t{2} << 20, count});
    return *this;
  }
  HostSnapshot& snapshot() { return host_; }
  operator const HostSnapshot&() const { return host_; }  // NOLINT(google-explicit-constructor)

 private:
  HostSnapshot host_;
  int node_ = 0;
};

inline DeviceSpec Spec(const std::string& device_class, uint32_t count = 1,
                       std::vector<Requirement> requirements = {}) {
  return {device_class, count, std::move(requirements), {}};
}

// A request for `count` devices of a class under the class's name.
inline Request Ask(const std::string& device_class, uint32_t count = 1) {
  Request request;
  request.devices.push_back({device_class, {Spec(device_class, count)}});
  return request;
}

inline Request And(Request request, const std::string& device_class, uint32_t count = 1) {
  request.devices.push_back({device_class, {Spec(device_class, count)}});
  return request;
}

inline Request With(Request request, Constraint::Kind kind, const std::string& attribute = "") {
  request.constraints.push_back({kind, {}, attribute});
  return request;
}

inline std::vector<std::string> DevicesOf(const Placement& placement) {
  std::vector<std::string> devices;
  for (const PlacedDevice& device : placement.devices) {
    devices.push_back(absl::StrCat(device.device.str(), device.request.empty() ? "+" : ""));
  }
  return devices;
}

inline std::vector<std::string> UnitsOf(const Placement& placement) {
  std::vector<std::string> units;
  for (const PlacedUnit& unit : placement.units) units.push_back(unit.unit.str());
  return units;
}

}  // namespace berth::placement

#endif  // BERTH_TESTS_PLACEMENT_FLEET_BUILDER_H_
