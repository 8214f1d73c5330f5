// SPDX-License-Identifier: Apache-2.0
//
// Makes an edu device (QEMU docs/specs/edu.rst) do DMA, in a guest (README.md).
//   edu_dma attached MEMORY                 as a VMM that makes its own ioctls on what
//   berth-handoff
//                                           gave it: moves the first page of the file MEMORY
//                                           through the device into the second, prints "moved", and
//                                           waits to be killed
//   edu_dma released ADDRESS CDEV MEMORY    as root, when nobody has the device any more: asks it
//   for
//                                           the same DMA; fails unless that is blocked, and unless
//                                           the device works in a context of its own
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "lib/base/mapping.h"
#include "lib/base/status.h"
#include "lib/iommufd/context.h"
#include "lib/iommufd/device.h"
#include "lib/iommufd/ioas.h"
#include "lib/iommufd/real_kernel.h"
#include "tests/testing/poll_until.h"

namespace berth {
namespace {

constexpr uint64_t kPage = 4096;
// Where MEMORY is for the device, which has 28 address bits.
constexpr uint64_t kMemoryIova = 0x100000;
// Where the memory of another context is.
constexpr uint64_t kOtherIova = 0x200000;
constexpr std::byte kSecret{0xb5};
constexpr std::byte kUntouched{0x11};
constexpr std::byte kPattern{0x3c};

// The device's registers.
constexpr size_t kBarSize = 1 << 20;
constexpr size_t kDmaSource = 0x80;
constexpr size_t kDmaDestination = 0x88;
constexpr size_t kDmaCount = 0x90;
constexpr size_t kDmaCommand = 0x98;
constexpr uint64_t kDeviceBuffer = 0x40000;  // one page
enum class Transfer : uint32_t { kToDevice = 1, kFromDevice = 3 };
constexpr uint32_t kTransferRuns = 1;

constexpr off_t kCommandRegister = 4;
constexpr uint16_t kMemoryAndBusMaster = 6;

// A PCI function that decodes its BAR and may be a bus master.
class Edu {
 public:
  // As VFIO offers it.
  static absl::StatusOr<Edu> OfDevice(const Device& device) {
    BERTH_ASSIGN_OR_RETURN(const uapi::VfioRegionInfo config,
                           device.GetRegionInfo(uapi::kVfioPciConfigRegion));
    BERTH_ASSIGN_OR_RETURN(const uapi::VfioRegionInfo bar,
                           device.GetRegionInfo(uapi::kVfioPciBar0Region));
    BERTH_RETURN_IF_ERROR(Enable(device.fd(), static_cast<off_t>(config.offset)));
    return MapBar(device.fd(), bar.offset);
  }
  // As sysfs offers it to root, whoever has it.
  static absl::StatusOr<Edu> OfFunction(const std::string& address) {
    const std::string folder = absl::StrCat("/sys/bus/pci/devices/", address);
    const UniqueFd config(::open((folder + "/config").c_str(), O_RDWR | O_CLOEXEC));
    const UniqueFd bar(::open((folder + "/resource0").c_str(), O_RDWR | O_CLOEXEC));
    if (!config.valid() || !bar.valid()) return ErrnoToStatus(errno, folder);
    BERTH_RETURN_IF_ERROR(Enable(config.get(), 0));
    return MapBar(bar.get(), 0);
  }

  // Moves a page between the device's buffer and `iova`.
  void Move(Transfer direction, uint64_t iova) {
    const bool to_device = direction == Transfer::kToDevice;
    Set(kDmaSource, to_device ? iova : kDeviceBuffer);
    Set(kDmaDestination, to_device ? kDeviceBuffer : iova);
    Set(kDmaCount, kPage);
    Set(kDmaCommand, static_cast<uint32_t>(direction));
    testing::PollUntil([this] { return (*At(kDmaCommand) & kTransferRuns) == 0; });
  }

 private:
  explicit Edu(Mapping bar) : bar_(std::move(bar)) {}
  static absl::StatusOr<Edu> MapBar(int fd, uint64_t offset) {
    BERTH_ASSIGN_OR_RETURN(Mapping bar,
                           Mapping::Map(fd, offset, kBarSize, Mapping::Access::kReadWrite));
    return Edu(std::move(bar));
  }
  static absl::Status Enable(int fd, off_t config) {
    if (::pwrite(fd, &kMemoryAndBusMaster, 2, config + kCommandRegister) == 2) {
      return absl::OkStatus();
    }
    return ErrnoToStatus(errno, "writing the command register");
  }
  volatile uint32_t* At(size_t offset) const {
    return reinterpret_cast<volatile uint32_t*>(bar_.data() + offset);
  }
  void Set(size_t offset, uint64_t value) { *At(offset) = static_cast<uint32_t>(value); }

  Mapping bar_;
};

// A file of two pages.
struct Memory {
  static absl::StatusOr<Memory> Of(UniqueFd file) {
    if (!file.valid() || ::ftruncate(file.get(), 2 * kPage) != 0) {
      return ErrnoToStatus(errno, "the memory");
    }
    BERTH_ASSIGN_OR_RETURN(Mapping mapping,
                           Mapping::Map(file.get(), 0, 2 * kPage, Mapping::Access::kReadWrite));
    return Memory{.file = std::move(file), .mapping = std::move(mapping)};
  }
  static absl::StatusOr<Memory> Open(const std::string& path) {
    return Of(UniqueFd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)));
  }
  void Fill(size_t page, std::byte value) const {
    std::fill_n(mapping.data() + page * kPage, kPage, value);
  }
  // Whether each byte of the page is `value`.
  [[nodiscard]] bool Is(size_t page, std::byte value) const {
    const std::byte* begin = mapping.data() + page * kPage;
    return std::all_of(begin, begin + kPage, [value](std::byte byte) { return byte == value; });
  }

  UniqueFd file;
  Mapping mapping;
};

// A context with one device, for which `memory` is at `iova`.
struct Attached {
  static absl::StatusOr<Attached> Make(Device device, const Memory& memory, uint64_t iova) {
    BERTH_ASSIGN_OR_RETURN(Ioas ioas, Ioas::Create(device.context()));
    BERTH_RETURN_IF_ERROR(device.Attach(ioas).status());
    BERTH_RETURN_IF_ERROR(
        ioas.MapFile({.fd = memory.file.get(), .start = 0, .length = 2 * kPage, .iova = iova}));
    BERTH_ASSIGN_OR_RETURN(Edu edu, Edu::OfDevice(device));
    return Attached{.ioas = std::move(ioas), .device = std::move(device), .edu = std::move(edu)};
  }
  // The first page becomes the second, through the device.
  absl::Status Copy(const Memory& memory, uint64_t iova) {
    memory.Fill(0, kPattern);
    memory.Fill(1, kUntouched);
    edu.Move(Transfer::kToDevice, iova);
    edu.Move(Transfer::kFromDevice, iova + kPage);
    if (memory.Is(1, kPattern)) return absl::OkStatus();
    return absl::DataLossError("what was read from memory is not what was written to it");
  }

  Ioas ioas;
  Device device;  // goes first: the IOAS is in use until then
  Edu edu;
};

absl::StatusOr<UniqueFd> InheritedFd(const char* variable) {
  const char* text = std::getenv(variable);
  int fd = -1;
  if (text == nullptr || !absl::SimpleAtoi(text, &fd)) {
    return absl::InvalidArgumentError(absl::StrCat(variable, " is not set to an fd"));
  }
  return UniqueFd(fd);
}

absl::Status RunAttached(const std::string& path) {
  RealKernel kernel;
  BERTH_ASSIGN_OR_RETURN(UniqueFd iommufd, InheritedFd("BERTH_IOMMUFD"));
  BERTH_ASSIGN_OR_RETURN(UniqueFd cdev, InheritedFd("BERTH_DEVICE_0"));
  BERTH_ASSIGN_OR_RETURN(const Memory memory, Memory::Open(path));
  const Context context = Context::Adopt(&kernel, std::move(iommufd));
  BERTH_ASSIGN_OR_RETURN(Device device, Device::Bind(context, std::move(cdev), "handed off"));
  BERTH_ASSIGN_OR_RETURN(Attached attached, Attached::Make(std::move(device), memory, kMemoryIova));
  BERTH_RETURN_IF_ERROR(attached.Copy(memory, kMemoryIova));
  std::cout << "moved" << std::endl;
  for (;;) ::pause();
}

absl::Status RunReleased(const std::string& address, const std::string& cdev,
                         const std::string& path) {
  BERTH_ASSIGN_OR_RETURN(const Memory memory, Memory::Open(path));
  memory.Fill(0, kSecret);
  memory.Fill(1, kUntouched);
  {
    BERTH_ASSIGN_OR_RETURN(Edu edu, Edu::OfFunction(address));
    edu.Move(Transfer::kToDevice, kMemoryIova);
    edu.Move(Transfer::kFromDevice, kMemoryIova + kPage);
  }
  if (!memory.Is(0, kSecret) || !memory.Is(1, kUntouched)) {
    return absl::DataLossError("the device wrote to memory that was not its any more");
  }
  // What it has read shows when it writes that elsewhere.
  RealKernel kernel;
  BERTH_ASSIGN_OR_RETURN(const Memory other,
                         Memory::Of(UniqueFd(::memfd_create("other", MFD_CLOEXEC))));
  BERTH_ASSIGN_OR_RETURN(const Context context, Context::Open(&kernel));
  BERTH_ASSIGN_OR_RETURN(Device device, Device::Open(context, cdev));
  BERTH_ASSIGN_OR_RETURN(Attached attached, Attached::Make(std::move(device), other, kOtherIova));
  attached.edu.Move(Transfer::kFromDevice, kOtherIova);
  const std::byte* begin = other.mapping.data();
  if (std::find(begin, begin + kPage, kSecret) != begin + kPage) {
    return absl::DataLossError("the device read memory that was not its any more");
  }
  return attached.Copy(other, kOtherIova);
}

int Main(const std::vector<std::string>& args) {
  absl::Status status =
      absl::InvalidArgumentError("edu_dma attached MEMORY | edu_dma released ADDRESS CDEV MEMORY");
  if (args.size() == 2 && args[0] == "attached") status = RunAttached(args[1]);
  if (args.size() == 4 && args[0] == "released") status = RunReleased(args[1], args[2], args[3]);
  if (status.ok()) return 0;
  std::cerr << "edu_dma: " << status << "\n";
  return 1;
}

}  // namespace
}  // namespace berth

int main(int argc, char** argv) { return berth::Main({argv + 1, argv + argc}); }
