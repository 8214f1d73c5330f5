// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/host_tree.h"

#include <fstream>

#include "tests/emulator/emulator_fixture.h"

namespace berth::emulator {
namespace {

namespace fs = std::filesystem;

std::string Read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(HostTree, ShowsADeviceAsSysfsDoes) {
  const TempDir dir;
  HostSpec host = SmallHost();
  host.devices[0].serial = 0x1122334455667788;
  host.devices[0].numa_node = 1;
  host.huge_pages_total = 8;
  const fs::path root = dir.path() + "/sys";
  ASSERT_TRUE(WriteHostTree(root, host).ok());
  const fs::path device = root / "bus/pci/devices/0000:01:00.0";
  EXPECT_EQ(Read(device / "vendor"), "0x10de\n");
  EXPECT_EQ(Read(device / "device"), "0x2342\n");
  EXPECT_EQ(Read(device / "class"), "0x030200\n");
  EXPECT_EQ(Read(device / "numa_node"), "1\n");
  EXPECT_EQ(Read(device / "reset_method"), "flr\n");
  EXPECT_TRUE(fs::is_directory(device / "vfio-dev/vfio0"));
  EXPECT_EQ(fs::read_symlink(device / "iommu"), "../../../../class/iommu/smmu3.0");
  EXPECT_EQ(fs::read_symlink(device / "iommu_group").filename(), "0");
  EXPECT_EQ(fs::read_symlink(device / "driver").filename(), "vfio-pci");
  EXPECT_TRUE(fs::equivalent(root / "class/iommu/smmu3.0/devices/0000:01:00.0", device));
  EXPECT_TRUE(fs::equivalent(root / "kernel/iommu_groups/0/devices/0000:01:00.0", device));
  EXPECT_EQ(Read(root / "kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"), "8\n");
  const std::string config = Read(device / "config");
  ASSERT_EQ(config.size(), 4096U);
  EXPECT_EQ(config.substr(0x100, 12),
            std::string("\x03\x00\x01\x00\x88\x77\x66\x55\x44\x33\x22\x11", 12));
}

TEST(HostTree, ReplacesAnOlderTree) {
  const TempDir dir;
  const std::string root = dir.path() + "/sys";
  HostSpec host = SmallHost();
  ASSERT_TRUE(WriteHostTree(root, host).ok());
  host.devices[0].reset_method = "";
  host.devices.resize(1);
  ASSERT_TRUE(WriteHostTree(root, host).ok());
  EXPECT_FALSE(fs::exists(root + "/bus/pci/devices/0000:01:00.1"));
  EXPECT_FALSE(fs::exists(root + "/bus/pci/devices/0000:01:00.0/reset_method"));
  EXPECT_FALSE(fs::exists(root + ".new"));
}

TEST(HostTree, SaysWhatItCouldNotWrite) {
  const TempDir dir;
  std::ofstream(dir.path() + "/file") << "x";
  EXPECT_FALSE(WriteHostTree(dir.path() + "/file/sys", SmallHost()).ok());
}

}  // namespace
}  // namespace berth::emulator
