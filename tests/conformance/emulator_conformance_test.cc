// SPDX-License-Identifier: Apache-2.0
//
// Holds the emulator to the suites, through its client and its socket, as each machine that it can
// play. Every case makes sense on one of them.
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <map>

#include "lib/emulator/emulator_client.h"
#include "lib/emulator/server.h"
#include "tests/conformance/mapped_region_suite.h"

namespace berth::conformance {
namespace {

constexpr int kVintfs = 4;    // one is the host's
constexpr int kDevices = 18;  // more than a VINTF has SID slots
constexpr int kWithBar = 1;   // of them
constexpr char kOther[] = "vfio90";
constexpr const char* kGroup[] = {"vfio80", "vfio81"};
constexpr uint16_t kGroupNumber = 0x180;
constexpr int kShortQueues = 8;  // IDR1.CMDQS: 4 KiB

emulator::DeviceSpec Device(const std::string& name, const std::string& unit, uint16_t number) {
  emulator::DeviceSpec device;
  device.address.routing_id = number;
  device.vendor = 0x10de;
  device.device = 0x2342;
  device.unit = unit;
  device.iommu_group = number;
  device.reset_method = "flr";
  device.vfio_name = name;
  return device;
}

std::string Name(int index) { return "vfio" + std::to_string(index); }

emulator::UnitSpec Unit(const std::string& id, emulator::UnitProfile profile) {
  emulator::UnitSpec unit;
  unit.id = id;
  unit.profile = profile;
  if (profile == emulator::UnitProfile::kTegra241Cmdqv) {
    unit.vintfs = kVintfs;
    unit.vcmdqs = 2 * kVintfs;
  }
  return unit;
}

// The rules about limits and capabilities are the same for all; one machine has each.
bool LimitsMemlock(emulator::UnitProfile profile) {
  return profile == emulator::UnitProfile::kTegra241Cmdqv;
}
bool HasSysResource(emulator::UnitProfile profile) {
  return profile != emulator::UnitProfile::kArmSmmuv3;
}

emulator::HostSpec Host(emulator::UnitProfile profile, uint32_t page_size) {
  emulator::HostSpec host;
  host.page_size = page_size;
  if (profile == emulator::UnitProfile::kSelftest) {
    host.units.push_back(Unit("mock", profile));
    return host;
  }
  host.limits_memlock = LimitsMemlock(profile);
  for (const char* id : {"smmu3.0", "smmu3.1"}) {
    host.units.push_back(Unit(id, profile));
    // Less than a page, so that no two pages need to lie in a row to have a queue that is too long.
    if (page_size == 65536) host.units.back().log2_max_commands = kShortQueues;
  }
  for (int i = 0; i < kDevices; ++i) {
    host.devices.push_back(Device(Name(i), "smmu3.0", static_cast<uint16_t>(0x100 + i)));
  }
  emulator::DeviceSpec& with_bar = host.devices[kWithBar];
  with_bar.model = emulator::DeviceModel::kDmaTest;
  with_bar.msi_vectors = 4;
  with_bar.msix_vectors = 3;
  with_bar.intx = true;
  host.devices.push_back(Device(kOther, "smmu3.1", 0x200));
  for (size_t i = 0; i < std::size(kGroup); ++i) {
    const auto number = static_cast<uint16_t>(kGroupNumber + i);
    host.devices.push_back(Device(kGroup[i], "smmu3.0", number));
    host.devices.back().iommu_group = kGroupNumber;
  }
  return host;
}

Driver DriverOf(emulator::UnitProfile profile) {
  switch (profile) {
    case emulator::UnitProfile::kTegra241Cmdqv:
      return Driver::kTegra241Cmdqv;
    case emulator::UnitProfile::kArmSmmuv3:
      return Driver::kArmSmmuv3;
    case emulator::UnitProfile::kSelftest:
      return Driver::kSelftest;
  }
  return Driver::kSelftest;
}

Machine MachineOf(emulator::UnitProfile profile, uint32_t page_size) {
  Machine machine;
  machine.driver = DriverOf(profile);
  machine.page_size = page_size;
  if (Has(machine, Need::kCdevs)) {
    for (int i = 0; i < kDevices; ++i) machine.devices.push_back(Name(i));
    machine.other_device = kOther;
    machine.group.assign(std::begin(kGroup), std::end(kGroup));
  }
  if (Has(machine, Need::kCmdqv)) machine.vintfs = kVintfs - 1;
  machine.sys_resource = HasSysResource(profile);
  machine.limits_memlock = LimitsMemlock(profile);
  return machine;
}

class EmulatorUnderTest : public KernelUnderTest {
 public:
  explicit EmulatorUnderTest(Machine machine) : machine_(std::move(machine)) {}
  ~EmulatorUnderTest() override {
    client_.reset();
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  static std::unique_ptr<KernelUnderTest> Make(emulator::UnitProfile profile, uint32_t page_size) {
    auto made = std::make_unique<EmulatorUnderTest>(MachineOf(profile, page_size));
    std::string folder = std::filesystem::temp_directory_path() / "berth-conformance-XXXXXX";
    if (::mkdtemp(folder.data()) == nullptr) return nullptr;
    made->folder_ = folder;
    const std::string socket = folder + "/emulator.sock";
    emulator::Server::Options options;
    options.socket_path = socket;
    options.host = Host(profile, page_size);
    absl::StatusOr<std::unique_ptr<emulator::Server>> server =
        emulator::Server::Start(std::move(options));
    EXPECT_TRUE(server.ok()) << server.status();
    if (!server.ok()) return nullptr;
    made->server_ = *std::move(server);
    // Whatever the process that runs the suite has.
    made->client_ =
        std::make_unique<emulator::EmulatorClient>(socket, [suite = made.get()](int capability) {
          if (capability == CAP_SYS_RESOURCE) return suite->machine_.sys_resource;
          return capability != CAP_IPC_LOCK || suite->ipc_lock_.load();
        });
    return made;
  }

  KernelApi& kernel() override { return *client_; }
  [[nodiscard]] const Machine& machine() const override { return machine_; }
  void SetIpcLock(bool has) override { ipc_lock_ = has; }

 private:
  const Machine machine_;
  std::atomic<bool> ipc_lock_ = true;
  std::filesystem::path folder_;
  std::unique_ptr<emulator::Server> server_;
  std::unique_ptr<KernelApi> client_;
};

KernelParam Emulator(const std::string& name, emulator::UnitProfile profile,
                     uint32_t page_size = 4096) {
  return {name, [=] { return EmulatorUnderTest::Make(profile, page_size); }};
}

const auto kEmulators =
    ::testing::Values(Emulator("EmulatedCmdqv", emulator::UnitProfile::kTegra241Cmdqv),
                      Emulator("EmulatedCmdqv64K", emulator::UnitProfile::kTegra241Cmdqv, 65536),
                      Emulator("EmulatedSmmuv3", emulator::UnitProfile::kArmSmmuv3),
                      Emulator("EmulatedSelftest", emulator::UnitProfile::kSelftest));

// Finds cases that ran nowhere, unless only some were asked for.
class NothingIsSkippedEverywhere : public ::testing::Environment {
 public:
  void TearDown() override {
    const ::testing::UnitTest& all = *::testing::UnitTest::GetInstance();
    if (all.test_to_run_count() != all.total_test_count()) return;
    std::map<std::string, bool> ran;
    for (int i = 0; i < all.total_test_suite_count(); ++i) {
      const ::testing::TestSuite& suite = *all.GetTestSuite(i);
      for (int j = 0; j < suite.total_test_count(); ++j) {
        const ::testing::TestInfo& test = *suite.GetTestInfo(j);
        const std::string name = test.name();
        bool& once = ran[name.substr(0, name.find('/'))];
        once = once || !test.result()->Skipped();
      }
    }
    for (const auto& [name, once] : ran) EXPECT_TRUE(once) << name << " is skipped everywhere";
  }
};
[[maybe_unused]] ::testing::Environment* const kNothingIsSkippedEverywhere =
    ::testing::AddGlobalTestEnvironment(new NothingIsSkippedEverywhere);

INSTANTIATE_TEST_SUITE_P(Conformance, KernelApiSuite, kEmulators, ParamName);
INSTANTIATE_TEST_SUITE_P(Conformance, MappedRegionSuite, kEmulators, ParamName);

}  // namespace
}  // namespace berth::conformance
