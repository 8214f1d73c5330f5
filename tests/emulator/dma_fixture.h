// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_EMULATOR_DMA_FIXTURE_H_
#define BERTH_TESTS_EMULATOR_DMA_FIXTURE_H_

#include <fcntl.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lib/iommufd/uapi/smmuv3.h"
#include "tests/emulator/emulator_fixture.h"
#include "tests/emulator/hardware/dma_driver.h"
#include "tests/emulator/hardware/guest.h"
#include "tests/emulator/hardware/smmu/guest_memory.h"

namespace berth::emulator {

// A VM as a VMM builds it, through ioctls alone, with a DMA test device and, after Nest(), stage 1.
struct DmaVm {
  static constexpr uint32_t kVsid = 0x55;
  static constexpr uint16_t kAsid = 5;

  Guest guest;
  std::shared_ptr<testing::GuestMemory> memory;
  std::unique_ptr<testing::DmaDriver> dma;
  std::unique_ptr<testing::Tables> tables;
  uint64_t cd = 0;
  uint64_t buffer = 0;  // of DeviceReads()
  uint32_t vdevice = 0;
  uint32_t nested = 0;
  Mapping page0;
  std::unique_ptr<testing::GuestQueue> queue;
};

class DmaTest : public EmulatorTest {
 protected:
  static constexpr uint64_t kVa = 0x123456789000;
  static constexpr uint64_t kBufferVa = 0x7000000000;
  static constexpr uint64_t kConfigRegion = uint64_t{uapi::kVfioPciConfigRegion} << 40;
  // COMMAND: Memory Space Enable, Bus Master Enable.
  static constexpr uint16_t kMemory = 2;
  static constexpr uint16_t kMemoryAndBusMaster = 6;

  void SetUp() override {
    StartServer([](Server::Options& options) {
      for (DeviceSpec& device : options.host.devices) device.model = DeviceModel::kDmaTest;
    });
  }

  FaultPlan& faults() { return server().kernel().faults(); }
  // Returns the fault, whose end puts the device in again.
  uint64_t PullOut(const DeviceSpec& device) {
    const auto fault = faults().Add({.kind = FaultKind::kDeviceGone,
                                     .delay = {},
                                     .subject = device.address.ToString(),
                                     .count = 0});
    EXPECT_TRUE(fault.ok()) << fault.status();
    return fault.ok() ? *fault : 0;
  }

  int MapMemory(const DmaVm& vm) {
    uapi::IommuIoasMapFile cmd = {};
    cmd.flags = uapi::kIoasMapFixedIova | uapi::kIoasMapReadable | uapi::kIoasMapWriteable;
    cmd.ioas_id = vm.guest.ioas;
    cmd.fd = vm.memory->memory()->file.get();
    cmd.length = vm.memory->size();
    cmd.iova = vm.memory->base();
    return Call(vm.guest.context, uapi::kIommuIoasMapFile, &cmd);
  }
  int Attach(const DmaVm& vm, uint32_t pt_id) {
    uapi::VfioDeviceAttachIommufdPt cmd = {};
    cmd.pt_id = pt_id;
    return Call(vm.guest.cdev, uapi::kVfioDeviceAttachIommufdPt, &cmd);
  }
  int SetCommand(const DmaVm& vm, uint16_t command) {
    return static_cast<int>(
        client().WriteRegion(vm.guest.cdev.get(), &command, sizeof(command), kConfigRegion + 4));
  }
  std::unique_ptr<testing::DmaDriver> MapBar(const DmaVm& vm) {
    uapi::VfioRegionInfo info = {};
    info.index = uapi::kVfioPciBar0Region;
    EXPECT_EQ(Call(vm.guest.cdev, uapi::kVfioDeviceGetRegionInfo, &info), 0);
    EXPECT_NE(info.flags & uapi::kVfioRegionFlagMmap, 0U);
    auto region = client().RegionForVmm(vm.guest.cdev.get(), info.offset, info.size);
    EXPECT_TRUE(region.ok()) << region.status();
    auto mapping =
        Mapping::Map(region->fd.get(), region->offset, region->length, Mapping::Access::kReadWrite);
    return std::make_unique<testing::DmaDriver>(*std::move(mapping));
  }
  // Bound, memory mapped, bus master, not attached.
  DmaVm MakeVm(const std::string& name) {
    DmaVm vm;
    vm.guest = MakeGuest(name);
    vm.memory = std::make_shared<testing::GuestMemory>();
    EXPECT_EQ(MapMemory(vm), 0);
    EXPECT_EQ(SetCommand(vm, kMemoryAndBusMaster), 2);
    vm.dma = MapBar(vm);
    return vm;
  }

  // Another device of the same VM, which shares all but the stream: bound, bus master, not
  // attached.
  DmaVm AddDevice(const DmaVm& vm, const std::string& name) {
    DmaVm other;
    other.guest.context.Reset(::fcntl(vm.guest.context.get(), F_DUPFD_CLOEXEC, 0));
    other.guest.cdev = OpenDevice(name);
    EXPECT_EQ(Bind(other.guest.cdev, other.guest.context.get(), &other.guest.device), 0);
    other.guest.ioas = vm.guest.ioas;
    other.guest.parent = vm.guest.parent;
    other.guest.viommu = vm.guest.viommu;
    other.memory = vm.memory;
    EXPECT_EQ(SetCommand(other, kMemoryAndBusMaster), 2);
    other.dma = MapBar(other);
    return other;
  }

  uint32_t AllocVdevice(const DmaVm& vm, uint64_t vsid) {
    uapi::IommuVdeviceAlloc cmd = {};
    cmd.viommu_id = vm.guest.viommu;
    cmd.dev_id = vm.guest.device;
    cmd.virt_id = vsid;
    EXPECT_EQ(Call(vm.guest.context, uapi::kIommuVdeviceAlloc, &cmd), 0);
    return cmd.out_vdevice_id;
  }
  uint32_t AllocNested(const DmaVm& vm, uint64_t ste0, uint64_t ste1) {
    const uint64_t ste[2] = {ste0, ste1};
    uapi::IommuHwptAlloc cmd = {};
    cmd.dev_id = vm.guest.device;
    cmd.pt_id = vm.guest.viommu;
    cmd.data_type = uapi::kHwptDataArmSmmuv3;
    cmd.data_len = sizeof(ste);
    cmd.data_uptr = reinterpret_cast<uint64_t>(ste);
    EXPECT_EQ(Call(vm.guest.context, uapi::kIommuHwptAlloc, &cmd), 0);
    return cmd.out_hwpt_id;
  }
  // Attaches the device to stage 1 with one context, ATS allowed.
  void Nest(DmaVm* vm, uint32_t vsid, const testing::Context& context) {
    vm->cd = vm->memory->Allocate();
    testing::WriteContext(vm->memory.get(), vm->cd, context);
    vm->vdevice = AllocVdevice(*vm, vsid);
    vm->nested = AllocNested(
        *vm, uapi::kSte0Valid.Put(1) | uapi::kSte0Config.Put(uapi::kSteConfigS1Translate) | vm->cd,
        uapi::kSte1Eats.Put(uapi::kSteEatsTranslate));
    EXPECT_EQ(Attach(*vm, vm->nested), 0);
  }
  // The same, and a vCMDQ of 64 commands.
  DmaVm MakeNestedVm(const std::string& name) {
    DmaVm vm = MakeVm(name);
    vm.tables = std::make_unique<testing::Tables>(vm.memory.get());
    Nest(&vm, DmaVm::kVsid, {.asid = DmaVm::kAsid, .low = vm.tables.get()});
    AddQueue(&vm);
    return vm;
  }
  void AddQueue(DmaVm* vm) {
    constexpr uint32_t kLog2Size = 6;
    const uint64_t base = vm->memory->Allocate();
    uapi::IommuHwQueueAlloc cmd = {};
    cmd.viommu_id = vm->guest.viommu;
    cmd.type = uapi::kHwQueueTypeTegra241Cmdqv;
    cmd.nesting_parent_iova = base;
    cmd.length = sizeof(RawCommand) << kLog2Size;
    ASSERT_EQ(Call(vm->guest.context, uapi::kIommuHwQueueAlloc, &cmd), 0);
    vm->page0 = MapPage0(vm->guest);
    vm->queue = std::make_unique<testing::GuestQueue>(
        vm->page0.data(), 0,
        testing::Ring(kLog2Size, std::shared_ptr<void>(), vm->memory->Data(base)));
    ASSERT_TRUE(vm->queue->Enable());
  }
  // Executes commands with a CMD_SYNC behind them in the vCMDQ.
  static void Execute(DmaVm& vm, std::vector<RawCommand> commands) {
    commands.push_back(testing::kSync);
    vm.queue->Submit(commands);
    ASSERT_TRUE(vm.queue->AwaitIdle());
    ASSERT_EQ(vm.queue->cons_error(), 0U);
  }
  // The same through HWPT_INVALIDATE.
  int ExecuteTrapped(const DmaVm& vm, const RawCommand& command) {
    const uapi::IommuViommuArmSmmuv3Invalidate raw = {{command.dword0, command.dword1}};
    uapi::IommuHwptInvalidate cmd = {};
    cmd.hwpt_id = vm.guest.viommu;
    cmd.data_uptr = reinterpret_cast<uint64_t>(&raw);
    cmd.data_type = uapi::kViommuInvalidateArmSmmuv3;
    cmd.entry_len = sizeof(raw);
    cmd.entry_num = 1;
    return Call(vm.guest.context, uapi::kIommuHwptInvalidate, &cmd);
  }

  // What the device reads at `address`: it copies a dword to a buffer, mapped at kBufferVa of every
  // nested VM. nullopt: the copy failed.
  std::optional<uint64_t> DeviceReads(DmaVm& vm, uint64_t address, uint32_t control = 0) {
    if (vm.buffer == 0) vm.buffer = vm.memory->Allocate();
    if (vm.tables) vm.tables->Map(kBufferVa, vm.buffer);
    const uint64_t to = vm.tables ? kBufferVa : vm.buffer;
    if (vm.dma->Copy(address, to, 8, control) != DmaStatus::kOk) return std::nullopt;
    return vm.memory->Load(vm.buffer);
  }
};

}  // namespace berth::emulator

#endif  // BERTH_TESTS_EMULATOR_DMA_FIXTURE_H_
