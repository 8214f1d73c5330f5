// SPDX-License-Identifier: Apache-2.0
#include "agent/inventory/inventory.h"

#include <gmock/gmock.h>

#include "lib/base/status.h"
#include "lib/emulator/host_tree.h"
#include "tests/agent/inventory/inventory_fixture.h"

namespace berth {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(InventoryTest, ShowsUnitsDevicesAndHugePages) {
  const agent::v1::Inventory found = Look();
  ASSERT_EQ(found.units_size(), 2);
  const v1::Unit cmdqv = Unit(found, "smmu3.0");
  EXPECT_EQ(cmdqv.profile(), v1::Unit::TEGRA241_CMDQV);
  EXPECT_EQ(cmdqv.vcmdqs_per_vintf(), 2);
  EXPECT_EQ(cmdqv.sids_per_vintf(), 16);
  EXPECT_EQ(cmdqv.max_queue_log2(), 17);
  EXPECT_EQ(cmdqv.numa_node(), -1);
  EXPECT_EQ(Unit(found, "smmu3.1").profile(), v1::Unit::ARM_SMMUV3);

  ASSERT_EQ(found.devices_size(), 4);
  const v1::Device gpu = Device(found, kFirst);
  EXPECT_EQ(gpu.id(), IdOf(kFirst));
  EXPECT_EQ(gpu.class_(), "gpu");
  EXPECT_EQ(gpu.unit(), "smmu3.0");
  EXPECT_TRUE(gpu.assignable()) << gpu.unassignable_reason();
  EXPECT_EQ(gpu.vendor_id(), 0x10deU);
  EXPECT_EQ(gpu.device_id(), 0x2342U);
  EXPECT_TRUE(gpu.attributes().empty())
      << "requirements on the ids need no attributes of their own";

  ASSERT_EQ(found.huge_pages_size(), 1);
  EXPECT_EQ(found.huge_pages(0).page_size_bytes(), 2 << 20);
  EXPECT_EQ(found.huge_pages(0).total(), 8);
  EXPECT_EQ(found.huge_pages(0).free(), 5);
  EXPECT_EQ(found.labels().at("rack"), "r1");
  EXPECT_EQ(found.attach_endpoint(), "/run/berth/vmm.sock");
  ASSERT_EQ(found.conditions_size(), 1);
  EXPECT_EQ(found.conditions(0).type(), "KernelHealthy");
  EXPECT_TRUE(found.conditions(0).status());
}

TEST_F(InventoryTest, TheHardwareIsShownAsTheKernelDescribesIt) {
  const std::string group = tree_.root() + "/kernel/iommu_groups/0";
  tree_.Write(group + "/reserved_regions", "0x8000000 0x80fffff msi\n");
  Look();
  const agent::v1::Hardware hardware = inventory().CurrentHardware();
  ASSERT_EQ(hardware.devices_size(), 4);
  EXPECT_EQ(hardware.devices(0).device(), IdOf(kFirst));
  EXPECT_EQ(hardware.devices(0).cdev(), "vfio0");
  EXPECT_THAT(hardware.devices(0).reset_methods(), ElementsAre("flr"));
  ASSERT_EQ(hardware.devices(0).reserved_iovas_size(), 1);
  EXPECT_EQ(hardware.devices(0).reserved_iovas(0).last(), 0x80fffffU);
  ASSERT_EQ(hardware.units_size(), 2);
  const agent::v1::UnitHardware& cmdqv = hardware.units(0);
  EXPECT_EQ(cmdqv.unit(), "smmu3.0");
  EXPECT_EQ(cmdqv.cmdqv_version(), 1);
  ASSERT_EQ(cmdqv.smmu_idr_size(), 6);
  EXPECT_EQ(cmdqv.smmu_idr(1) >> 21 & 0x1f, 17U) << "IDR1.CMDQS";
  EXPECT_THAT(cmdqv.page_sizes_bytes(), Contains(4096));
  EXPECT_EQ(hardware.units(1).cmdqv_version(), 0);
}

TEST_F(InventoryTest, ACdevWhoseNodeCannotBeOpenedIsNotOffered) {
  std::filesystem::rename(tree_.Device(kSecond) + "/vfio-dev/vfio1",
                          tree_.Device(kSecond) + "/vfio-dev/vfio77");
  EXPECT_FALSE(Device(Look(), kSecond).assignable());
  EXPECT_THAT(Device(Look(), kSecond).unassignable_reason(),
              HasSubstr("its cdev vfio77 cannot be opened"));
  EXPECT_EQ(inventory().FindDevice(DeviceId(IdOf(kSecond))), std::nullopt);
  EXPECT_TRUE(Device(Look(), kFirst).assignable());
  // Another number is the same device.
  std::filesystem::rename(tree_.Device(kSecond) + "/vfio-dev/vfio77",
                          tree_.Device(kSecond) + "/vfio-dev/vfio1");
  EXPECT_TRUE(Device(Look(), kSecond).assignable());
  EXPECT_EQ(inventory().FindDevice(DeviceId(IdOf(kSecond)))->cdev, "vfio1");
}

TEST_F(InventoryTest, NothingIsKnownBeforeTheFirstLook) {
  EXPECT_FALSE(inventory().healthy());
  EXPECT_EQ(inventory().Current().devices_size(), 0);
  EXPECT_EQ(inventory().Current().conditions_size(), 0);
  EXPECT_EQ(inventory().FindDevice(DeviceId(IdOf(kFirst))), std::nullopt);
}

TEST_F(InventoryTest, VintfsAreAssumedUnlessSomebodyKnowsBetter) {
  const agent::v1::Inventory found = Look();
  EXPECT_EQ(Unit(found, "smmu3.0").vintfs(), 63);
  EXPECT_EQ(Unit(found, "smmu3.0").vintf_source(), v1::Unit::DEFAULT);
  EXPECT_EQ(Unit(found, "smmu3.1").vintfs(), 255);
}

TEST_F(InventoryTest, VintfsAreCountedWhenTheConfigurationSaysSo) {
  Configure("observe_vintfs: true");
  const agent::v1::Inventory found = Look();
  EXPECT_EQ(Unit(found, "smmu3.0").vintfs(), 3);
  EXPECT_EQ(Unit(found, "smmu3.0").vintf_source(), v1::Unit::OBSERVED);
}

TEST_F(InventoryTest, VintfsAreNotCountedBeforeAllDevicesOfTheirUnitAreIdle) {
  Configure("observe_vintfs: true");
  for (const char* held : {"vfio0", "vfio2"}) {
    Holder holder = Take(held);
    const agent::v1::Inventory busy = Look();
    EXPECT_EQ(Unit(busy, "smmu3.0").vintf_source(), v1::Unit::DEFAULT) << held;
    EXPECT_EQ(Unit(busy, "smmu3.0").vintfs(), 63);
    EXPECT_EQ(Unit(Look(), "smmu3.0").vintf_source(), v1::Unit::DEFAULT) << "still held";
  }
  const agent::v1::Inventory idle = Look();
  EXPECT_EQ(Unit(idle, "smmu3.0").vintf_source(), v1::Unit::OBSERVED);
  EXPECT_EQ(Unit(idle, "smmu3.0").vintfs(), 3);
  // Counted once: what is taken later is not missing.
  const Holder holder = Take("vfio0");
  EXPECT_EQ(Unit(Look(), "smmu3.0").vintfs(), 3);
}

TEST_F(InventoryTest, WhatTheOperatorSaysOfVintfsGoesFirst) {
  Configure("{observe_vintfs: true, vintfs: {smmu3.0: 2}}");
  const agent::v1::Inventory found = Look();
  EXPECT_EQ(Unit(found, "smmu3.0").vintfs(), 2);
  EXPECT_EQ(Unit(found, "smmu3.0").vintf_source(), v1::Unit::CONFIGURED);
}

TEST_F(InventoryTest, AVfioDriverForSingleDevicesIsAsGoodAsVfioPci) {
  tree_.Link(tree_.Device(kFirst) + "/driver", "../../drivers/nvgrace-gpu-vfio-pci");
  EXPECT_TRUE(Device(Look(), kFirst).assignable()) << Device(Look(), kFirst).unassignable_reason();
}

TEST_F(InventoryTest, GrantsFindWhatIsAssignable) {
  Configure("rules: [{address: '0000:01:00.1', assignable: false}]");
  Look();
  const std::optional<GrantDevice> device = inventory().FindDevice(DeviceId(IdOf(kFirst)));
  ASSERT_TRUE(device.has_value());
  EXPECT_EQ(device->cdev, "vfio0");
  EXPECT_EQ(device->address, kFirst);
  EXPECT_EQ(device->unit, UnitId("smmu3.0"));
  EXPECT_EQ(device->pci_class, 0x030200U);
  EXPECT_TRUE(device->resettable);
  const std::optional<GrantUnit> unit = inventory().FindUnit(UnitId("smmu3.0"));
  ASSERT_TRUE(unit.has_value());
  EXPECT_EQ(unit->profile, v1::Unit::TEGRA241_CMDQV);
  EXPECT_EQ(unit->vcmdqs_per_vintf, 2);
  EXPECT_EQ(unit->sids_per_vintf, 16);
  EXPECT_EQ(unit->max_queue_log2, 17);
  EXPECT_EQ(inventory().FindDevice(DeviceId(IdOf(kSecond))), std::nullopt) << "kept back";
  EXPECT_EQ(inventory().FindDevice(DeviceId("unheard-of")), std::nullopt);
  EXPECT_EQ(inventory().FindUnit(UnitId("smmu3.9")), std::nullopt);
}

TEST_F(InventoryTest, RulesDecideClassAttributesAndWhatIsHandedOut) {
  Configure(R"(rules:
- {address: "0000:01:00.1", assignable: false}
- {vendor: "10de", class: h100, attributes: {memory_gib: {int_value: 96}}})");
  const agent::v1::Inventory found = Look();
  const v1::Device gpu = Device(found, kFirst);
  EXPECT_EQ(gpu.class_(), "h100");
  EXPECT_EQ(gpu.attributes().at("memory_gib").int_value(), 96);
  const v1::Device kept = Device(found, kSecond);
  EXPECT_FALSE(kept.assignable());
  EXPECT_THAT(kept.unassignable_reason(), HasSubstr("keeps it back"));
  EXPECT_EQ(kept.class_(), "gpu") << "the first rule that matches says nothing of a class";
}

TEST_F(InventoryTest, ADeviceThatCannotBeResetNeedsTheOperatorsWord) {
  host_.devices[0].reset_method = "";
  ASSERT_TRUE(emulator::WriteHostTree(tree_.root(), host_).ok());
  EXPECT_THAT(Device(Look(), kFirst).unassignable_reason(), HasSubstr("no reset method"));
  internal::v1::InventoryConfig config;
  config.add_rules()->set_allow_without_reset(true);
  Inventory allowed(
      &client(), &clock_,
      {.sysfs_root = tree_.root(), .config = config, .labels = {}, .attach_endpoint = ""});
  ASSERT_TRUE(allowed.Refresh().ok());
  const std::optional<GrantDevice> device = allowed.FindDevice(DeviceId(IdOf(kFirst)));
  ASSERT_TRUE(device.has_value());
  EXPECT_FALSE(device->resettable);
}

TEST_F(InventoryTest, WhatSharesAGroupWithAnAssignableDeviceIsShown) {
  // An audio function in the group of vfio0 that its own driver has, and a disk of the host's.
  tree_.AddVfio("0000:01:00.7", 0, "smmu3.0", "none");
  std::filesystem::remove_all(tree_.Device("0000:01:00.7") + "/vfio-dev");
  tree_.Link(tree_.Device("0000:01:00.7") + "/driver", "../../drivers/snd_hda_intel");
  tree_.Write(tree_.Device("0000:09:00.0") + "/vendor", "0x144d\n");
  tree_.Link(tree_.Device("0000:09:00.0") + "/iommu_group", "../../../../kernel/iommu_groups/77");
  const agent::v1::Inventory found = Look();
  const v1::Device mate = Device(found, "0000:01:00.7");
  EXPECT_FALSE(mate.assignable());
  EXPECT_EQ(mate.iommu_group(), Device(found, kFirst).iommu_group());
  EXPECT_THAT(mate.unassignable_reason(), HasSubstr("belongs to snd_hda_intel"));
  EXPECT_EQ(found.devices_size(), 5) << "the host's disk is nobody's business";
}

TEST_F(InventoryTest, ADeviceWithoutAGroupMakesNothingElseVisible) {
  // vfio-pci without an IOMMU, and a function of the host's that is behind none either.
  tree_.AddVfio("0000:02:00.0", 0, "none", "noiommu-vfio0");
  std::filesystem::remove(tree_.Device("0000:02:00.0") + "/iommu_group");
  tree_.Write(tree_.Device("0000:09:00.0") + "/vendor", "0x144d\n");
  const agent::v1::Inventory found = Look();
  EXPECT_THAT(Device(found, "0000:02:00.0").unassignable_reason(),
              HasSubstr("not behind an IOMMU"));
  EXPECT_EQ(found.devices_size(), 5);
}

TEST_F(InventoryTest, BridgesAreNotShown) {
  tree_.Write(tree_.Device(kSecond) + "/class", "0x060400\n");
  EXPECT_EQ(Look().devices_size(), 3);
}

TEST_F(InventoryTest, AUnitWhoseDevicesAreAllBusyIsUnknownUntilOneIsFree) {
  Holder holder = Take("vfio10");
  const agent::v1::Inventory before = Look();
  EXPECT_EQ(before.units_size(), 1);
  const v1::Device busy = Device(before, kOther);
  EXPECT_FALSE(busy.assignable());
  EXPECT_EQ(busy.unit(), "") << "only a unit of this inventory can be named";
  EXPECT_THAT(busy.unassignable_reason(), HasSubstr("probing smmu3.1 through 0000:01:01.2"));
  EXPECT_EQ(inventory().FindUnit(UnitId("smmu3.1")), std::nullopt);
  holder = {};
  EXPECT_TRUE(Device(Look(), kOther).assignable());
}

TEST_F(InventoryTest, TellsWhatIsNotThereFromWhatCouldNotBeAsked) {
  EXPECT_EQ(ReasonOf(inventory().CheckKnown(UnitId("smmu3.0"))), Reason::kKernelGone);
  Holder holder = Take("vfio10");
  Look();
  const absl::Status busy = inventory().CheckKnown(UnitId("smmu3.1"));
  EXPECT_EQ(ReasonOf(busy), Reason::kDeviceBusy);
  EXPECT_THAT(std::string(busy.message()), HasSubstr("through 0000:01:01.2"));
  EXPECT_TRUE(inventory().CheckKnown(UnitId("smmu3.0")).ok());
  EXPECT_TRUE(inventory().CheckKnown(UnitId("smmu3.9")).ok());
  StopServer();
  EXPECT_FALSE(inventory().Refresh().ok());
  EXPECT_EQ(ReasonOf(inventory().CheckKnown(UnitId("smmu3.9"))), Reason::kKernelGone);
  StartKernel();
  Look();
  EXPECT_TRUE(inventory().CheckKnown(UnitId("smmu3.1")).ok());
}

TEST_F(InventoryTest, AUnitIsProbedThroughAnotherDeviceWhenOneIsBusy) {
  const Holder holder = Take("vfio0");
  const agent::v1::Inventory found = Look();
  EXPECT_EQ(Unit(found, "smmu3.0").profile(), v1::Unit::TEGRA241_CMDQV);
  EXPECT_TRUE(Device(found, kFirst).assignable()) << "busy is not the inventory's business";
}

TEST_F(InventoryTest, KnownUnitsStayKnownWhileTheirDevicesAreBusy) {
  Look();
  const Holder holder = Take("vfio10");
  const agent::v1::Inventory found = Look();
  EXPECT_EQ(Unit(found, "smmu3.1").profile(), v1::Unit::ARM_SMMUV3);
  EXPECT_TRUE(Device(found, kOther).assignable());
}

TEST_F(InventoryTest, AnUnpluggedDeviceIsGoneAtTheNextLook) {
  Look();
  std::filesystem::remove_all(tree_.Device(kOther));
  const agent::v1::Inventory found = Look();
  EXPECT_EQ(found.devices_size(), 3);
  EXPECT_EQ(found.units_size(), 1) << "nothing is behind the other unit any more";
  EXPECT_EQ(inventory().FindDevice(DeviceId(IdOf(kOther))), std::nullopt);
}

TEST_F(InventoryTest, WhenTheKernelIsGoneWhatWasKnownStaysAndTheConditionSaysWhy) {
  const agent::v1::Inventory before = Look();
  StopServer();
  clock_.Advance(absl::Seconds(5));
  EXPECT_EQ(ReasonOf(inventory().Refresh()), Reason::kKernelGone);
  EXPECT_FALSE(inventory().healthy());
  const agent::v1::Inventory broken = inventory().Current();
  EXPECT_EQ(broken.devices_size(), before.devices_size());
  EXPECT_EQ(broken.units_size(), before.units_size());
  EXPECT_TRUE(inventory().FindDevice(DeviceId(IdOf(kFirst))).has_value());
  ASSERT_EQ(broken.conditions_size(), 1);
  EXPECT_FALSE(broken.conditions(0).status());
  EXPECT_EQ(broken.conditions(0).reason(), "KERNEL_GONE");
  EXPECT_THAT(broken.conditions(0).message(), HasSubstr("no emulator answers"));
  EXPECT_EQ(broken.conditions(0).last_transition_time().seconds(), 1005);

  clock_.Advance(absl::Seconds(5));
  EXPECT_FALSE(inventory().Refresh().ok());
  EXPECT_EQ(inventory().Current().conditions(0).last_transition_time().seconds(), 1005)
      << "still broken is no transition";

  StartKernel();
  const agent::v1::Inventory after = Look();
  EXPECT_TRUE(inventory().healthy());
  EXPECT_TRUE(after.conditions(0).status());
  EXPECT_EQ(after.conditions(0).reason(), "");
  EXPECT_EQ(after.conditions(0).last_transition_time().seconds(), 1010);
  EXPECT_EQ(after.units_size(), 2);
}

TEST_F(InventoryTest, WhyTheKernelCouldNotBeStartedIsShown) {
  Look();
  EXPECT_EQ(inventory().Refresh(Error(Reason::kKernelGone, "it exited with code 3")).message(),
            "it exited with code 3");
  EXPECT_FALSE(inventory().healthy());
  EXPECT_EQ(inventory().Current().conditions(0).reason(), "KERNEL_GONE");
  EXPECT_EQ(inventory().Current().conditions(0).message(), "it exited with code 3");
  EXPECT_TRUE(Look().conditions(0).status());
}

TEST_F(InventoryTest, ANewKernelIsAskedAnewAsSoonAsADeviceIsFree) {
  EXPECT_EQ(Unit(Look(), "smmu3.0").max_queue_log2(), 17);
  StopServer();
  EXPECT_FALSE(inventory().Refresh().ok());
  host_.units[0].log2_max_commands = 12;
  host_.units[1].profile = emulator::UnitProfile::kTegra241Cmdqv;
  StartKernel();
  Holder holder = Take("vfio10");
  EXPECT_EQ(Unit(Look(), "smmu3.0").max_queue_log2(), 12);
  EXPECT_EQ(Unit(Look(), "smmu3.1").profile(), v1::Unit::ARM_SMMUV3) << "what it was";
  holder = {};
  EXPECT_EQ(Unit(Look(), "smmu3.1").profile(), v1::Unit::TEGRA241_CMDQV);
}

TEST_F(InventoryTest, AnAgentWithoutFdsDoesNotForgetBusyUnits) {
  Look();
  const Holder holder = Take("vfio10");
  failing_.FailCall(0, EMFILE);
  EXPECT_EQ(ReasonOf(inventory().Refresh()), Reason::kOutOfMemory);
  EXPECT_EQ(inventory().Current().conditions(0).reason(), "OUT_OF_MEMORY");
  failing_.FailCall(-1, 0);
  EXPECT_EQ(Unit(Look(), "smmu3.1").profile(), v1::Unit::ARM_SMMUV3);
}

TEST_F(InventoryTest, ASysfsThatCannotBeReadMakesTheHostUnhealthy) {
  const agent::v1::Inventory before = Look();
  std::filesystem::rename(tree_.root() + "/bus", tree_.root() + "/sub");
  EXPECT_FALSE(inventory().Refresh().ok());
  EXPECT_FALSE(inventory().healthy());
  EXPECT_EQ(inventory().Current().devices_size(), before.devices_size());
  EXPECT_THAT(inventory().Current().conditions(0).message(), HasSubstr("bus/pci/devices"));
}

}  // namespace
}  // namespace berth
