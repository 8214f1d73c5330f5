// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_EMULATOR_EMULATOR_FIXTURE_H_
#define BERTH_TESTS_EMULATOR_EMULATOR_FIXTURE_H_

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "lib/base/mapping.h"
#include "lib/emulator/emulator_client.h"
#include "lib/emulator/server.h"
#include "lib/iommufd/uapi/smmuv3.h"
#include "lib/iommufd/uapi/vfio.h"

namespace berth::emulator {

inline constexpr uint64_t kQueueIova = 0x100000;

// A small host: two units with three free VINTFs each; behind the first the devices vfio0..vfio2,
// each in an IOMMU group of its own, and vfio3 and vfio4, which share one; behind the second
// vfio10.
inline HostSpec SmallHost() {
  HostSpec host;
  for (const char* id : {"smmu3.0", "smmu3.1"}) {
    UnitSpec unit;
    unit.id = id;
    unit.vintfs = 4;
    unit.vcmdqs = 8;
    host.units.push_back(unit);
  }
  const auto add = [&host](int number, const std::string& unit) {
    DeviceSpec device;
    device.address.routing_id = static_cast<uint16_t>(0x100 + number);
    device.vendor = 0x10de;
    device.device = 0x2342;
    device.class_code = 0x030200;
    device.unit = unit;
    device.iommu_group = static_cast<uint32_t>(number);
    device.reset_method = "flr";
    device.vfio_name = "vfio" + std::to_string(number);
    host.devices.push_back(device);
  };
  for (int i = 0; i < 3; ++i) add(i, "smmu3.0");
  add(10, "smmu3.1");
  for (int i = 3; i < 5; ++i) add(i, "smmu3.0");
  host.devices.back().iommu_group = 3;
  return host;
}

// A fresh folder that is removed at the end.
class TempDir {
 public:
  TempDir() {
    path_ = std::filesystem::temp_directory_path() / "berth-emulator-XXXXXX";
    EXPECT_NE(::mkdtemp(path_.data()), nullptr);
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// A context with a bound device, an IOAS, a nesting parent and a vIOMMU with a VINTF.
struct Guest {
  UniqueFd context;
  UniqueFd cdev;
  uint32_t device = 0;
  uint32_t ioas = 0;
  uint32_t parent = 0;
  uint32_t viommu = 0;
  uint64_t page0_offset = 0;
  uint64_t page0_length = 0;
};

class EmulatorTest : public ::testing::Test {
 protected:
  void SetUp() override { StartServer(); }

  void StartServer(const std::function<void(Server::Options&)>& change = nullptr) {
    Server::Options options;
    options.socket_path = socket_path();
    options.host = SmallHost();
    if (change) change(options);
    auto server = Server::Start(std::move(options));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  [[nodiscard]] std::string socket_path() const { return dir_.path() + "/emulator.sock"; }
  EmulatorClient& client() { return client_; }
  Server& server() { return *server_; }
  void StopServer() { server_.reset(); }

  // Sizes the struct and calls.
  template <typename T>
  int Call(int fd, uapi::Request request, T* argument) {
    const uint32_t size = sizeof(T);
    std::memcpy(argument, &size, sizeof(size));
    return client_.Ioctl(fd, request, argument);
  }
  template <typename T>
  int Call(const UniqueFd& fd, uapi::Request request, T* argument) {
    return Call(fd.get(), request, argument);
  }

  UniqueFd OpenContext() {
    auto fd = client_.OpenContext();
    EXPECT_TRUE(fd.ok()) << fd.status();
    return fd.ok() ? *std::move(fd) : UniqueFd();
  }
  UniqueFd OpenDevice(const std::string& name) {
    auto fd = client_.OpenDevice(name);
    EXPECT_TRUE(fd.ok()) << fd.status();
    return fd.ok() ? *std::move(fd) : UniqueFd();
  }

  int Destroy(const UniqueFd& context, uint32_t id) {
    uapi::IommuDestroy cmd = {};
    cmd.id = id;
    return Call(context, uapi::kIommuDestroy, &cmd);
  }
  uint32_t AllocIoas(const UniqueFd& context) {
    uapi::IommuIoasAlloc cmd = {};
    EXPECT_EQ(Call(context, uapi::kIommuIoasAlloc, &cmd), 0);
    return cmd.out_ioas_id;
  }
  int Bind(const UniqueFd& cdev, int context, uint32_t* id = nullptr) {
    uapi::VfioDeviceBindIommufd cmd = {};
    cmd.iommufd = context;
    const int rc = Call(cdev, uapi::kVfioDeviceBindIommufd, &cmd);
    if (id != nullptr) *id = cmd.out_devid;
    return rc;
  }
  int AllocViommu(Guest* guest) {
    uapi::IommuViommuTegra241Cmdqv data = {};
    uapi::IommuViommuAlloc cmd = {};
    cmd.type = uapi::kViommuTypeTegra241Cmdqv;
    cmd.dev_id = guest->device;
    cmd.hwpt_id = guest->parent;
    cmd.data_len = sizeof(data);
    cmd.data_uptr = reinterpret_cast<uint64_t>(&data);
    const int rc = Call(guest->context, uapi::kIommuViommuAlloc, &cmd);
    guest->viommu = cmd.out_viommu_id;
    guest->page0_offset = data.out_vintf_mmap_offset;
    guest->page0_length = data.out_vintf_mmap_length;
    return rc;
  }
  Guest MakeGuest(const std::string& name) {
    Guest guest;
    guest.context = OpenContext();
    guest.cdev = OpenDevice(name);
    EXPECT_EQ(Bind(guest.cdev, guest.context.get(), &guest.device), 0);
    guest.ioas = AllocIoas(guest.context);
    uapi::IommuHwptAlloc hwpt = {};
    hwpt.flags = uapi::kHwptAllocNestParent;
    hwpt.dev_id = guest.device;
    hwpt.pt_id = guest.ioas;
    EXPECT_EQ(Call(guest.context, uapi::kIommuHwptAlloc, &hwpt), 0);
    guest.parent = hwpt.out_hwpt_id;
    EXPECT_EQ(AllocViommu(&guest), 0);
    return guest;
  }
  Mapping MapPage0(const Guest& guest) {
    auto region = client_.RegionForVmm(guest.context.get(), guest.page0_offset, guest.page0_length);
    EXPECT_TRUE(region.ok()) << region.status();
    if (!region.ok()) return {};
    auto mapping =
        Mapping::Map(region->fd.get(), region->offset, region->length, Mapping::Access::kReadWrite);
    EXPECT_TRUE(mapping.ok()) << mapping.status();
    return mapping.ok() ? *std::move(mapping) : Mapping();
  }
  uint32_t AllocVeventq(const Guest& guest, uint32_t type, uint32_t depth, UniqueFd* fd) {
    uapi::IommuVeventqAlloc cmd = {};
    cmd.viommu_id = guest.viommu;
    cmd.type = type;
    cmd.veventq_depth = depth;
    EXPECT_EQ(Call(guest.context, uapi::kIommuVeventqAlloc, &cmd), 0);
    fd->Reset(cmd.out_veventq_fd);
    return cmd.out_veventq_id;
  }
  // The guest's device as vSID `vsid`, attached to a stream table entry that aborts.
  void AttachToAbort(const Guest& guest, uint64_t vsid) {
    uapi::IommuVdeviceAlloc vdevice = {};
    vdevice.viommu_id = guest.viommu;
    vdevice.dev_id = guest.device;
    vdevice.virt_id = vsid;
    ASSERT_EQ(Call(guest.context, uapi::kIommuVdeviceAlloc, &vdevice), 0);
    uapi::IommuHwptAlloc hwpt = {};
    hwpt.dev_id = guest.device;
    hwpt.pt_id = guest.viommu;
    hwpt.data_type = uapi::kHwptDataArmSmmuv3;
    hwpt.data_len = sizeof(uapi::kSteAbort);
    hwpt.data_uptr = reinterpret_cast<uint64_t>(uapi::kSteAbort);
    ASSERT_EQ(Call(guest.context, uapi::kIommuHwptAlloc, &hwpt), 0);
    uapi::VfioDeviceAttachIommufdPt attach = {};
    attach.pt_id = hwpt.out_hwpt_id;
    ASSERT_EQ(Call(guest.cdev, uapi::kVfioDeviceAttachIommufdPt, &attach), 0);
  }
  // VINTFs in use on the first unit.
  size_t UsedVintfs() { return server_->kernel().TakeSnapshot().units[0].allocated.size(); }

  static bool IsReadable(const UniqueFd& fd) {
    pollfd poll_fd = {fd.get(), POLLIN, 0};
    return ::poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLIN) != 0;
  }
  static bool IsHungUp(const UniqueFd& fd) {
    pollfd poll_fd = {fd.get(), 0, 0};
    return ::poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLHUP) != 0;
  }

 private:
  TempDir dir_;
  std::unique_ptr<Server> server_;
  EmulatorClient client_{socket_path()};
};

// A memfd of `size` bytes that cannot shrink, unless `seals` says otherwise.
inline UniqueFd GuestMemory(size_t size, int seals = F_SEAL_SHRINK) {
  UniqueFd memfd(::memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(::ftruncate(memfd.get(), static_cast<off_t>(size)), 0);
  EXPECT_EQ(::fcntl(memfd.get(), F_ADD_SEALS, seals), 0);
  return memfd;
}

}  // namespace berth::emulator

#endif  // BERTH_TESTS_EMULATOR_EMULATOR_FIXTURE_H_
