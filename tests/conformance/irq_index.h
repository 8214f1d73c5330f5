// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_CONFORMANCE_IRQ_INDEX_H_
#define BERTH_TESTS_CONFORMANCE_IRQ_INDEX_H_

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstring>
#include <optional>
#include <vector>

#include "tests/conformance/kernel_api_suite.h"

namespace berth::conformance {

inline constexpr uint32_t kTrigger = uapi::kVfioIrqSetActionTrigger;
inline constexpr uint32_t kMask = uapi::kVfioIrqSetActionMask;
inline constexpr uint32_t kUnmask = uapi::kVfioIrqSetActionUnmask;
inline constexpr uint32_t kNone = uapi::kVfioIrqSetDataNone | kTrigger;
inline constexpr uint32_t kBool = uapi::kVfioIrqSetDataBool | kTrigger;
inline constexpr uint32_t kEventfd = uapi::kVfioIrqSetDataEventfd | kTrigger;
inline constexpr int32_t kNotOpen = 1 << 20;

inline UniqueFd NewEventfd() { return UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

// How often it was signalled since the last look.
inline uint64_t Signals(const UniqueFd& eventfd) {
  uint64_t count = 0;
  return ::read(eventfd.get(), &count, sizeof(count)) == sizeof(count) ? count : 0;
}

// With room for one element.
struct SetIrqs {
  uapi::VfioIrqSet set;
  int32_t value;
};
inline SetIrqs SetArg(uint32_t index, uint32_t flags, uint32_t count, int32_t value = 0) {
  return {{sizeof(SetIrqs), flags, index, 0, count}, value};
}

// One index of a bound device.
class IrqIndex {
 public:
  IrqIndex(KernelApi* kernel, const UniqueFd* cdev, uint32_t index)
      : kernel_(kernel), cdev_(cdev), index_(index) {}

  int Set(uint32_t flags, uint32_t count, int32_t value = 0) {
    SetIrqs arg = SetArg(index_, flags, count, value);
    return kernel_->Ioctl(cdev_->get(), uapi::kVfioDeviceSetIrqs, &arg);
  }
  int Connect(int32_t fd) { return Set(kEventfd, 1, fd); }

  // The block of vectors from `start` on.
  int ConnectBlock(uint32_t start, const std::vector<int32_t>& fds) {
    return SetBlock(kEventfd, start, static_cast<uint32_t>(fds.size()), fds.data(),
                    fds.size() * sizeof(int32_t));
  }
  int RaiseBlock(uint32_t start, const std::vector<uint8_t>& which) {
    return SetBlock(kBool, start, static_cast<uint32_t>(which.size()), which.data(), which.size());
  }
  int RaiseAll(uint32_t start, uint32_t count) { return SetBlock(kNone, start, count, nullptr, 0); }
  int SetBlock(uint32_t flags, uint32_t start, uint32_t count, const void* data, size_t size) {
    std::vector<std::byte> bytes(sizeof(uapi::VfioIrqSet) + size);
    const auto argsz = static_cast<uint32_t>(bytes.size());
    const uapi::VfioIrqSet set = {argsz, flags, index_, start, count};
    std::memcpy(bytes.data(), &set, sizeof(set));
    if (size > 0) std::memcpy(bytes.data() + sizeof(set), data, size);
    return kernel_->Ioctl(cdev_->get(), uapi::kVfioDeviceSetIrqs, bytes.data());
  }

  uapi::VfioIrqInfo Info() {
    auto arg = Sized<uapi::VfioIrqInfo>();
    arg.index = index_;
    if (kernel_->Ioctl(cdev_->get(), uapi::kVfioDeviceGetIrqInfo, &arg) != 0) return {};
    return arg;
  }
  // 0 also where the device has no such index.
  uint32_t Vectors() { return Info().count; }

 private:
  KernelApi* kernel_;
  const UniqueFd* cdev_;
  const uint32_t index_;
};

// The first device of the machine that has so many interrupts of that index.
inline std::optional<size_t> DeviceWithIrqs(KernelApi& kernel, const Machine& machine,
                                            uint32_t index, uint32_t least) {
  const auto context = kernel.OpenContext();
  EXPECT_TRUE(context.ok()) << context.status();
  if (!context.ok()) return std::nullopt;
  for (size_t number = 0; number < machine.devices.size(); ++number) {
    const auto cdev = kernel.OpenDevice(machine.devices[number]);
    EXPECT_TRUE(cdev.ok()) << cdev.status();
    if (!cdev.ok()) return std::nullopt;
    auto bind = Sized<uapi::VfioDeviceBindIommufd>();
    bind.iommufd = context->get();
    EXPECT_EQ(kernel.Ioctl(cdev->get(), uapi::kVfioDeviceBindIommufd, &bind), 0);
    if (IrqIndex(&kernel, &*cdev, index).Vectors() >= least) return number;
  }
  return std::nullopt;
}

}  // namespace berth::conformance

#endif  // BERTH_TESTS_CONFORMANCE_IRQ_INDEX_H_
