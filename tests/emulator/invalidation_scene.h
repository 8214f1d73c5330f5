// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_EMULATOR_INVALIDATION_SCENE_H_
#define BERTH_TESTS_EMULATOR_INVALIDATION_SCENE_H_

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/emulator/dma_fixture.h"

namespace berth::emulator {

// Where devices of two VMs read: each place is remembered somewhere, and has changed since.
enum class Place : uint8_t {
  kPage,          // 4 KiB, of the first device
  kNextPage,      // the one behind it
  kFarPage,       // 2 GiB further on
  kBlock,         // 2 MiB
  kGlobalPage,    // of every ASID
  kTable,         // a page whose last table was replaced by another
  kHigh64K,       // 64 KiB, in the upper half
  kOtherAsid,     // the address of kPage at the second device
  kHigh16K,       // 16 KiB, in the upper half of the second device
  kAts,           // remembered by the first device itself
  kFarAts,        // 64 KiB further on
  kOtherAts,      // the address of kAts, remembered by the second device
  kContext,       // of the third device, which has got another context
  kOtherContext,  // of the fourth
  kOtherVm,       // the address and ASID of kPage in another VM
};
using Places = std::set<Place>;

inline constexpr uint64_t kPageVa = 0x123456789000;
inline constexpr uint64_t kFarVa = kPageVa + 0x80000000;
inline constexpr uint64_t kBlockVa = 0x123460000000;
inline constexpr uint64_t kGlobalVa = 0x123470000000;
inline constexpr uint64_t kTableVa = 0x123480000000;
inline constexpr uint64_t kAtsVa = 0x1234a0009000;
inline constexpr uint64_t kHigh64KVa = 0xffff876543210000;
inline constexpr uint64_t kHigh16KVa = 0xffff876543214000;
// Of the first two devices.
inline constexpr uint16_t kFirstAsid = 5;
inline constexpr uint16_t kSecondAsid = 9;
inline constexpr uint32_t kFirstVsid = 0x55;
inline constexpr uint32_t kSecondVsid = 0x56;
// Of those whose contexts change.
inline constexpr uint32_t kContextVsid = 0x58;
inline constexpr uint32_t kOtherContextVsid = 0x59;
// VMIDs are given out from 1 on.
inline constexpr uint64_t kOtherVmid = 2;

// The devices, their memory and a vCMDQ. Of each place a device has read 1 and would now read 2 if
// nothing were remembered.
class InvalidationScene : public DmaTest {
 protected:
  void SetUp() override {
    StartServer([](Server::Options& options) {
      // Those that share an IOMMU group give way to three that do not.
      options.host.devices.resize(4);
      const DeviceSpec first = options.host.devices[0];
      for (int i = 3; i < 6; ++i) {
        DeviceSpec& device = options.host.devices.emplace_back(first);
        device.address.routing_id = static_cast<uint16_t>(first.address.routing_id + i);
        device.iommu_group = static_cast<uint32_t>(i);
        device.vfio_name = "vfio" + std::to_string(i);
      }
      for (DeviceSpec& device : options.host.devices) device.model = DeviceModel::kDmaTest;
    });
    MakeVms();
    AddPlaces();
    Remember();
  }

  // These places are read as they were.
  void ExpectStale(const Places& stale) {
    for (const Probe& probe : probes_) {
      if (!stale.contains(probe.place)) continue;
      EXPECT_EQ(Read(probe), 1U) << "place " << static_cast<int>(probe.place);
    }
  }
  // Each of these places is read as it is now, all others as they were.
  void ExpectFresh(const Places& fresh) {
    for (const Probe& probe : probes_) {
      EXPECT_EQ(Read(probe), fresh.contains(probe.place) ? 2U : 1U)
          << "place " << static_cast<int>(probe.place);
    }
  }

  DmaVm one_;  // with the vCMDQ

 private:
  struct Probe {
    Place place;
    DmaVm* device;
    uint64_t address;
    uint32_t control;
    std::function<void()> change;
  };

  std::optional<uint64_t> Read(const Probe& probe) {
    return DeviceReads(*probe.device, probe.address, probe.control);
  }
  std::unique_ptr<testing::Tables> MakeTables(int granule_log2 = 12) {
    return std::make_unique<testing::Tables>(one_.memory.get(), granule_log2);
  }

  DmaVm AddContextDevice(const std::string& name, uint32_t vsid, uint16_t asid) {
    DmaVm device = AddDevice(one_, name);
    device.tables = MakeTables();
    Nest(&device, vsid, {.asid = asid, .low = device.tables.get()});
    return device;
  }
  void MakeVms() {
    one_ = MakeVm("vfio0");
    one_.tables = MakeTables();
    high64k_ = MakeTables(16);
    Nest(&one_, kFirstVsid, {.asid = kFirstAsid, .low = one_.tables.get(), .high = high64k_.get()});
    AddQueue(&one_);
    two_ = AddDevice(one_, "vfio1");
    two_.tables = MakeTables();
    high16k_ = MakeTables(14);
    Nest(&two_, kSecondVsid,
         {.asid = kSecondAsid, .low = two_.tables.get(), .high = high16k_.get()});
    three_ = AddContextDevice("vfio2", kContextVsid, 20);
    four_ = AddContextDevice("vfio3", kOtherContextVsid, 30);
    other_vm_ = MakeNestedVm("vfio4");
  }

  // `tables` map 1 at `address` of `device`, and 2 after the change.
  void Add(Place place, DmaVm* device, testing::Tables* tables, uint64_t address, int level = 3,
           uint64_t bits = testing::kPteNormal, uint32_t control = 0) {
    const uint64_t size = uint64_t{1} << tables->Shift(level);
    const uint64_t before = device->memory->AllocatePage(1, size);
    const uint64_t after = device->memory->AllocatePage(2, size);
    tables->Map(address, before, level, bits);
    probes_.push_back(
        {place, device, address, control, [=] { tables->Map(address, after, level, bits); }});
  }
  void AddAts(Place place, DmaVm* device, uint64_t address) {
    Add(place, device, device->tables.get(), address, 3, testing::kPteNormal, kDmaControlAts);
  }
  // The old table still says what it said.
  void AddTable() {
    Add(Place::kTable, &one_, one_.tables.get(), kTableVa);
    probes_.back().change = [this, change = probes_.back().change] {
      one_.memory->Store(one_.tables->Descriptor(kTableVa, 2),
                         one_.memory->Allocate() | testing::kPteTable | testing::kPteValid);
      change();
    };
  }
  // The context descriptor of `device` gets other tables and another ASID.
  void AddContext(Place place, DmaVm* device, uint16_t asid) {
    Add(place, device, device->tables.get(), kPageVa);
    testing::Tables* after = contexts_.emplace_back(MakeTables()).get();
    after->Map(kPageVa, device->memory->AllocatePage(2));
    probes_.back().change = [=] {
      after->Map(kBufferVa, device->buffer);
      testing::WriteContext(device->memory.get(), device->cd, {.asid = asid, .low = after});
    };
  }
  void AddPlaces() {
    testing::Tables* low = one_.tables.get();
    Add(Place::kPage, &one_, low, kPageVa);
    Add(Place::kNextPage, &one_, low, kPageVa + 0x1000);
    Add(Place::kFarPage, &one_, low, kFarVa);
    Add(Place::kBlock, &one_, low, kBlockVa, 2);
    Add(Place::kGlobalPage, &one_, low, kGlobalVa, 3,
        testing::kPteNormal & ~testing::kPteNotGlobal);
    AddTable();
    Add(Place::kHigh64K, &one_, high64k_.get(), kHigh64KVa);
    Add(Place::kOtherAsid, &two_, two_.tables.get(), kPageVa);
    Add(Place::kHigh16K, &two_, high16k_.get(), kHigh16KVa);
    AddAts(Place::kAts, &one_, kAtsVa);
    AddAts(Place::kFarAts, &one_, kAtsVa + 0x10000);
    AddAts(Place::kOtherAts, &two_, kAtsVa);
    AddContext(Place::kContext, &three_, 21);
    AddContext(Place::kOtherContext, &four_, 31);
    Add(Place::kOtherVm, &other_vm_, other_vm_.tables.get(), kPageVa);
  }
  // What a device asked for by ATS the SMMU forgets at once, so that the device alone remembers it.
  void Remember() {
    for (const Probe& probe : probes_) {
      if (probe.control == 0) continue;
      ASSERT_EQ(Read(probe), 1U);
      probe.change();
    }
    ASSERT_EQ(ExecuteTrapped(one_, {0x10, 0}), 0);  // TLBI_NH_ALL
    for (const Probe& probe : probes_) {
      ASSERT_EQ(Read(probe), 1U) << static_cast<int>(probe.place);
    }
    for (const Probe& probe : probes_) {
      if (probe.control == 0) probe.change();
    }
  }

  DmaVm two_;
  DmaVm three_;
  DmaVm four_;
  DmaVm other_vm_;
  std::unique_ptr<testing::Tables> high64k_;
  std::unique_ptr<testing::Tables> high16k_;
  std::vector<std::unique_ptr<testing::Tables>> contexts_;
  std::vector<Probe> probes_;
};

}  // namespace berth::emulator

#endif  // BERTH_TESTS_EMULATOR_INVALIDATION_SCENE_H_
