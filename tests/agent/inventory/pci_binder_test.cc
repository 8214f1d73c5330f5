// SPDX-License-Identifier: Apache-2.0
#include "agent/inventory/pci_binder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "lib/base/status.h"
#include "lib/config/config.h"
#include "tests/agent/inventory/sysfs_tree.h"

namespace berth {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kNic[] = "0000:01:00.0";
constexpr char kMate[] = "0000:01:00.1";
constexpr char kOther[] = "0000:02:00.0";

// A sysfs that does what the kernel's does when its files are written, and a /proc.
class PciBinderTest : public ::testing::Test {
 protected:
  PciBinderTest() {
    fs::create_directories(tree_.root() + "/bus/pci/drivers/vfio-pci");
    tree_.Write(proc() + "/self/mountinfo",
                "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
                "30 22 0:44 /sub /data rw - btrfs /dev/sdb2 rw\n");
    tree_.Write(proc() + "/swaps",
                "Filename Type Size Used Priority\n/dev/sdc3 partition 1 0 -2\n");
    AddFunction(kNic, 7, "mlx5_core");
    Allow("rules: [{vendor: '15b3', assignable: true}]");
  }

  [[nodiscard]] std::string proc() const { return tree_.root() + "/proc"; }
  [[nodiscard]] std::string memory() const { return tree_.root() + "/run/bound"; }

  void AddFunction(const std::string& address, int group, const std::string& driver,
                   const std::string& pci_class = "0x020000") {
    const std::string device = tree_.Device(address);
    tree_.Write(device + "/vendor", "0x15b3\n");
    tree_.Write(device + "/device", "0x1021\n");
    tree_.Write(device + "/class", pci_class + "\n");
    tree_.Write(device + "/driver_override", "(null)\n");
    tree_.Link(device + "/iommu_group", "../../../../kernel/iommu_groups/" + std::to_string(group));
    if (!driver.empty()) SetDriver(address, driver);
  }
  // An entry of /sys/class/KIND below `address`.
  void AddChild(const std::string& address, const std::string& kind, const std::string& path) {
    const std::string name = fs::path(path).filename().string();
    fs::create_directories(tree_.Device(address) + "/" + path);
    tree_.Link(tree_.root() + "/class/" + kind + "/" + name, tree_.Device(address) + "/" + path);
  }
  void Allow(const std::string& yaml) {
    config_ = {};
    ASSERT_TRUE(ParseYaml(yaml, "test", &config_).ok());
  }

  void SetDriver(const std::string& address, const std::string& driver) {
    tree_.Link(tree_.Device(address) + "/driver", "../../../../bus/pci/drivers/" + driver);
    if (driver == "vfio-pci" && makes_cdevs_) {
      fs::create_directories(tree_.Device(address) + "/vfio-dev/vfio4");
    }
  }
  [[nodiscard]] std::string DriverOf(const std::string& address) const {
    std::error_code error;
    return fs::read_symlink(tree_.Device(address) + "/driver", error).filename().string();
  }
  [[nodiscard]] std::string OverrideOf(const std::string& address) const {
    std::ifstream file(tree_.Device(address) + "/driver_override");
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }

  // What the kernel does at a write.
  absl::Status Write(const std::string& path, std::string_view text) {
    writes_.push_back(path.substr(tree_.root().size()));
    const std::string name = fs::path(path).filename().string();
    const std::string word(text);
    if (name == "driver_override") {
      tree_.Write(path, word == "\n" ? "(null)\n" : word + "\n");
    } else if (name == "unbind") {
      const std::string device = tree_.Device(word);
      if (DriverOf(word).empty()) return ErrnoToStatus(ENODEV, "unbind");
      fs::remove(device + "/driver");
      fs::remove_all(device + "/vfio-dev");
    } else if (name == "drivers_probe") {
      if (OverrideOf(word) == "vfio-pci\n" && refused_by_vfio_.count(word) == 0) {
        SetDriver(word, "vfio-pci");
      }
    } else if (name == "bind") {
      const std::string driver = fs::path(path).parent_path().filename().string();
      if (unloaded_.count(driver) > 0) return ErrnoToStatus(ENOENT, path);
      SetDriver(word, driver);
    } else {
      return ErrnoToStatus(EACCES, path);
    }
    return absl::OkStatus();
  }

  PciBinder Binder() {
    return PciBinder({.files = {.sysfs_root = tree_.root(),
                                .proc_root = proc(),
                                .claim_disk =
                                    [this](const std::string& disk) {
                                      const auto known = disks_.find(disk);
                                      return known == disks_.end() ? absl::OkStatus()
                                                                   : known->second;
                                    }},
                      .memory_dir = memory(),
                      .config = config_,
                      .write = [this](const std::string& path,
                                      std::string_view text) { return Write(path, text); },
                      .claim_cdev =
                          [this](const std::string& cdev) {
                            asked_cdev_ = cdev;
                            return cdev_;
                          }});
  }
  absl::StatusOr<std::vector<std::string>> Bind(const std::vector<std::string>& addresses) {
    return Binder().Bind(addresses, PciBinder::Mode::kApply);
  }
  absl::StatusOr<std::vector<std::string>> Unbind(const std::vector<std::string>& addresses) {
    return Binder().Unbind(addresses, PciBinder::Mode::kApply);
  }
  // Bind() of kNic is refused for this reason, and nothing was written.
  void ExpectRefused(Reason reason, const std::string& message) {
    const auto result = Bind({kNic});
    EXPECT_EQ(ReasonOf(result.status()), reason) << result.status();
    EXPECT_THAT(std::string(result.status().message()), HasSubstr(message));
    EXPECT_THAT(writes_, IsEmpty());
    EXPECT_FALSE(fs::exists(memory()));
  }

  testing::SysfsTree tree_;
  internal::v1::InventoryConfig config_;
  std::map<std::string, absl::Status> disks_;  // by name; others are free
  absl::Status cdev_;
  std::string asked_cdev_;
  std::set<std::string> refused_by_vfio_;
  std::set<std::string> unloaded_;  // drivers
  bool makes_cdevs_ = true;
  std::vector<std::string> writes_;
};

TEST_F(PciBinderTest, ADeviceGoesToVfioAndBackToTheDriverThatHadIt) {
  auto bound = Bind({kNic});
  ASSERT_TRUE(bound.ok()) << bound.status();
  EXPECT_THAT(*bound, ElementsAre("0000:01:00.0: mlx5_core -> vfio-pci"));
  EXPECT_EQ(DriverOf(kNic), "vfio-pci");
  EXPECT_THAT(writes_,
              ElementsAre("/bus/pci/devices/0000:01:00.0/driver_override",
                          "/bus/pci/devices/0000:01:00.0/driver/unbind", "/bus/pci/drivers_probe"));
  bound = Unbind({kNic});
  ASSERT_TRUE(bound.ok()) << bound.status();
  EXPECT_THAT(*bound, ElementsAre("0000:01:00.0: vfio-pci -> mlx5_core"));
  EXPECT_EQ(asked_cdev_, "vfio4");
  EXPECT_EQ(DriverOf(kNic), "mlx5_core");
  EXPECT_EQ(OverrideOf(kNic), "(null)\n");
  EXPECT_EQ(ReasonOf(Unbind({kNic}).status()), Reason::kStateConflict) << "forgotten";
}

TEST_F(PciBinderTest, WhatHadNoDriverGetsNone) {
  AddFunction(kOther, 8, "");
  ASSERT_TRUE(Bind({kOther}).ok());
  const auto back = Unbind({kOther});
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_THAT(*back, ElementsAre("0000:02:00.0: vfio-pci -> no driver"));
  EXPECT_EQ(DriverOf(kOther), "");
}

TEST_F(PciBinderTest, AnOverrideOfBeforeIsPutBack) {
  tree_.Write(tree_.Device(kNic) + "/driver_override", "mlx5_core\n");
  ASSERT_TRUE(Bind({kNic}).ok());
  EXPECT_EQ(OverrideOf(kNic), "vfio-pci\n");
  ASSERT_TRUE(Unbind({kNic}).ok());
  EXPECT_EQ(OverrideOf(kNic), "mlx5_core\n");
}

TEST_F(PciBinderTest, ADryRunOnlySays) {
  const auto would = Binder().Bind({kNic}, PciBinder::Mode::kDryRun);
  ASSERT_TRUE(would.ok()) << would.status();
  EXPECT_THAT(*would, ElementsAre("0000:01:00.0: mlx5_core -> vfio-pci"));
  EXPECT_THAT(writes_, IsEmpty());
  EXPECT_FALSE(fs::exists(memory()));
  ASSERT_TRUE(Bind({kNic}).ok());
  writes_.clear();
  EXPECT_TRUE(Binder().Unbind({kNic}, PciBinder::Mode::kDryRun).ok());
  EXPECT_THAT(writes_, IsEmpty());
  EXPECT_EQ(DriverOf(kNic), "vfio-pci");
}

TEST_F(PciBinderTest, OnlyWhatTheConfigurationNamesIsTaken) {
  for (const char* rules :
       {"{}", "rules: [{vendor: '15b3'}]", "rules: [{vendor: '10de', assignable: true}]",
        "rules: [{vendor: '15b3', assignable: false}, {assignable: true}]"}) {
    Allow(rules);
    ExpectRefused(Reason::kPermissionDenied, "assignable: true");
  }
}

TEST_F(PciBinderTest, WhatIsOnVfioAlreadyStaysAsItIs) {
  SetDriver(kNic, "vfio-pci");
  const auto bound = Bind({kNic});
  ASSERT_TRUE(bound.ok()) << bound.status();
  EXPECT_THAT(*bound, ElementsAre("0000:01:00.0: on vfio-pci already"));
  EXPECT_THAT(writes_, IsEmpty());
  EXPECT_EQ(ReasonOf(Unbind({kNic}).status()), Reason::kStateConflict) << "somebody else bound it";
}

TEST_F(PciBinderTest, ADiskThatTheHostUsesIsNotTaken) {
  AddChild(kNic, "block", "ata1/host0/block/sda");
  AddChild(kNic, "block", "ata1/host0/block/sda/sda1");
  tree_.Write(tree_.root() + "/class/block/sda1/dev", "8:1\n");
  ExpectRefused(Reason::kDeviceBusy, "disk sda1 is mounted at /");
  tree_.Write(proc() + "/self/mountinfo", "");
  EXPECT_TRUE(Binder().Bind({kNic}, PciBinder::Mode::kDryRun).ok());
  tree_.Write(tree_.root() + "/class/block/sda/holders/md0/x", "");
  ExpectRefused(Reason::kDeviceBusy, "disk sda is a part of md0");
  fs::remove_all(tree_.root() + "/class/block/sda/holders");
  disks_["sda"] = Error(Reason::kDeviceBusy, "");
  ExpectRefused(Reason::kDeviceBusy, "disk sda is in use");
  disks_["sda"] = ErrnoToStatus(EACCES, "open");
  ExpectRefused(Reason::kDeviceBusy, "disk sda may be in use: ");
}

TEST_F(PciBinderTest, AFilesystemOfManyDisksAndSwapAreUsesOfADisk) {
  AddChild(kNic, "block", "block/sdb/sdb2");
  ExpectRefused(Reason::kDeviceBusy, "disk sdb2 is mounted at /data");
  AddFunction(kOther, 8, "nvme");
  AddChild(kOther, "block", "block/sdc/sdc3");
  EXPECT_THAT(std::string(Bind({kOther}).status().message()), HasSubstr("disk sdc3 is swap space"));
}

TEST_F(PciBinderTest, ADiskOfManyPathsIsLookedForWhereTheKernelHasIt) {
  AddChild(kNic, "block", "nvme/nvme0/nvme1c0n2");
  fs::create_directories(tree_.root() + "/class/block/nvme1n2");
  tree_.Write(tree_.root() + "/class/block/nvme1n2p1/dev", "259:4\n");
  disks_["nvme1c0n2"] = ErrnoToStatus(ENOENT, "a path has no node of its own");
  EXPECT_TRUE(Binder().Bind({kNic}, PciBinder::Mode::kDryRun).ok());
  tree_.Write(proc() + "/self/mountinfo", "22 1 259:4 / /var rw - xfs /dev/nvme1n2p1 rw\n");
  ExpectRefused(Reason::kDeviceBusy, "disk nvme1n2p1 is mounted at /var");
}

TEST_F(PciBinderTest, AnInterfaceThatIsUpIsNotTaken) {
  AddChild(kNic, "net", "net/eth0");
  ExpectRefused(Reason::kDeviceBusy, "network interface eth0 is up");
  tree_.Write(tree_.root() + "/class/net/eth0/flags", "0x1003\n");
  ExpectRefused(Reason::kDeviceBusy, "network interface eth0 is up");
  tree_.Write(tree_.root() + "/class/net/eth0/flags", "0x1002\n");
  EXPECT_TRUE(Bind({kNic}).ok());
}

TEST_F(PciBinderTest, TheBootDisplayAndAnOwnerOfVirtualFunctionsAreNotTaken) {
  tree_.Write(tree_.Device(kNic) + "/boot_vga", "1\n");
  ExpectRefused(Reason::kDeviceBusy, "the display that this host booted with");
  tree_.Write(tree_.Device(kNic) + "/boot_vga", "0\n");
  tree_.Write(tree_.Device(kNic) + "/sriov_numvfs", "4\n");
  ExpectRefused(Reason::kDeviceBusy, "4 virtual functions of it are enabled");
  tree_.Write(tree_.Device(kNic) + "/sriov_numvfs", "0\n");
  EXPECT_TRUE(Bind({kNic}).ok());
}

TEST_F(PciBinderTest, AGroupIsTakenAsAWhole) {
  AddFunction(kMate, 7, "snd_hda_intel");
  AddFunction("0000:00:1c.0", 7, "pcieport", "0x060400");
  AddFunction("0000:01:00.2", 7, "");
  ExpectRefused(Reason::kStateConflict,
                "other drivers have members of its IOMMU group 7: 0000:01:00.1 (snd_hda_intel)");
  ASSERT_TRUE(Bind({kMate, kNic}).ok());
  EXPECT_EQ(DriverOf(kMate), "vfio-pci");
  ASSERT_TRUE(Unbind({kNic, kMate}).ok());
  EXPECT_EQ(DriverOf(kNic), "mlx5_core");
  EXPECT_EQ(DriverOf(kMate), "snd_hda_intel");
}

TEST_F(PciBinderTest, AllOrNone) {
  AddFunction(kOther, 8, "nvme");
  refused_by_vfio_.insert(kOther);
  const auto result = Bind({kNic, kOther});
  EXPECT_EQ(ReasonOf(result.status()), Reason::kKernelRefused);
  EXPECT_THAT(std::string(result.status().message()),
              AllOf(HasSubstr(kOther), HasSubstr("vfio-pci did not take it")));
  EXPECT_EQ(DriverOf(kNic), "mlx5_core");
  EXPECT_EQ(DriverOf(kOther), "nvme");
  EXPECT_EQ(OverrideOf(kOther), "(null)\n");
  EXPECT_TRUE(fs::is_empty(memory()));
}

TEST_F(PciBinderTest, AKernelWithoutCdevsLeavesTheDeviceWhereItWas) {
  makes_cdevs_ = false;
  const auto result = Bind({kNic});
  EXPECT_EQ(ReasonOf(result.status()), Reason::kKernelFeatureMissing);
  EXPECT_EQ(DriverOf(kNic), "mlx5_core");
}

TEST_F(PciBinderTest, WhatCannotBeBoundSaysWhy) {
  EXPECT_EQ(ReasonOf(Bind({"01:00.0"}).status()), Reason::kInvalidField);
  EXPECT_EQ(ReasonOf(Bind({kNic, kNic}).status()), Reason::kInvalidField);
  EXPECT_EQ(ReasonOf(Bind({kOther}).status()), Reason::kNotFound);
  AddFunction(kOther, 8, "pcieport", "0x060400");
  EXPECT_EQ(ReasonOf(Bind({kOther}).status()), Reason::kInvalidField);
  fs::remove_all(tree_.root() + "/bus/pci/drivers/vfio-pci");
  ExpectRefused(Reason::kKernelFeatureMissing, "modprobe vfio-pci");
  fs::remove(tree_.Device(kNic) + "/iommu_group");
  ExpectRefused(Reason::kKernelFeatureMissing, "not behind an IOMMU");
}

TEST_F(PciBinderTest, WhatSomebodyHoldsIsNotTakenAway) {
  ASSERT_TRUE(Bind({kNic}).ok());
  cdev_ = Error(Reason::kDeviceBusy, "bound");
  const auto result = Unbind({kNic});
  EXPECT_EQ(ReasonOf(result.status()), Reason::kDeviceBusy);
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("release the assignment"));
  EXPECT_EQ(DriverOf(kNic), "vfio-pci");
  cdev_ = absl::OkStatus();
  EXPECT_TRUE(Unbind({kNic}).ok());
}

TEST_F(PciBinderTest, AnotherCardInTheSlotIsNotGivenBack) {
  ASSERT_TRUE(Bind({kNic}).ok());
  tree_.Write(tree_.Device(kNic) + "/device", "0x1023\n");
  writes_.clear();
  const auto result = Unbind({kNic});
  EXPECT_EQ(ReasonOf(result.status()), Reason::kStateConflict);
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("another card is there now"));
  EXPECT_THAT(writes_, IsEmpty());
}

TEST_F(PciBinderTest, ADriverThatIsNotThereAnyMoreIsRemembered) {
  ASSERT_TRUE(Bind({kNic}).ok());
  unloaded_.insert("mlx5_core");
  const auto result = Unbind({kNic});
  EXPECT_EQ(ReasonOf(result.status()), Reason::kKernelRefused);
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("mlx5_core did not take it back"));
  unloaded_.clear();
  EXPECT_TRUE(Unbind({kNic}).ok());
  EXPECT_EQ(DriverOf(kNic), "mlx5_core");
}

}  // namespace
}  // namespace berth
