// SPDX-License-Identifier: Apache-2.0
#include "tests/agent/grants/emulated_host.h"

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <openssl/sha.h>
#include <stdlib.h>

#include <array>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "lib/emulator/argument.h"

namespace berth::testing {
namespace {

constexpr int kGpus = 6;

emulator::DeviceSpec Spec(const std::string& cdev, const std::string& unit, uint16_t number) {
  emulator::DeviceSpec device;
  device.address.routing_id = number;
  device.vendor = 0x10de;
  device.device = 0x2342;
  device.class_code = 0x030200;
  device.unit = unit;
  device.iommu_group = number;
  device.vfio_name = cdev;
  return device;
}

}  // namespace

EmulatedHost::EmulatedHost() {
  emulator::UnitSpec unit;
  unit.id = "smmu0";
  unit.vintfs = kVintfs + 1;
  unit.vcmdqs = 2 * (kVintfs + 1);
  unit.sid_slots = 4;
  spec_.units.push_back(unit);
  unit.id = "smmu1";
  unit.profile = emulator::UnitProfile::kArmSmmuv3;
  spec_.units.push_back(unit);
  for (int i = 0; i <= kGpus; ++i) {
    const bool nic = i == kGpus;
    const std::string cdev = "vfio" + std::to_string(i);
    emulator::DeviceSpec device =
        Spec(cdev, nic ? "smmu1" : "smmu0", static_cast<uint16_t>(0x100 + i * 8));
    const bool resettable = i != kGpus - 1;
    if (resettable) device.reset_method = "flr";
    spec_.devices.push_back(device);
    lookup_.Add({.id = DeviceId(nic ? "nic0" : "gpu" + std::to_string(i)),
                 .cdev = cdev,
                 .address = device.address.ToString(),
                 .unit = UnitId(device.unit),
                 .vendor_id = device.vendor,
                 .device_id = device.device,
                 .pci_class = device.class_code,
                 .resettable = resettable});
  }
  folder_ = std::filesystem::temp_directory_path() / "berth-grants-XXXXXX";
  EXPECT_NE(::mkdtemp(folder_.data()), nullptr);
  const auto capable = [this](int capability) {
    return capability == CAP_SYS_RESOURCE ? privileged_.load()
                                          : emulator::HasCapability(capability);
  };
  client_ = std::make_unique<emulator::EmulatorClient>(folder_ + "/emulator.sock", capable);
  StartKernel();
}

EmulatedHost::~EmulatedHost() {
  client_.reset();
  server_.reset();
  std::filesystem::remove_all(folder_);
}

void EmulatedHost::StartKernel() {
  emulator::Server::Options options;
  options.socket_path = folder_ + "/emulator.sock";
  options.host = spec_;
  absl::StatusOr<std::unique_ptr<emulator::Server>> server =
      emulator::Server::Start(std::move(options));
  ASSERT_TRUE(server.ok()) << server.status();
  server_ = *std::move(server);
}

emulator::Snapshot EmulatedHost::Snapshot() {
  // Before it serves a call the emulator sees to the closes that came before.
  EXPECT_FALSE(client_->OpenDevice("none").ok());
  return server_->kernel().TakeSnapshot();
}

std::string EmulatedHost::Leftovers() {
  const emulator::Snapshot snapshot = Snapshot();
  std::string text;
  const auto add = [&](const std::string& what, int count) {
    if (count != 0) absl::StrAppend(&text, count, " ", what, "; ");
  };
  add("contexts", snapshot.contexts);
  add("pinned contexts", snapshot.pinned_contexts);
  add("open cdevs", snapshot.open_cdevs);
  add("bound devices", snapshot.bound_devices);
  for (const auto& [type, count] : snapshot.objects) add(type, count);
  for (const auto& unit : snapshot.units) {
    add("VINTFs of " + unit.id, static_cast<int>(unit.allocated.size()));
  }
  return text;
}

std::optional<GrantDevice> EmulatedHost::Lookup::FindDevice(const DeviceId& id) const {
  absl::MutexLock lock(&mu_);
  const auto it = devices_.find(id);
  return it == devices_.end() || !hidden_.ok() ? std::nullopt : std::optional(it->second);
}

std::optional<GrantUnit> EmulatedHost::Lookup::FindUnit(const UnitId& id) const {
  if (!CheckKnown(id).ok()) return std::nullopt;
  if (id.str() == "smmu0") {
    absl::MutexLock lock(&mu_);
    return GrantUnit{.id = id,
                     .profile = v1::Unit::TEGRA241_CMDQV,
                     .vcmdqs_per_vintf = 2,
                     .sids_per_vintf = 4,
                     .max_queue_log2 = 17,
                     .vintfs = vintfs_ - lost_vintfs_,
                     .lost_vintfs = lost_vintfs_};
  }
  if (id.str() == "smmu1") return GrantUnit{.id = id, .profile = v1::Unit::ARM_SMMUV3};
  if (id.str() == "vtd0") return GrantUnit{.id = id, .profile = v1::Unit::VTD};
  return std::nullopt;
}

absl::Status EmulatedHost::Lookup::CheckKnown(const UnitId&) const {
  absl::MutexLock lock(&mu_);
  return hidden_;
}

void EmulatedHost::Lookup::AssumeVintfs(int vintfs) {
  absl::MutexLock lock(&mu_);
  vintfs_ = vintfs;
}

void EmulatedHost::Lookup::LoseVintfs(int more) {
  absl::MutexLock lock(&mu_);
  lost_vintfs_ += more;
}

void EmulatedHost::Lookup::Hide(const absl::Status& why) {
  absl::MutexLock lock(&mu_);
  hidden_ = why;
}

void EmulatedHost::Lookup::Unplug(const std::string& device) {
  absl::MutexLock lock(&mu_);
  devices_.erase(DeviceId(device));
}

void EmulatedHost::Lookup::Add(const GrantDevice& device) {
  absl::MutexLock lock(&mu_);
  devices_[device.id] = device;
}

agent::v1::DesiredGrant Desired(const std::string& uid, const std::vector<std::string>& devices) {
  agent::v1::DesiredGrant grant;
  grant.set_assignment_uid(uid);
  grant.set_assignment("assignments/" + uid);
  grant.set_generation(1);
  grant.set_intent(v1::Assignment::PLACED);
  std::array<unsigned char, SHA256_DIGEST_LENGTH> hash = {};
  SHA256(reinterpret_cast<const unsigned char*>(kToken), sizeof(kToken) - 1, hash.data());
  grant.set_token_hash(hash.data(), hash.size());
  AddUnit("smmu0", 2, devices, &grant);
  return grant;
}

void AddUnit(const std::string& unit, int vcmdqs, const std::vector<std::string>& devices,
             agent::v1::DesiredGrant* grant) {
  v1::UnitPlacement* placement = grant->add_units();
  placement->set_unit(unit);
  placement->set_vcmdqs(vcmdqs);
  for (const std::string& device : devices) placement->add_devices()->set_device(device);
}

size_t OpenFds() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    ++count;
  }
  return count;
}

}  // namespace berth::testing
