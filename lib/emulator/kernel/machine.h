// SPDX-License-Identifier: Apache-2.0
//
// The hardware that all contexts share: units and PCI functions, with what the kernel knows of them
// outside any context.
#ifndef BERTH_LIB_EMULATOR_KERNEL_MACHINE_H_
#define BERTH_LIB_EMULATOR_KERNEL_MACHINE_H_

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lib/emulator/faults/fault_plan.h"
#include "lib/emulator/hardware/cmdqv.h"
#include "lib/emulator/hardware/dma_engine.h"
#include "lib/emulator/hardware/poller.h"
#include "lib/emulator/hardware/smmu/smmu.h"
#include "lib/emulator/host_spec.h"
#include "lib/emulator/kernel/irqs.h"
#include "lib/emulator/kernel/memlock.h"
#include "lib/emulator/kernel/tegra241_cmdqv.h"
#include "lib/iommufd/uapi/iommufd_test.h"

namespace berth::emulator {

class Context;
struct Cdev;
struct Viommu;

// Executed commands by opcode.
using CommandCounts = std::map<uint8_t, uint64_t>;

// One SMMUv3, and its CMDQV when it has one.
struct Unit {
  UnitSpec spec;
  std::unique_ptr<Smmu> smmu;
  std::unique_ptr<DmaEngine> dma;        // null: no function behind the unit does DMA
  std::unique_ptr<Tegra241Cmdqv> cmdqv;  // null: profile arm-smmuv3
  std::vector<bool> vmids;               // in use; arm-smmu-v3.c gives out the lowest from 1
  CommandCounts trapped;                 // by HWPT_INVALIDATE
  CommandCounts freed;                   // by the vCMDQs of VINTFs that are gone

  [[nodiscard]] std::array<uint32_t, 6> Idr() const;
  [[nodiscard]] bool mock() const { return spec.profile == UnitProfile::kSelftest; }
  // 0: none left.
  uint16_t TakeVmid();
  void FreeVmid(uint16_t vmid) { vmids[vmid] = false; }
  void FreeVintf(int vintf);
};

void AddCounts(const LvcmdqCounters& counters, CommandCounts* counts);

struct Function;

// An IOMMU group: what is attached is all of it, and DMA ownership is of all of it
// (drivers/iommu/iommu.c, iommu_attach_group_handle(), iommu_device_claim_dma_owner()).
struct IommuGroup {
  std::vector<Function*> functions;
  Context* owner = nullptr;
  int bound = 0;  // devices of `owner`

  [[nodiscard]] bool MayBelongTo(const Context* context) const {
    return bound == 0 || owner == context;
  }
};

// One PCI function.
struct Function {
  DeviceSpec spec;
  Unit* unit = nullptr;
  IommuGroup* group = nullptr;
  Cdev* bound = nullptr;
  // Where the SMMU's events of this function go: fixed when its group is attached to a nested HWPT.
  Viommu* event_viommu = nullptr;
  uint64_t event_vsid = 0;
  std::vector<std::byte> config;  // PCI config space
  Irqs irqs;

  std::array<uint32_t, uapi::kMockCacheEntries> mock_cache = {};

  // The StreamID: segment and routing id, 20 bits.
  [[nodiscard]] uint32_t sid() const {
    return (spec.address.segment & 0xfU) << 16 | spec.address.routing_id;
  }
  // COMMAND.Bus Master Enable.
  [[nodiscard]] bool bus_master() const { return (config[4] & std::byte{4}) != std::byte{0}; }
};

struct Machine {
  explicit Machine(const HostSpec& host);
  Function* FindByCdev(const std::string& name);
  // The unit of profile SELFTEST; null when the host has none.
  Unit* FindMock();
  // Pulled out: a fault, see FaultKind::kDeviceGone.
  [[nodiscard]] bool IsGone(const Function& function) const {
    return faults.IsGone(function.spec.address.ToString());
  }
  // The same of a StreamID. Thread-safe.
  [[nodiscard]] bool IsGone(const Unit* unit, uint32_t sid) const;
  // Whether the device answers an ATC_INV: an occasion of FaultKind::kAtcTimeout, and one that has
  // gone does not. Thread-safe.
  [[nodiscard]] bool AnswersAtcInv(const Unit* unit, uint32_t sid);
  // Null: no such StreamID behind the unit. Thread-safe.
  [[nodiscard]] Function* FindBySid(const Unit* unit, uint32_t sid) const;

  // The hardware threads, for all units.
  Poller poller;
  const uint64_t page_size;
  const bool limits_memlock;
  MemlockLedger memlock;
  std::vector<std::unique_ptr<Unit>> units;
  std::vector<std::unique_ptr<Function>> functions;
  std::map<std::string, Function*> by_cdev;
  std::map<uint32_t, IommuGroup> groups;  // by number
  // vIOMMUs with a VINTF by what the Cmdqv knows them as; a cookie is never used again.
  std::map<uint64_t, Viommu*> by_cookie;
  uint64_t next_cookie = 1;
  // What goes wrong on purpose.
  FaultPlan faults;
};

// BAR 2 of a function with MSI-X: the table, from 0 on.
inline constexpr size_t kMsixBarSize = 4096;

// 4 KiB of config space: ids, class, interrupts, a PCIe capability, the Device Serial Number.
std::vector<std::byte> ConfigSpace(const DeviceSpec& device);

}  // namespace berth::emulator

#endif  // BERTH_LIB_EMULATOR_KERNEL_MACHINE_H_
