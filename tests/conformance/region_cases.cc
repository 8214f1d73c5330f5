// SPDX-License-Identifier: Apache-2.0
//
// Devices behind their cdev: what they are, their regions, their reset. Linux
// drivers/vfio/vfio_main.c, drivers/vfio/pci/vfio_pci_core.c, vfio_pci_config.c and
// vfio_pci_rdwr.c.
#include <cerrno>
#include <optional>

#include "tests/conformance/kernel_api_suite.h"

namespace berth::conformance {
namespace {

constexpr uint64_t kCommandRegister = 4;
constexpr uint16_t kMemory = 2;
constexpr uint16_t kBusMaster = 4;
constexpr uint64_t kBarRegisters = 0x10;

// A bound device, by its regions.
class Regions {
 public:
  Regions(KernelApi* kernel, UniqueFd cdev) : kernel_(kernel), cdev_(std::move(cdev)) {
    config_ = Info(uapi::kVfioPciConfigRegion).offset;
  }

  uapi::VfioRegionInfo Info(uint32_t index) {
    auto arg = Sized<uapi::VfioRegionInfo>();
    arg.index = index;
    EXPECT_EQ(kernel_->Ioctl(cdev_.get(), uapi::kVfioDeviceGetRegionInfo, &arg), 0) << index;
    return arg;
  }
  int64_t Read(uint64_t offset, size_t size) {
    std::vector<char> bytes(size + 1);
    return kernel_->ReadRegion(cdev_.get(), bytes.data(), size, offset);
  }
  int64_t Write(uint64_t offset, size_t size) {
    const std::vector<char> zeroes(size + 1);
    return kernel_->WriteRegion(cdev_.get(), zeroes.data(), size, offset);
  }
  uint32_t Config(uint64_t at) {
    uint32_t value = 0;
    EXPECT_EQ(kernel_->ReadRegion(cdev_.get(), &value, sizeof(value), config_ + at), 4);
    return value;
  }
  uint16_t Command() { return static_cast<uint16_t>(Config(kCommandRegister)); }
  void SetCommand(uint16_t command) {
    EXPECT_EQ(
        kernel_->WriteRegion(cdev_.get(), &command, sizeof(command), config_ + kCommandRegister),
        2);
  }
  // The first BAR in memory space.
  std::optional<uapi::VfioRegionInfo> MemoryBar() {
    for (uint32_t index = uapi::kVfioPciBar0Region; index <= uapi::kVfioPciBar5Region; ++index) {
      const uapi::VfioRegionInfo info = Info(index);
      const bool in_io_space = (Config(kBarRegisters + 4 * index) & 1) != 0;
      if (info.size != 0 && !in_io_space) return info;
    }
    return std::nullopt;
  }
  [[nodiscard]] const UniqueFd& cdev() const { return cdev_; }

 private:
  KernelApi* kernel_;
  UniqueFd cdev_;
  uint64_t config_ = 0;
};

// A struct with room for the capabilities that the kernel may put behind it.
template <typename Struct>
struct Roomy {
  Struct arg;
  unsigned char room[1024];
};

constexpr char kNeedsBar[] = "needs a device with a memory BAR";

}  // namespace

// vfio_pci_core.c, vfio_pci_ioctl_get_info(): no more than the caller has room for.
TEST_P(KernelApiSuite, DeviceInfoIsOfThePci) {
  BERTH_NEEDS(Need::kCdevs);
  const UniqueFd context = NewContext();
  const Device device = AddDevice(context, 0);
  EXPECT_EQ(kernel().Ioctl(device.cdev.get(), uapi::kVfioDeviceGetInfo, nullptr), -EFAULT);
  auto arg = Sized<uapi::VfioDeviceInfo>();
  EXPECT_EQ(CallReadOnly(device.cdev, uapi::kVfioDeviceGetInfo, arg), -EFAULT);
  constexpr uint32_t kLeast = offsetof(uapi::VfioDeviceInfo, cap_offset);
  arg.argsz = kLeast - 1;
  EXPECT_EQ(Call(device.cdev, uapi::kVfioDeviceGetInfo, arg), -EINVAL);
  arg.argsz = kLeast;
  arg.cap_offset = 77;
  ASSERT_EQ(Call(device.cdev, uapi::kVfioDeviceGetInfo, arg), 0);
  EXPECT_NE(arg.flags & uapi::kVfioDeviceFlagsPci, 0U);
  EXPECT_GE(arg.num_regions, uapi::kVfioPciNumRegions);
  EXPECT_EQ(arg.num_irqs, uapi::kVfioPciNumIrqs);
  EXPECT_EQ(arg.cap_offset, 77U) << "beyond argsz";
  Roomy<uapi::VfioDeviceInfo> longer = {};
  longer.arg.argsz = sizeof(longer);
  EXPECT_EQ(Call(device.cdev, uapi::kVfioDeviceGetInfo, longer), 0);
}

// vfio_main.c, vfio_get_region_info(); vfio_pci_core.c, vfio_pci_ioctl_get_region_info().
TEST_P(KernelApiSuite, RegionInfoChecksInOrder) {
  BERTH_NEEDS(Need::kCdevs);
  const UniqueFd context = NewContext();
  const Device device = AddDevice(context, 0);
  using Arg = uapi::VfioRegionInfo;
  auto valid = Sized<Arg>();
  valid.index = uapi::kVfioPciConfigRegion;
  ExpectPrecedence<Arg>(
      device.cdev, uapi::kVfioDeviceGetRegionInfo, valid,
      {{"argsz below the minimum", [](Arg& a) { a.argsz = sizeof(a) - 1; }, EINVAL},
       {"no such region", [](Arg& a) { a.index = 1000; }, EINVAL}});
  EXPECT_EQ(kernel().Ioctl(device.cdev.get(), uapi::kVfioDeviceGetRegionInfo, nullptr), -EFAULT);
  EXPECT_EQ(CallReadOnly(device.cdev, uapi::kVfioDeviceGetRegionInfo, valid), -EFAULT);
  Roomy<Arg> longer = {};
  longer.arg.argsz = sizeof(longer);
  EXPECT_EQ(Call(device.cdev, uapi::kVfioDeviceGetRegionInfo, longer), 0);
}

// vfio_pci_core.c, vfio_pci_ioctl_get_region_info(); vfio_pci_core.h, VFIO_PCI_INDEX_TO_OFFSET().
TEST_P(KernelApiSuite, RegionInfoTellsOfEachRegion) {
  BERTH_NEEDS(Need::kCdevs);
  const UniqueFd context = NewContext();
  Regions regions(&kernel(), AddDevice(context, 0).cdev);
  constexpr uint32_t kReadWrite = uapi::kVfioRegionFlagRead | uapi::kVfioRegionFlagWrite;
  for (uint32_t index = 0; index <= uapi::kVfioPciConfigRegion; ++index) {
    const uapi::VfioRegionInfo info = regions.Info(index);
    EXPECT_EQ(info.offset, uint64_t{index} << 40);
    if (index == uapi::kVfioPciConfigRegion) {
      EXPECT_EQ(info.flags, kReadWrite);
      EXPECT_TRUE(info.size == 256 || info.size == 4096) << info.size;
    } else if (info.size == 0) {
      EXPECT_EQ(info.flags, 0U) << index;
    } else if (index == uapi::kVfioPciRomRegion) {
      EXPECT_EQ(info.flags, uapi::kVfioRegionFlagRead);
    } else {
      EXPECT_EQ(info.flags & kReadWrite, kReadWrite) << index;
    }
  }
}

// vfio_main.c, vfio_device_fops_read(); vfio_pci_core.c, vfio_pci_rw(); vfio_pci_config.c,
// vfio_config_do_rw(); vfio_pci_rdwr.c, vfio_pci_bar_rw().
TEST_P(KernelApiSuite, RegionsAreReadWithinTheirBounds) {
  BERTH_NEEDS(Need::kCdevs);
  const UniqueFd context = NewContext();
  Regions regions(&kernel(), AddDevice(context, 0).cdev);
  const uapi::VfioRegionInfo config = regions.Info(uapi::kVfioPciConfigRegion);
  const uint64_t end = config.offset + config.size;
  EXPECT_EQ(regions.Read(config.offset, config.size), static_cast<int64_t>(config.size));
  EXPECT_EQ(regions.Read(end - 1, 1), 1);
  EXPECT_EQ(regions.Read(end, 1), -EFAULT);
  EXPECT_EQ(regions.Read(end - 4, 8), -EFAULT) << "all of it, or nothing";
  EXPECT_EQ(regions.Write(end, 1), -EFAULT);
  EXPECT_EQ(regions.Write(end - 4, 8), -EFAULT);
  EXPECT_EQ(regions.Read(config.offset, 0), 0);
  EXPECT_EQ(regions.Write(config.offset, 0), 0);
  EXPECT_EQ(kernel().ReadRegion(regions.cdev().get(), nullptr, 4, config.offset), -EFAULT);
  EXPECT_EQ(kernel().WriteRegion(regions.cdev().get(), nullptr, 4, config.offset), -EFAULT);

  EXPECT_EQ(regions.Write(regions.Info(uapi::kVfioPciRomRegion).offset, 4), -EINVAL);
  constexpr uint64_t kNoRegion = uint64_t{1000} << 40;
  EXPECT_EQ(regions.Read(kNoRegion, 4), -EINVAL);
  EXPECT_EQ(regions.Write(kNoRegion, 4), -EINVAL);
  EXPECT_EQ(regions.Read(kNoRegion, 0), 0) << "nothing, wherever it is";
  for (uint32_t index = 0; index <= uapi::kVfioPciBar5Region; ++index) {
    const uapi::VfioRegionInfo bar = regions.Info(index);
    EXPECT_EQ(regions.Read(bar.offset + bar.size, 4), -EINVAL) << "beyond BAR " << index;
    EXPECT_EQ(regions.Write(bar.offset + bar.size, 4), -EINVAL) << "beyond BAR " << index;
  }
}

// vfio_pci_core.c, vfio_pci_core_enable(); vfio_pci_config.c, __vfio_pci_memory_enabled();
// vfio_pci_rdwr.c, vfio_pci_core_do_io_rw().
TEST_P(KernelApiSuite, BarAnswersWhileMemoryIsOn) {
  BERTH_NEEDS(Need::kCdevs);
  const UniqueFd context = NewContext();
  bool found = false;
  for (size_t number = 0; number < machine().devices.size() && !found; ++number) {
    Regions regions(&kernel(), AddDevice(context, number).cdev);
    const auto bar = regions.MemoryBar();
    if (!bar) continue;
    found = true;
    const uint16_t command = regions.Command();
    EXPECT_NE(command & kMemory, 0) << "on, once the device is open";
    EXPECT_EQ(regions.Read(bar->offset, 4), 4);
    regions.SetCommand(static_cast<uint16_t>(command & ~kMemory));
    EXPECT_EQ(regions.Read(bar->offset, 4), -EIO);
    EXPECT_EQ(regions.Write(bar->offset, 4), -EIO);
    EXPECT_EQ(regions.Read(bar->offset + bar->size, 4), -EINVAL) << "not even then";
    EXPECT_EQ(kernel().WriteRegion(regions.cdev().get(), nullptr, 4, bar->offset), -EFAULT);
    EXPECT_EQ(kernel().ReadRegion(regions.cdev().get(), nullptr, 4, bar->offset), -EIO);
    regions.SetCommand(command);
    EXPECT_EQ(regions.Read(bar->offset, 4), 4);
  }
  if (!found) GTEST_SKIP() << kNeedsBar;
}

// vfio_pci_core.c, vfio_pci_ioctl_reset(); drivers/pci/pci.c, pci_try_reset_function():
// pci_dev_save_and_disable(), pci_dev_restore().
TEST_P(KernelApiSuite, ResetKeepsTheCommandRegister) {
  BERTH_NEEDS(Need::kCdevs);
  const UniqueFd context = NewContext();
  Regions regions(&kernel(), AddDevice(context, 0).cdev);
  auto info = Sized<uapi::VfioDeviceInfo>();
  ASSERT_EQ(Call(regions.cdev(), uapi::kVfioDeviceGetInfo, info), 0);
  const bool can_reset = (info.flags & uapi::kVfioDeviceFlagsReset) != 0;
  const auto command = static_cast<uint16_t>(regions.Command() | kBusMaster);
  regions.SetCommand(command);
  EXPECT_EQ(kernel().Ioctl(regions.cdev().get(), uapi::kVfioDeviceReset, nullptr),
            can_reset ? 0 : -EINVAL);
  EXPECT_EQ(regions.Command(), command);
}

// vfio_pci_core.c, vfio_pci_core_disable(), vfio_pci_core_enable(): pci_clear_master().
TEST_P(KernelApiSuite, OpenedDeviceIsNoBusMaster) {
  BERTH_NEEDS(Need::kCdevs);
  const UniqueFd context = NewContext();
  for (const uint16_t more : {kBusMaster, uint16_t{0}}) {
    Regions regions(&kernel(), AddDevice(context, 0).cdev);
    const uint16_t command = regions.Command();
    EXPECT_EQ(command & kBusMaster, 0);
    regions.SetCommand(static_cast<uint16_t>(command | more));
  }
}

// vfio_pci_core.c, vfio_pci_core_ioctl().
TEST_P(KernelApiSuite, UnknownRequestOfADeviceIsEnotty) {
  BERTH_NEEDS(Need::kCdevs);
  const UniqueFd context = NewContext();
  const Device device = AddDevice(context, 0);
  uint64_t arg[8] = {sizeof(arg)};
  for (const uapi::Request request : {0x3bffUL, 0x1234UL}) {
    EXPECT_EQ(Call(device.cdev, request, arg), -ENOTTY) << std::hex << request;
  }
}

}  // namespace berth::conformance
