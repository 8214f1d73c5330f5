// SPDX-License-Identifier: Apache-2.0
#include "lib/emulator/host_tree.h"

#include <algorithm>
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

// Every path in the folder, with what the files have in them and where the links lead.
std::vector<std::string> Everything(const fs::path& root) {
  std::vector<std::string> all;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    std::string line = entry.path().lexically_relative(root);
    if (entry.path().filename().native().starts_with('.')) continue;  // no part of the tree
    if (entry.is_symlink()) line += " -> " + fs::read_symlink(entry.path()).native();
    if (!entry.is_symlink() && entry.is_regular_file()) line += ": " + Read(entry.path());
    all.push_back(line);
  }
  std::ranges::sort(all);
  return all;
}

TEST(HostTree, ADeviceThatIsPulledOutVanishesAndComesBack) {
  const TempDir dir;
  const std::string root = dir.path() + "/sys";
  const HostSpec host = SmallHost();
  ASSERT_TRUE(WriteHostTree(root, host).ok());
  const std::vector<std::string> whole = Everything(root);
  HostTree tree(root, host);
  std::string gone = "0000:01:00.0";
  const auto is_gone = [&gone](const std::string& address) { return address == gone; };
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(tree.Update(is_gone).ok());
    for (const std::string& line : Everything(root)) {
      EXPECT_EQ(line.find(gone), std::string::npos) << line;
    }
    EXPECT_TRUE(fs::exists(root + "/bus/pci/devices/0000:01:00.1/vendor"));
  }
  gone = "0000:01:00.1";
  ASSERT_TRUE(tree.Update(is_gone).ok());
  EXPECT_TRUE(fs::exists(root + "/class/iommu/smmu3.0/devices/0000:01:00.0/vendor"));
  EXPECT_FALSE(fs::exists(root + "/bus/pci/devices/0000:01:00.1"));
  gone.clear();
  ASSERT_TRUE(tree.Update(is_gone).ok());
  EXPECT_EQ(Everything(root), whole);
}

TEST(HostTree, SaysThatADeviceCouldNotVanish) {
  const TempDir dir;
  HostTree tree(dir.path() + "/nowhere", SmallHost());
  EXPECT_FALSE(tree.Update([](const std::string&) { return true; }).ok());
}

TEST(HostTree, SaysWhatItCouldNotWrite) {
  const TempDir dir;
  std::ofstream(dir.path() + "/file") << "x";
  EXPECT_FALSE(WriteHostTree(dir.path() + "/file/sys", SmallHost()).ok());
}

}  // namespace
}  // namespace berth::emulator
