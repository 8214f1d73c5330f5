// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_AGENT_INVENTORY_SYSFS_TREE_H_
#define BERTH_TESTS_AGENT_INVENTORY_SYSFS_TREE_H_

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace berth::testing {

// A sysfs made by hand, in a folder that is removed at the end; for what no healthy kernel shows.
class SysfsTree {
 public:
  SysfsTree() {
    root_ = std::filesystem::temp_directory_path() / "berth-sysfs-XXXXXX";
    EXPECT_NE(::mkdtemp(root_.data()), nullptr);
    std::filesystem::create_directories(root_ + "/bus/pci/devices");
  }
  ~SysfsTree() { std::filesystem::remove_all(root_); }
  SysfsTree(const SysfsTree&) = delete;
  SysfsTree& operator=(const SysfsTree&) = delete;

  [[nodiscard]] const std::string& root() const { return root_; }
  // The folder of a function; `attribute` is a file in it.
  [[nodiscard]] std::string Device(const std::string& address) const {
    return root_ + "/bus/pci/devices/" + address;
  }

  void Write(const std::string& path, const std::string& content) const {
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << content;
  }
  // Whatever it pointed to before.
  void Link(const std::string& path, const std::string& target) const {
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::filesystem::remove(path);
    std::filesystem::create_symlink(target, path);
  }
  // A function on vfio-pci behind `unit` that can be reset.
  void AddVfio(const std::string& address, int group, const std::string& unit,
               const std::string& cdev) const {
    const std::string device = Device(address);
    Write(device + "/vendor", "0x10de\n");
    Write(device + "/device", "0x2342\n");
    Write(device + "/class", "0x030200\n");
    Write(device + "/reset_method", "flr bus\n");
    std::filesystem::create_directories(device + "/vfio-dev/" + cdev);
    Link(device + "/driver", "../../../../bus/pci/drivers/vfio-pci");
    Link(device + "/iommu_group", "../../../../kernel/iommu_groups/" + std::to_string(group));
    Link(device + "/iommu", "../../../../class/iommu/" + unit);
  }

 private:
  std::string root_;
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_AGENT_INVENTORY_SYSFS_TREE_H_
