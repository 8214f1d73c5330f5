// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/hosts.h"

#include <linux/capability.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"
#include "lib/emulator/emulator_client.h"
#include "lib/emulator/server.h"
#include "lib/iommufd/uapi/iommufd.h"
#include "lib/iommufd/uapi/smmuv3.h"

namespace berth::oracle {
namespace {

// IDR5.OAS (IHI 0070): bits of an output address.
constexpr int kAddressBits[] = {32, 36, 40, 42, 44, 48, 52};

// The first answer of GET_HW_INFO of `type` that has `least` bytes.
template <typename Info>
std::optional<Info> FindHwInfo(const Recording& recording, uint32_t type, size_t least) {
  for (const Step& step : recording.steps) {
    if (step.op != "GET_HW_INFO" || step.rc != 0) continue;
    if (step.out.Unsigned("out_data_type") != type) continue;
    const std::vector<std::byte> bytes = step.out.Bytes("data");
    if (bytes.size() < least) continue;
    Info info = {};
    std::memcpy(&info, bytes.data(), std::min(sizeof(info), bytes.size()));
    return info;
  }
  return std::nullopt;
}

emulator::UnitSpec UnitFor(const Recording& recording, const HostShape& shape) {
  emulator::UnitSpec unit;
  unit.log2_max_commands = 19;
  unit.address_bits = 44;
  unit.ats = false;
  if (const auto smmu = FindHwInfo<uapi::IommuHwInfoArmSmmuv3>(
          recording, uapi::kHwInfoArmSmmuv3, offsetof(uapi::IommuHwInfoArmSmmuv3, iidr))) {
    const uint64_t oas = uapi::kIdr5Oas.Get(smmu->idr[5]);
    unit.log2_max_commands = static_cast<int>(uapi::kIdr1Cmdqs.Get(smmu->idr[1]));
    if (oas < std::size(kAddressBits)) unit.address_bits = kAddressBits[oas];
    unit.ats = uapi::kIdr0Ats.Get(smmu->idr[0]) != 0;
    unit.httu = uapi::kIdr0Httu.Get(smmu->idr[0]) == uapi::kIdr0HttuDirty;
  }
  int lvcmdqs = 2;
  if (const auto cmdqv = FindHwInfo<uapi::IommuHwInfoTegra241Cmdqv>(
          recording, uapi::kHwInfoTegra241Cmdqv, sizeof(uapi::IommuHwInfoTegra241Cmdqv))) {
    // More than any hardware has is left to the emulator to refuse.
    lvcmdqs = 1 << std::min<int>(cmdqv->log2vcmdqs, 16);
    unit.sid_slots = 1 << std::min<int>(cmdqv->log2vsids, 16);
    unit.version = cmdqv->version;
  }
  unit.vintfs = shape.vintfs;
  unit.vcmdqs = shape.vintfs * shape.lvcmdqs.value_or(lvcmdqs);
  unit.sid_slots = shape.sid_slots.value_or(unit.sid_slots);
  return unit;
}

}  // namespace

emulator::HostSpec HostFor(const Recording& recording, const HostShape& shape) {
  emulator::HostSpec host;
  host.page_size = static_cast<uint32_t>(recording.page_size);
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
    host.units.push_back(UnitFor(recording, shape));
    host.units.back().id = absl::StrCat("smmu", i);
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
