// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/kernel/machine.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "lib/iommufd/uapi/smmuv3.h"

namespace berth::emulator {
namespace {

constexpr size_t kConfigSize = 4096;
// arm-smmu-v3.c: 16-bit VMIDs, 0 is never given out.
constexpr size_t kVmids = 65536;

// IDR5.OAS for a size in bits.
uint64_t OasField(int bits) {
  constexpr int kSizes[] = {32, 36, 40, 42, 44, 48};
  for (size_t i = 0; i < std::size(kSizes); ++i) {
    if (kSizes[i] == bits) return i;
  }
  return std::size(kSizes) - 1;
}

void Put(std::vector<std::byte>* config, size_t at, uint64_t value, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) (*config)[at + i] = std::byte(value >> (8 * i) & 0xff);
}

}  // namespace

std::array<uint32_t, 6> Unit::Idr() const {
  using namespace uapi;  // NOLINT(google-build-using-namespace): a table of its names
  const auto put = [](BitField field, uint64_t value) {
    return static_cast<uint32_t>(field.Put(value));
  };
  std::array<uint32_t, 6> idr = {};
  idr[0] = put(kIdr0S2p, 1) | put(kIdr0S1p, 1) | put(kIdr0Ttf, 2) | put(kIdr0Cohacc, 1) |
           put(kIdr0Httu, spec.httu ? kIdr0HttuDirty : 0) | put(kIdr0Ats, spec.ats ? 1 : 0) |
           put(kIdr0Asid16, 1) | put(kIdr0Vmid16, 1) | put(kIdr0Cd2l, 1) | put(kIdr0Ttendian, 2) |
           put(kIdr0StallModel, 1) | put(kIdr0TermModel, 1) | put(kIdr0StLevel, 1);
  idr[1] = put(kIdr1SidSize, 20) | put(kIdr1Evtqs, 16) |
           put(kIdr1Cmdqs, static_cast<uint64_t>(spec.log2_max_commands));
  idr[3] = put(kIdr3Fwb, 1) | put(kIdr3Ril, 1) | put(kIdr3Bbml, 2);
  idr[5] = put(kIdr5Oas, OasField(spec.address_bits)) | put(kIdr5Gran4k, 1) | put(kIdr5Gran16k, 1) |
           put(kIdr5Gran64k, 1);
  return idr;
}

uint16_t Unit::TakeVmid() {
  if (vmids.empty()) vmids.resize(kVmids);
  for (size_t vmid = 1; vmid < kVmids; ++vmid) {
    if (vmids[vmid]) continue;
    vmids[vmid] = true;
    return static_cast<uint16_t>(vmid);
  }
  return 0;
}

void AddCounts(const LvcmdqCounters& counters, CommandCounts* counts) {
  counters.executed.ForEach([counts](Opcode opcode, uint64_t count) {
    (*counts)[static_cast<uint8_t>(opcode)] += count;
  });
}

void Unit::FreeVintf(int vintf) {
  if (const auto snapshot = cmdqv->Snapshot(vintf)) {
    for (const LvcmdqSnapshot& queue : snapshot->lvcmdqs) AddCounts(queue.counters, &freed);
  }
  cmdqv->FreeVintf(vintf);
}

Machine::Machine(const HostSpec& host)
    : poller({.threads = host.hardware_threads}),
      page_size(host.page_size),
      limits_memlock(host.limits_memlock),
      memlock(host.page_size) {
  std::map<std::string, Unit*> by_id;
  for (const UnitSpec& spec : host.units) {
    units.push_back(std::make_unique<Unit>());
    units.back()->spec = spec;
    units.back()->smmu = std::make_unique<Smmu>(
        spec.address_bits, spec.httu ? TableUpdates::kAccessAndDirty : TableUpdates::kNone);
    by_id[spec.id] = units.back().get();
  }
  for (const DeviceSpec& spec : host.devices) {
    functions.push_back(std::make_unique<Function>());
    Function* function = functions.back().get();
    function->spec = spec;
    function->unit = by_id.at(spec.unit);
    function->group = &groups[spec.iommu_group];
    function->group->functions.push_back(function);
    function->config = ConfigSpace(spec);
    by_cdev[spec.vfio_name] = function;
  }
}

Function* Machine::FindByCdev(const std::string& name) {
  const auto found = by_cdev.find(name);
  return found != by_cdev.end() ? found->second : nullptr;
}

Unit* Machine::FindMock() {
  const auto mock = std::ranges::find_if(units, [](const auto& unit) { return unit->mock(); });
  return mock != units.end() ? mock->get() : nullptr;
}

bool Machine::IsGone(const Unit* unit, uint32_t sid) const {
  if (!faults.armed()) return false;
  const Function* function = FindBySid(unit, sid);
  return function != nullptr && IsGone(*function);
}

bool Machine::AnswersAtcInv(const Unit* unit, uint32_t sid) {
  const bool struck = faults.Meet(FaultKind::kAtcTimeout, unit->spec.id);
  return !struck && !IsGone(unit, sid);
}

Function* Machine::FindBySid(const Unit* unit, uint32_t sid) const {
  for (const auto& function : functions) {
    if (function->unit == unit && function->sid() == sid) return function.get();
  }
  return nullptr;
}

std::vector<std::byte> ConfigSpace(const DeviceSpec& device) {
  // PCI Express Base Specification, 7.5, 7.7.1, 7.7.2 and 7.9.3: header type 0, up to three
  // capabilities (PCI Express, id 0x10, at 0x40; MSI, id 5, at 0x80; MSI-X, id 0x11, at 0xa0) and
  // one extended capability (Device Serial Number, id 3, at 0x100).
  std::vector<std::byte> config(kConfigSize);
  Put(&config, 0x00, device.vendor, 2);
  Put(&config, 0x02, device.device, 2);
  Put(&config, 0x06, 0x0010, 2);  // STATUS: there is a capability list
  Put(&config, 0x08, uint64_t{device.class_code} << 8, 4);
  Put(&config, 0x34, 0x40, 1);
  Put(&config, 0x3d, device.intx ? 1 : 0, 1);  // Interrupt Pin: INTA
  Put(&config, 0x40, 0x10, 1);
  Put(&config, 0x42, 0x0002, 2);  // version 2, endpoint
  size_t link = 0x41;
  if (device.msi_vectors > 0) {
    const auto log2 = std::countr_zero(static_cast<unsigned>(device.msi_vectors));
    Put(&config, link, 0x80, 1);
    Put(&config, 0x80, 0x05, 1);
    Put(&config, 0x82, 1U << 7 | static_cast<unsigned>(log2) << 1, 2);  // 64-bit address
    link = 0x81;
  }
  if (device.msix_vectors > 0) {
    constexpr uint32_t kBir = 2;
    Put(&config, link, 0xa0, 1);
    Put(&config, 0xa0, 0x11, 1);
    Put(&config, 0xa2, static_cast<uint64_t>(device.msix_vectors) - 1, 2);
    Put(&config, 0xa4, kBir, 4);                     // the table
    Put(&config, 0xa8, kBir | kMsixBarSize / 2, 4);  // the pending bits
  }
  if (device.reset_method.find("flr") != std::string::npos) {
    Put(&config, 0x44, 1U << 28, 4);  // DEVCAP: function level reset
  }
  if (device.serial) {
    Put(&config, 0x100, 0x0003 | 1U << 16, 4);
    Put(&config, 0x104, *device.serial, 8);
  }
  return config;
}

}  // namespace berth::emulator
