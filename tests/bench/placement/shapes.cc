// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/placement/shapes.h"

#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"

namespace berth::placement {
namespace {

void AddDevice(HostSnapshot& host, const std::string& device_class, int memory) {
  DeviceSnapshot device;
  const auto n = static_cast<int>(host.devices.size());
  device.id = DeviceId(absl::StrCat("0000-", absl::Hex(n, absl::kZeroPad2), "-00-0-10de-2342-",
                                    host.id.str(), "a1b2c3"));
  device.device_class = device_class;
  device.vendor_id = 0x10de;
  device.device_id = 0x2342;
  device.attributes = {{"memory_gib", int64_t{memory}}, {"model", "GH200"}, {"sriov", false}};
  device.unit = host.units.back().id;
  device.numa_node = static_cast<int>(host.units.size()) - 1;
  device.iommu_group = n;
  host.devices.push_back(std::move(device));
}

HostSnapshot Host(const Shape& shape, int index) {
  HostSnapshot host;
  host.id = HostId(absl::StrCat("host-", absl::Dec(index, absl::kZeroPad6)));
  host.labels = {{"rack", absl::StrCat("r", index / 40)}, {"zone", absl::StrCat("z", index % 3)}};
  host.huge_pages = {{int64_t{2} << 20, 100'000}};
  for (int u = 0; u < shape.units; ++u) {
    UnitSnapshot unit;
    unit.id = UnitId(absl::StrCat("smmu3.0x", absl::Hex(0x11000000 + u * 0x1000000)));
    unit.capacity = DefaultCapacity(UnitProfile::kTegra241Cmdqv);
    unit.capacity.vintfs = shape.vintfs;
    host.units.push_back(unit);
    for (int i = 0; i < shape.gpus_per_unit; ++i) AddDevice(host, "gpu", index % 5 == 0 ? 144 : 96);
    for (int i = 0; i < shape.nics_per_unit; ++i) AddDevice(host, "nic", 0);
  }
  return host;
}

}  // namespace

int DevicesPerHost(const Shape& shape) {
  return shape.units * (shape.gpus_per_unit + shape.nics_per_unit);
}

void Fill(const Shape& shape, Engine& engine) {
  for (int i = 0; i < shape.hosts; ++i) {
    if (!engine.UpsertHost(Host(shape, i)).ok()) std::abort();
  }
}

Request Ask(const std::string& device_class, uint32_t count) {
  Request request;
  request.devices.push_back({device_class, {DeviceSpec{device_class, count, {}, {}}}});
  return request;
}

double MicrosSince(WallClock::time_point from) {
  return std::chrono::duration<double, std::micro>(WallClock::now() - from).count();
}

}  // namespace berth::placement
