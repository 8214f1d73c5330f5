// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_AGENT_INVENTORY_INVENTORY_FIXTURE_H_
#define BERTH_TESTS_AGENT_INVENTORY_INVENTORY_FIXTURE_H_

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "agent/inventory/inventory.h"
#include "agent/inventory/pci_sysfs.h"
#include "lib/config/config.h"
#include "lib/emulator/host_tree.h"
#include "tests/agent/grants/failing_kernel.h"
#include "tests/agent/inventory/sysfs_tree.h"
#include "tests/emulator/emulator_fixture.h"

namespace berth {

// SmallHost(), with a plain SMMUv3 for its second unit: GPUs vfio0 to vfio2 behind "smmu3.0",
// vfio10 behind "smmu3.1". The tree of its sysfs may be changed by hand.
class InventoryTest : public emulator::EmulatorTest {
 protected:
  void SetUp() override {
    host_.devices.resize(4);
    host_.units[1].profile = emulator::UnitProfile::kArmSmmuv3;
    host_.huge_pages_total = 8;
    host_.huge_pages_free = 5;
    StartKernel();
    ASSERT_TRUE(emulator::WriteHostTree(tree_.root(), host_).ok());
  }
  void StartKernel() {
    StartServer([this](emulator::Server::Options& options) { options.host = host_; });
  }

  // Before the first use of inventory().
  void Configure(const std::string& yaml) {
    const absl::Status status = ParseYaml(yaml, "test", &options_.config);
    ASSERT_TRUE(status.ok()) << status;
  }
  Inventory& inventory() {
    if (inventory_ == nullptr) {
      options_.sysfs_root = tree_.root();
      options_.labels = {{"rack", "r1"}};
      options_.attach_endpoint = "/run/berth/vmm.sock";
      inventory_ = std::make_unique<Inventory>(&failing_, &clock_, options_);
    }
    return *inventory_;
  }
  agent::v1::Inventory Look() {
    const absl::Status status = inventory().Refresh();
    EXPECT_TRUE(status.ok()) << status;
    return inventory().Current();
  }

  // Somebody who has a device bound.
  struct Holder {
    UniqueFd context;
    UniqueFd cdev;
  };
  Holder Take(const std::string& cdev) {
    Holder holder{OpenContext(), OpenDevice(cdev)};
    EXPECT_EQ(Bind(holder.cdev, holder.context.get()), 0);
    return holder;
  }

  static v1::Unit Unit(const agent::v1::Inventory& inventory, const std::string& id) {
    for (const v1::Unit& unit : inventory.units()) {
      if (unit.id() == id) return unit;
    }
    ADD_FAILURE() << "no unit " << id << " in\n" << inventory.DebugString();
    return {};
  }
  static v1::Device Device(const agent::v1::Inventory& inventory, const std::string& address) {
    for (const v1::Device& device : inventory.devices()) {
      if (device.address() == address) return device;
    }
    ADD_FAILURE() << "no device " << address << " in\n" << inventory.DebugString();
    return {};
  }
  static std::string IdOf(const std::string& address) {
    PciFunction function;
    function.address = address;
    function.vendor_id = 0x10de;
    function.device_id = 0x2342;
    return MakeDeviceId(function);
  }

  static constexpr char kFirst[] = "0000:01:00.0";   // vfio0
  static constexpr char kSecond[] = "0000:01:00.1";  // vfio1
  static constexpr char kOther[] = "0000:01:01.2";   // vfio10

  emulator::HostSpec host_ = emulator::SmallHost();
  testing::SysfsTree tree_;
  FakeClock clock_{absl::FromUnixSeconds(1000)};
  testing::FailingKernel failing_{&client()};

 private:
  Inventory::Options options_;
  std::unique_ptr<Inventory> inventory_;
};

}  // namespace berth

#endif  // BERTH_TESTS_AGENT_INVENTORY_INVENTORY_FIXTURE_H_
