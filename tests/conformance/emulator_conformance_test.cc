// SPDX-License-Identifier: Apache-2.0
//
// Holds the emulator to the suites, through its client and its socket.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

#include "lib/emulator/emulator_client.h"
#include "lib/emulator/server.h"
#include "tests/conformance/mapped_region_suite.h"

namespace berth::conformance {
namespace {

constexpr int kVintfs = 4;    // one is the host's
constexpr int kDevices = 18;  // more than a VINTF has SID slots
constexpr char kOther[] = "vfio90";

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

emulator::HostSpec Host() {
  emulator::HostSpec host;
  for (const char* id : {"smmu3.0", "smmu3.1"}) {
    emulator::UnitSpec unit;
    unit.id = id;
    unit.vintfs = kVintfs;
    unit.vcmdqs = 2 * kVintfs;
    host.units.push_back(unit);
  }
  for (int i = 0; i < kDevices; ++i) {
    host.devices.push_back(Device(Name(i), "smmu3.0", static_cast<uint16_t>(0x100 + i)));
  }
  host.devices.push_back(Device(kOther, "smmu3.1", 0x200));
  return host;
}

class EmulatorUnderTest : public KernelUnderTest {
 public:
  static std::unique_ptr<KernelUnderTest> Make() {
    auto made = std::make_unique<EmulatorUnderTest>();
    std::string folder = std::filesystem::temp_directory_path() / "berth-conformance-XXXXXX";
    if (::mkdtemp(folder.data()) == nullptr) return nullptr;
    made->folder_ = folder;
    const std::string socket = folder + "/emulator.sock";
    emulator::Server::Options options;
    options.socket_path = socket;
    options.host = Host();
    absl::StatusOr<std::unique_ptr<emulator::Server>> server =
        emulator::Server::Start(std::move(options));
    EXPECT_TRUE(server.ok()) << server.status();
    if (!server.ok()) return nullptr;
    made->server_ = *std::move(server);
    made->client_ = std::make_unique<emulator::EmulatorClient>(socket);
    return made;
  }
  ~EmulatorUnderTest() override {
    client_.reset();
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  KernelApi& kernel() override { return *client_; }
  [[nodiscard]] std::vector<std::string> devices() const override {
    std::vector<std::string> names;
    for (int i = 0; i < kDevices; ++i) names.push_back(Name(i));
    return names;
  }
  [[nodiscard]] std::optional<std::string> other_device() const override { return kOther; }
  [[nodiscard]] int vintfs() const override { return kVintfs - 1; }

 private:
  std::filesystem::path folder_;
  std::unique_ptr<emulator::Server> server_;
  std::unique_ptr<KernelApi> client_;
};

const auto kEmulator = ::testing::Values(KernelParam{"Emulator", &EmulatorUnderTest::Make});

INSTANTIATE_TEST_SUITE_P(Conformance, KernelApiSuite, kEmulator, ParamName);
INSTANTIATE_TEST_SUITE_P(Conformance, MappedRegionSuite, kEmulator, ParamName);

}  // namespace
}  // namespace berth::conformance
