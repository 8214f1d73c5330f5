// SPDX-License-Identifier: Apache-2.0
//
// What a client may do to an emulated kernel, without the sockets in between. Whatever it does must
// neither crash it nor leave anything behind when all its fds are closed.
#include <fcntl.h>
#include <fuzzer/FuzzedDataProvider.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "lib/emulator/kernel/kernel.h"
#include "lib/emulator/protocol.h"
#include "lib/iommufd/uapi/iommufd_test.h"
#include "lib/iommufd/uapi/ops.h"
#include "lib/iommufd/uapi/smmuv3.h"
#include "lib/iommufd/uapi/vfio.h"

namespace berth::emulator {
namespace {

constexpr size_t kMaxSteps = 128;
constexpr size_t kMaxFds = 16;
constexpr size_t kMaxBuffer = 4096;

constexpr int kDevices = 4;

// An SMMUv3 with four devices, of which two are alone in their IOMMU groups and two share one and
// have BARs and every kind of interrupt; and the kernel's mock driver, whose devices are made by
// IOMMU_TEST_CMD.
HostSpec FuzzHost() {
  HostSpec host;
  UnitSpec unit;
  unit.id = "smmu3.0";
  unit.vintfs = 4;
  unit.vcmdqs = 8;
  host.units.push_back(unit);
  unit.id = "mock";
  unit.profile = UnitProfile::kSelftest;
  host.units.push_back(unit);
  for (uint16_t i = 0; i < kDevices; ++i) {
    DeviceSpec device;
    device.address.routing_id = static_cast<uint16_t>(0x100 + i);
    device.vendor = 0x10de;
    device.device = 0x2342;
    device.class_code = 0x030200;
    device.unit = "smmu3.0";
    device.iommu_group = std::min<uint16_t>(i, 2);
    if (i >= 2) {
      device.model = DeviceModel::kDmaTest;
      device.msi_vectors = 4;
      device.msix_vectors = 3;
      device.intx = true;
    }
    device.reset_method = "flr";
    device.vfio_name = "vfio" + std::to_string(i);
    host.devices.push_back(device);
  }
  return host;
}

class Client {
 public:
  explicit Client(FuzzedDataProvider* input)
      : input_(*input),
        kernel_(FuzzHost(), [](int, uint64_t) { return true; }),
        memory_(::memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING)) {
    if (::ftruncate(memory_.get(), 1 << 20) != 0) std::abort();
  }
  ~Client() {
    while (!fds_.empty()) Close(fds_.size() - 1);
    if (!kernel_.idle()) std::abort();
  }

  void Step() {
    enum class Action : uint8_t {
      kOpenContext,
      kOpenDevice,
      kClose,
      kReadEvents,
      kReadRegion,
      kWriteRegion,
      kRegion,
      kIoctl,
      kMaxValue = kIoctl
    };
    switch (input_.ConsumeEnum<Action>()) {
      case Action::kOpenContext: {
        UniqueFd fd;
        if (fds_.size() < kMaxFds && kernel_.OpenContext(&fd) == 0) fds_.push_back(std::move(fd));
        break;
      }
      case Action::kOpenDevice: {
        UniqueFd fd;
        const std::string name =
            "vfio" + std::to_string(input_.ConsumeIntegralInRange(0, kDevices));
        if (fds_.size() < kMaxFds && kernel_.OpenDevice(name, &fd) == 0) {
          fds_.push_back(std::move(fd));
        }
        break;
      }
      case Action::kClose:
        if (!fds_.empty()) Close(input_.ConsumeIntegralInRange<size_t>(0, fds_.size() - 1));
        break;
      case Action::kReadEvents: {
        std::vector<std::byte> out;
        const auto size = input_.ConsumeIntegralInRange<size_t>(0, kMaxBuffer);
        kernel_.ReadEvents(Fd(), size, input_.ConsumeIntegralInRange<size_t>(0, size), &out);
        break;
      }
      case Action::kReadRegion: {
        std::vector<std::byte> out;
        kernel_.ReadRegion(Fd(), Offset(), input_.ConsumeIntegralInRange<size_t>(0, kMaxBuffer),
                           &out);
        break;
      }
      case Action::kWriteRegion: {
        const auto bytes = Bytes();
        kernel_.WriteRegion(Fd(), Offset(), bytes);
        break;
      }
      case Action::kRegion: {
        UniqueFd region;
        const auto offset = Offset();
        kernel_.Region(Fd(), offset, input_.ConsumeIntegral<uint64_t>(), &region);
        break;
      }
      case Action::kIoctl:
        Ioctl();
        break;
    }
  }

 private:
  int Fd() {
    if (fds_.empty()) return memory_.get();
    return fds_[input_.ConsumeIntegralInRange<size_t>(0, fds_.size() - 1)].get();
  }
  std::vector<std::byte> Bytes() {
    return input_.ConsumeBytes<std::byte>(input_.ConsumeIntegralInRange<size_t>(0, kMaxBuffer));
  }
  void Close(size_t index) {
    struct stat info;
    if (::fstat(fds_[index].get(), &info) != 0) std::abort();
    fds_.erase(fds_.begin() + static_cast<ptrdiff_t>(index));
    kernel_.OnLastClose(info.st_ino);
    kernel_.ReapPinned();
  }

  // In a region of a cdev, often near its start: VFIO_PCI_INDEX_TO_OFFSET().
  uint64_t Offset() {
    if (input_.ConsumeBool()) return input_.ConsumeIntegral<uint64_t>();
    const auto region = input_.ConsumeIntegralInRange<uint64_t>(0, uapi::kVfioPciNumRegions);
    return region << 40 | input_.ConsumeIntegralInRange<uint64_t>(0, 0x1008);
  }

  const uapi::Op& PickOp() {
    static constexpr uapi::Op kTest = {uapi::kIommuTestCmd, "TEST_CMD", sizeof(uapi::IommuTestCmd),
                                       sizeof(uint32_t)};
    constexpr size_t kIommu = std::size(uapi::kIommuOps);
    constexpr size_t kVfio = std::size(uapi::kVfioOps);
    const auto pick = input_.ConsumeIntegralInRange<size_t>(0, kIommu + kVfio);
    if (pick == kIommu + kVfio) return kTest;
    return pick < kIommu ? uapi::kIommuOps[pick] : uapi::kVfioOps[pick - kIommu];
  }
  // A struct whose words are often small, as ids are, or numbers that mean something.
  std::vector<std::byte> Struct(size_t size) {
    static constexpr uint32_t kKnown[] = {uapi::kViommuTypeSelftest,
                                          uapi::kHwQueueTypeSelftest,
                                          uapi::kHwptDataSelftest,
                                          uapi::kVeventqTypeSelftest,
                                          uapi::kHwptInvalidateSelftest,
                                          0x1000,
                                          0x2000,
                                          0x10000,
                                          uapi::kSwMsiBase};
    std::vector<std::byte> bytes(size);
    for (size_t at = 0; at + 4 <= size; at += 4) {
      uint32_t word = 0;
      switch (input_.ConsumeIntegralInRange(0, 3)) {
        case 0:
          word = input_.ConsumeIntegral<uint32_t>();
          break;
        case 1:
          word = input_.PickValueInArray(kKnown);
          break;
        default:
          word = input_.ConsumeIntegralInRange<uint32_t>(0, 20);
      }
      std::memcpy(&bytes[at], &word, sizeof(word));
    }
    return bytes;
  }

  void Ioctl() {
    const uapi::Op& op = PickOp();
    const bool exact = input_.ConsumeBool();
    const size_t size =
        exact ? op.struct_size : input_.ConsumeIntegralInRange<size_t>(0, kMaxStruct);
    std::vector<std::byte> argument = Struct(size);
    const auto user_size = static_cast<uint32_t>(size);
    if (size >= sizeof(user_size)) std::memcpy(argument.data(), &user_size, sizeof(user_size));
    const std::vector<std::byte> buffer = Bytes();
    UniqueFd inner;
    const int inner_of = input_.ConsumeIntegralInRange(0, 2);
    if (inner_of > 0)
      inner.Reset(::fcntl(inner_of == 1 ? memory_.get() : Fd(), F_DUPFD_CLOEXEC, 0));
    std::vector<UniqueFd> eventfds(input_.ConsumeIntegralInRange<size_t>(0, 3));
    for (UniqueFd& eventfd : eventfds) {
      eventfd.Reset(input_.ConsumeBool() ? ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
                                         : ::fcntl(memory_.get(), F_DUPFD_CLOEXEC, 0));
    }
    UserCall call(
        {.request = input_.ConsumeBool() ? op.request : input_.ConsumeIntegral<uint16_t>(),
         .flags = input_.ConsumeIntegral<uint32_t>(),
         .user_size = user_size,
         .arg = argument,
         .buffer = buffer,
         .out_size = input_.ConsumeIntegralInRange<size_t>(0, kMaxBuffer),
         .inner_fd = std::move(inner),
         .eventfds = std::move(eventfds)});
    kernel_.Ioctl(Fd(), call);
    // An event queue's fd goes to the caller.
    if (!call.new_fd().valid()) return;
    UniqueFd fd(::fcntl(call.new_fd().get(), F_DUPFD_CLOEXEC, 0));
    fds_.push_back(std::move(fd));
  }

  FuzzedDataProvider& input_;
  Kernel kernel_;
  UniqueFd memory_;
  std::vector<UniqueFd> fds_;
};

}  // namespace
}  // namespace berth::emulator

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzedDataProvider input(data, size);
  berth::emulator::Client client(&input);
  for (size_t i = 0; i < berth::emulator::kMaxSteps && input.remaining_bytes() > 0; ++i) {
    client.Step();
  }
  return 0;
}
