// SPDX-License-Identifier: Apache-2.0
#include "agent/inventory/pci_sysfs.h"

#include <gmock/gmock.h>

#include <cerrno>

#include "lib/base/status.h"
#include "lib/emulator/host_tree.h"
#include "tests/agent/inventory/sysfs_tree.h"
#include "tests/emulator/emulator_fixture.h"

namespace berth {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::SysfsTree;

constexpr char kAddress[] = "0000:01:00.0";

std::vector<PciFunction> Read(const std::string& root) {
  auto functions = ReadPciFunctions(root);
  EXPECT_TRUE(functions.ok()) << functions.status();
  return functions.ok() ? *functions : std::vector<PciFunction>();
}

// The only function of a tree.
PciFunction ReadOne(const SysfsTree& tree) {
  const std::vector<PciFunction> functions = Read(tree.root());
  EXPECT_EQ(functions.size(), 1U);
  return functions.empty() ? PciFunction() : functions[0];
}

// Config space with dwords at some places.
std::string Config(std::initializer_list<std::pair<size_t, uint32_t>> dwords) {
  std::string config(4096, '\0');
  for (const auto& [at, value] : dwords) {
    for (size_t i = 0; i < 4; ++i) config[at + i] = static_cast<char>(value >> (8 * i));
  }
  return config;
}

TEST(PciSysfs, ReadsWhatAnEmulatedHostShows) {
  const emulator::TempDir dir;
  emulator::HostSpec host = emulator::SmallHost();
  host.devices.resize(4);
  host.devices[0].serial = 0xa1b2c3d4e5f60708;
  host.devices[0].numa_node = 1;
  host.devices[1].reset_method = "";
  const std::string root = dir.path() + "/sys";
  ASSERT_TRUE(emulator::WriteHostTree(root, host).ok());

  const std::vector<PciFunction> functions = Read(root);
  ASSERT_EQ(functions.size(), 4U);
  const PciFunction& first = functions[0];
  EXPECT_EQ(first.address, kAddress);
  EXPECT_EQ(first.vendor_id, 0x10deU);
  EXPECT_EQ(first.device_id, 0x2342U);
  EXPECT_EQ(first.pci_class, 0x030200U);
  EXPECT_EQ(first.serial, "a1b2c3d4e5f60708");
  EXPECT_EQ(first.numa_node, 1);
  EXPECT_EQ(first.iommu_group, 0);
  EXPECT_EQ(first.unit, "smmu3.0");
  EXPECT_EQ(first.driver, "vfio-pci");
  EXPECT_EQ(first.cdev, "vfio0");
  EXPECT_TRUE(first.resettable);
  EXPECT_THAT(first.reset_methods, ElementsAre("flr"));
  EXPECT_TRUE(first.is_endpoint);
  EXPECT_EQ(functions[1].address, "0000:01:00.1") << "sorted by address";
  EXPECT_EQ(functions[1].serial, "");
  EXPECT_EQ(functions[1].numa_node, -1);
  EXPECT_FALSE(functions[1].resettable) << "the kernel shows no reset_method";
  EXPECT_EQ(functions[3].unit, "smmu3.1");
}

TEST(PciSysfs, AFunctionWithHardlyAnyFilesIsStillShown) {
  const SysfsTree tree;
  tree.Write(tree.Device(kAddress) + "/vendor", "0x8086\n");
  const PciFunction function = ReadOne(tree);
  EXPECT_EQ(function.vendor_id, 0x8086U);
  EXPECT_EQ(function.device_id, 0U);
  EXPECT_EQ(function.serial, "");
  EXPECT_EQ(function.numa_node, -1);
  EXPECT_EQ(function.iommu_group, -1);
  EXPECT_EQ(function.unit, "");
  EXPECT_EQ(function.driver, "");
  EXPECT_EQ(function.cdev, "");
  EXPECT_FALSE(function.resettable);
}

TEST(PciSysfs, ReadsReservedIovasAndResetMethods) {
  const SysfsTree tree;
  tree.AddVfio(kAddress, 3, "smmu3.0", "vfio0");
  const std::string file = tree.root() + "/kernel/iommu_groups/3/reserved_regions";
  // The link of the group is relative to where the function really is.
  tree.Link(tree.Device(kAddress) + "/iommu_group", tree.root() + "/kernel/iommu_groups/3");
  tree.Write(file,
             "0x0000000008000000 0x00000000080fffff msi\n"
             "nonsense\n"
             "0xfffff00000000000 0xffffffffffffffff reserved\n");
  const std::vector<ReservedIovas> reserved = ReadOne(tree).reserved_iovas;
  ASSERT_EQ(reserved.size(), 2U);
  EXPECT_EQ(reserved[0].first, 0x8000000U);
  EXPECT_EQ(reserved[0].last, 0x80fffffU);
  EXPECT_EQ(reserved[0].kind, "msi");
  EXPECT_EQ(reserved[1].last, UINT64_MAX);
  tree.Write(tree.Device(kAddress) + "/reset_method", "device_specific flr bus\n");
  EXPECT_THAT(ReadOne(tree).reset_methods, ElementsAre("device_specific", "flr", "bus"));
}

TEST(PciSysfs, AFunctionThatIsGoneOrSpeaksNonsenseIsLeftOut) {
  const SysfsTree tree;
  fs::create_directories(tree.Device("0000:01:00.0"));
  tree.Write(tree.Device("0000:01:00.1") + "/vendor", "0xffff\n");
  tree.Write(tree.Device("0000:01:00.2") + "/vendor", "no number\n");
  fs::create_directories(tree.Device("0000:01:00.3") + "/vendor");
  tree.Link(tree.Device("0000:01:00.4"), "../../../devices/unplugged");
  EXPECT_THAT(Read(tree.root()), IsEmpty());
}

TEST(PciSysfs, LinksNeedNotLeadAnywhere) {
  const SysfsTree tree;
  tree.AddVfio(kAddress, 7, "smmu3.0", "vfio0");
  tree.Link(tree.Device(kAddress) + "/iommu_group", "../nowhere/at-all");
  const PciFunction function = ReadOne(tree);
  EXPECT_EQ(function.iommu_group, -1) << "the group's name is a number";
  EXPECT_EQ(function.unit, "smmu3.0") << "the name of the target is all that is asked for";
  EXPECT_EQ(function.driver, "vfio-pci");
}

TEST(PciSysfs, BridgesAreNoEndpoints) {
  const SysfsTree tree;
  tree.AddVfio(kAddress, 7, "smmu3.0", "vfio0");
  tree.Write(tree.Device(kAddress) + "/class", "0x060400\n");
  EXPECT_FALSE(ReadOne(tree).is_endpoint);
}

TEST(PciSysfs, AnEmptyResetMethodMeansNone) {
  const SysfsTree tree;
  tree.AddVfio(kAddress, 7, "smmu3.0", "vfio0");
  EXPECT_TRUE(ReadOne(tree).resettable);
  tree.Write(tree.Device(kAddress) + "/reset_method", "\n");
  EXPECT_FALSE(ReadOne(tree).resettable);
}

TEST(PciSysfs, TheSerialIsFoundBehindOtherCapabilities) {
  const SysfsTree tree;
  tree.AddVfio(kAddress, 7, "smmu3.0", "vfio0");
  tree.Write(
      tree.Device(kAddress) + "/config",
      Config({{0x100, 0x14820001}, {0x148, 0x00010003}, {0x14c, 0xe5f60708}, {0x150, 0xa1b2c3d4}}));
  EXPECT_EQ(ReadOne(tree).serial, "a1b2c3d4e5f60708");
}

TEST(PciSysfs, BrokenCapabilityListsEndWithoutASerial) {
  const SysfsTree tree;
  tree.AddVfio(kAddress, 7, "smmu3.0", "vfio0");
  const std::string config = tree.Device(kAddress) + "/config";
  tree.Write(config, Config({{0x100, 0x20010001}, {0x200, 0x10010002}}));
  EXPECT_EQ(ReadOne(tree).serial, "") << "two capabilities that name each other";
  tree.Write(config, std::string(4096, '\xff'));
  EXPECT_EQ(ReadOne(tree).serial, "") << "what a function that is gone reads";
  tree.Write(config, Config({{0x100, 0x04010001}, {0x40, 0x00010003}}));
  EXPECT_EQ(ReadOne(tree).serial, "") << "a list that leads out of extended space";
  tree.Write(config, std::string(64, '\x5a'));
  EXPECT_EQ(ReadOne(tree).serial, "") << "what an unprivileged reader sees";
}

TEST(PciSysfs, AHostWithoutPciIsAnError) {
  const emulator::TempDir dir;
  const absl::Status status = ReadPciFunctions(dir.path()).status();
  EXPECT_EQ(ErrnoOf(status), ENOENT);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("bus/pci/devices"));
}

TEST(PciSysfs, MoreFunctionsThanTheBoundAreRefused) {
  const SysfsTree tree;
  // As in the real sysfs, the entries are links.
  tree.Write(tree.root() + "/devices/one/vendor", "0x10de\n");
  const auto add = [&tree](size_t i) {
    fs::create_symlink(tree.root() + "/devices/one", tree.Device(std::to_string(i)));
  };
  for (size_t i = 0; i < kMaxFunctions; ++i) add(i);
  EXPECT_EQ(Read(tree.root()).size(), kMaxFunctions);
  add(kMaxFunctions);
  EXPECT_EQ(ReasonOf(ReadPciFunctions(tree.root()).status()), Reason::kTooLarge);
}

TEST(PciSysfs, HugePagesAreSortedBySize) {
  const SysfsTree tree;
  EXPECT_THAT(ReadHugePages(tree.root()), IsEmpty()) << "a kernel without any";
  const std::string folder = tree.root() + "/kernel/mm/hugepages";
  tree.Write(folder + "/hugepages-1048576kB/nr_hugepages", "2\n");
  tree.Write(folder + "/hugepages-2048kB/nr_hugepages", "512\n");
  tree.Write(folder + "/hugepages-2048kB/free_hugepages", "500\n");
  tree.Write(folder + "/something/nr_hugepages", "1\n");
  tree.Write(folder + "/odd-", "1\n");
  const std::vector<HugePageCount> counts = ReadHugePages(tree.root());
  ASSERT_EQ(counts.size(), 2U);
  EXPECT_EQ(counts[0].page_size, 2 << 20);
  EXPECT_EQ(counts[0].total, 512);
  EXPECT_EQ(counts[0].free, 500);
  EXPECT_EQ(counts[1].page_size, 1 << 30);
  EXPECT_EQ(counts[1].total, 2);
  EXPECT_EQ(counts[1].free, 0) << "no such file";
}

TEST(MakeDeviceId, NamesPlaceKindAndSerial) {
  PciFunction function;
  function.address = kAddress;
  function.vendor_id = 0x10de;
  function.device_id = 0x42;
  EXPECT_EQ(MakeDeviceId(function), "0000-01-00-0-10de-0042-0");
  function.serial = "a1b2c3d4e5f60708";
  EXPECT_EQ(MakeDeviceId(function), "0000-01-00-0-10de-0042-a1b2c3d4e5f60708");
}

TEST(MakeDeviceId, IsTheSameAfterABootAndAnotherForAnotherCard) {
  PciFunction card;
  card.address = kAddress;
  card.vendor_id = 0x10de;
  card.device_id = 0x2342;
  card.serial = "a1b2c3d4e5f60708";
  PciFunction rebooted = card;
  rebooted.iommu_group = 9;
  rebooted.cdev = "vfio7";
  rebooted.driver = "";
  EXPECT_EQ(MakeDeviceId(rebooted), MakeDeviceId(card));
  PciFunction swapped = card;
  swapped.serial = "a1b2c3d4e5f60709";
  EXPECT_NE(MakeDeviceId(swapped), MakeDeviceId(card));
  PciFunction other_kind = card;
  other_kind.device_id = 0x2343;
  EXPECT_NE(MakeDeviceId(other_kind), MakeDeviceId(card));
  PciFunction elsewhere = card;
  elsewhere.address = "0000:02:00.0";
  EXPECT_NE(MakeDeviceId(elsewhere), MakeDeviceId(card));
}

TEST(DefaultClass, FollowsThePciClassCode) {
  const std::pair<uint32_t, const char*> cases[] = {
      {0x030200, "gpu"},                              // 3D controller
      {0x030000, "gpu"},                              // VGA
      {0x020000, "nic"},                              // Ethernet
      {0x020700, "nic"},                              // InfiniBand
      {0x120000, "accelerator"}, {0x010802, "nvme"},  // NVM Express
      {0x010601, "other"},                            // AHCI
      {0x040300, "other"},                            // audio
      {0x000000, "other"},       {0xff0000, "other"},
  };
  for (const auto& [pci_class, name] : cases) {
    EXPECT_EQ(DefaultClass(pci_class), name) << std::hex << pci_class;
  }
}

}  // namespace
}  // namespace berth
