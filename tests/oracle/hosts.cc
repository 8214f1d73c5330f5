// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/hosts.h"

#include <linux/capability.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/emulator/emulator_client.h"
#include "lib/emulator/server.h"

namespace berth::oracle {

emulator::HostSpec HostFor(const Recording& recording, const HostShape& shape) {
  emulator::HostSpec host;
  if (recording.level == "A") {
    emulator::UnitSpec mock;
    mock.id = "mock";
    mock.profile = emulator::UnitProfile::kSelftest;
    host.units.push_back(mock);
    return host;
  }
  int units = 1;
  for (const int unit : shape.device_units) units = std::max(units, unit + 1);
  for (int i = 0; i < units; ++i) {
    // QEMU's SMMUv3 (virt machine): queues of up to 2^19 entries, 44 address bits, no ATS.
    emulator::UnitSpec unit;
    unit.id = absl::StrCat("smmu", i);
    unit.vintfs = shape.vintfs;
    unit.vcmdqs = shape.vintfs * shape.lvcmdqs;
    unit.sid_slots = shape.sid_slots;
    unit.log2_max_commands = 19;
    unit.address_bits = 44;
    unit.ats = false;
    host.units.push_back(unit);
  }
  for (int i = 0; i < recording.devices; ++i) {
    const auto number = static_cast<size_t>(i);
    const int unit = number < shape.device_units.size() ? shape.device_units[number] : 0;
    emulator::DeviceSpec device;
    device.address.routing_id = static_cast<uint16_t>(8 * (i + 1));
    device.vendor = 0x1234;
    device.device = 0x11e8;
    device.unit = absl::StrCat("smmu", unit);
    device.iommu_group = static_cast<uint32_t>(i);
    device.vfio_name = absl::StrCat("vfio", i);
    device.reset_method = "flr";
    host.devices.push_back(device);
  }
  return host;
}

absl::StatusOr<Report> ReplayOnEmulator(const Recording& recording, const HostShape& shape,
                                        const std::string& folder, size_t most_differences) {
  emulator::Server::Options options;
  options.socket_path = folder + "/emulator.sock";
  options.host = HostFor(recording, shape);
  BERTH_ASSIGN_OR_RETURN(const auto server, emulator::Server::Start(options));
  bool sys_resource = true;
  emulator::EmulatorClient client(options.socket_path, [&sys_resource](int capability) {
    return capability != CAP_SYS_RESOURCE || sys_resource;
  });
  Player player;
  player.kernel = &client;
  for (const emulator::DeviceSpec& device : options.host.devices) {
    player.cdevs.push_back(device.vfio_name);
  }
  player.set_sys_resource = [&sys_resource](bool may) { sys_resource = may; };
  return Replay(recording, std::move(player), most_differences);
}

}  // namespace berth::oracle
