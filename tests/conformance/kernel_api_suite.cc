// SPDX-License-Identifier: Apache-2.0
#include "tests/conformance/kernel_api_suite.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "lib/base/status.h"

namespace berth::conformance {

UniqueFd KernelApiSuite::NewContext() {
  absl::StatusOr<UniqueFd> fd = kernel().OpenContext();
  EXPECT_TRUE(fd.ok()) << fd.status();
  return fd.ok() ? *std::move(fd) : UniqueFd();
}

UniqueFd KernelApiSuite::OpenCdev(const std::string& name) {
  absl::StatusOr<UniqueFd> fd = kernel().OpenDevice(name);
  EXPECT_TRUE(fd.ok()) << fd.status();
  return fd.ok() ? *std::move(fd) : UniqueFd();
}

uint32_t KernelApiSuite::Bind(const UniqueFd& cdev, const UniqueFd& context) {
  auto arg = Sized<uapi::VfioDeviceBindIommufd>();
  arg.iommufd = context.get();
  EXPECT_EQ(Call(cdev, uapi::kVfioDeviceBindIommufd, arg), 0);
  return arg.out_devid;
}

uint32_t KernelApiSuite::NewIoas(const UniqueFd& context) {
  auto arg = Sized<uapi::IommuIoasAlloc>();
  EXPECT_EQ(Call(context, uapi::kIommuIoasAlloc, arg), 0);
  return arg.out_ioas_id;
}

Vm KernelApiSuite::NewVm(const std::string& name) {
  Vm vm;
  vm.context = NewContext();
  vm.cdev = OpenCdev(name);
  vm.device = Bind(vm.cdev, vm.context);
  vm.ioas = NewIoas(vm.context);
  vm.memory = NewMemory(kMemorySize);
  EXPECT_EQ(MapFile(vm.context, vm.ioas, vm.memory.get(), kMemorySize, kMemoryIova), 0);
  vm.parent = NewHwpt(vm, uapi::kHwptAllocNestParent);
  return vm;
}

uint32_t KernelApiSuite::NewHwpt(const Vm& vm, uint32_t flags) {
  auto arg = PagingArg(vm, flags);
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, arg), 0);
  return arg.out_hwpt_id;
}

uapi::IommuHwptAlloc KernelApiSuite::PagingArg(const Vm& vm, uint32_t flags) {
  auto arg = Sized<uapi::IommuHwptAlloc>();
  arg.flags = flags;
  arg.dev_id = vm.device;
  arg.pt_id = vm.ioas;
  return arg;
}

uapi::IommuViommuAlloc KernelApiSuite::ViommuArg(const Vm& vm,
                                                 uapi::IommuViommuTegra241Cmdqv* page0) {
  auto arg = Sized<uapi::IommuViommuAlloc>();
  arg.type = uapi::kViommuTypeTegra241Cmdqv;
  arg.dev_id = vm.device;
  arg.hwpt_id = vm.parent;
  arg.data_len = sizeof(*page0);
  arg.data_uptr = reinterpret_cast<uint64_t>(page0);
  return arg;
}

uint32_t KernelApiSuite::NewViommu(const Vm& vm, uapi::IommuViommuTegra241Cmdqv* page0) {
  uapi::IommuViommuTegra241Cmdqv unused = {};
  auto arg = ViommuArg(vm, page0 == nullptr ? &unused : page0);
  EXPECT_EQ(Call(vm.context, uapi::kIommuViommuAlloc, arg), 0);
  return arg.out_viommu_id;
}

uint32_t KernelApiSuite::NewPlainViommu(const Vm& vm) {
  auto arg = ViommuArg(vm, nullptr);
  arg.type = uapi::kViommuTypeArmSmmuv3;
  arg.data_len = 0;
  EXPECT_EQ(Call(vm.context, uapi::kIommuViommuAlloc, arg), 0);
  return arg.out_viommu_id;
}

uint32_t KernelApiSuite::NewVdevice(const Vm& vm, uint32_t viommu, uint64_t vsid) {
  auto arg = VdeviceArg(vm, viommu, vsid);
  EXPECT_EQ(Call(vm.context, uapi::kIommuVdeviceAlloc, arg), 0);
  return arg.out_vdevice_id;
}

uapi::IommuVdeviceAlloc KernelApiSuite::VdeviceArg(const Vm& vm, uint32_t viommu, uint64_t vsid) {
  auto arg = Sized<uapi::IommuVdeviceAlloc>();
  arg.viommu_id = viommu;
  arg.dev_id = vm.device;
  arg.virt_id = vsid;
  return arg;
}

uapi::IommuHwQueueAlloc KernelApiSuite::HwQueueArg(uint32_t viommu, uint32_t index) {
  auto arg = Sized<uapi::IommuHwQueueAlloc>();
  arg.viommu_id = viommu;
  arg.type = uapi::kHwQueueTypeTegra241Cmdqv;
  arg.index = index;
  arg.nesting_parent_iova = kMemoryIova + index * kPage;
  arg.length = kPage;
  return arg;
}

uint32_t KernelApiSuite::NewHwQueue(const Vm& vm, uint32_t viommu, uint32_t index) {
  auto arg = HwQueueArg(viommu, index);
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwQueueAlloc, arg), 0);
  return arg.out_hw_queue_id;
}

NewEventQueue KernelApiSuite::NewVeventq(const Vm& vm, uint32_t viommu, uint32_t type) {
  auto arg = VeventqArg(viommu, type);
  EXPECT_EQ(Call(vm.context, uapi::kIommuVeventqAlloc, arg), 0);
  return {arg.out_veventq_id, UniqueFd(arg.out_veventq_fd)};
}

uapi::IommuVeventqAlloc KernelApiSuite::VeventqArg(uint32_t viommu, uint32_t type) {
  auto arg = Sized<uapi::IommuVeventqAlloc>();
  arg.viommu_id = viommu;
  arg.type = type;
  arg.veventq_depth = 8;
  arg.out_veventq_fd = -1;
  return arg;
}

NewEventQueue KernelApiSuite::Occupy(const Vm& vm) {
  const uint32_t viommu = NewViommu(vm);
  NewVdevice(vm, viommu, 1);
  NewHwQueue(vm, viommu, 0);
  NewHwQueue(vm, viommu, 1);
  EXPECT_EQ(Attach(vm.cdev, NewNested(vm, viommu, uapi::kSteAbort)), 0);
  return NewVeventq(vm, viommu, uapi::kVeventqTypeTegra241Cmdqv);
}

uapi::IommuHwptAlloc KernelApiSuite::NestedArg(const Vm& vm, uint32_t viommu,
                                               const uint64_t (&ste)[2]) {
  auto arg = Sized<uapi::IommuHwptAlloc>();
  arg.dev_id = vm.device;
  arg.pt_id = viommu;
  arg.data_type = uapi::kHwptDataArmSmmuv3;
  arg.data_len = sizeof(ste);
  arg.data_uptr = reinterpret_cast<uint64_t>(&ste);
  return arg;
}

uint32_t KernelApiSuite::NewNested(const Vm& vm, uint32_t viommu, const uint64_t (&ste)[2]) {
  auto arg = NestedArg(vm, viommu, ste);
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, arg), 0);
  return arg.out_hwpt_id;
}

int KernelApiSuite::Destroy(const UniqueFd& context, uint32_t id) {
  auto arg = Sized<uapi::IommuDestroy>();
  arg.id = id;
  return Call(context, uapi::kIommuDestroy, arg);
}

uapi::IommuIoasMapFile KernelApiSuite::MapFileArg(uint32_t ioas, int fd) {
  auto arg = Sized<uapi::IommuIoasMapFile>();
  arg.flags = uapi::kIoasMapFixedIova | uapi::kIoasMapReadable | uapi::kIoasMapWriteable;
  arg.ioas_id = ioas;
  arg.fd = fd;
  arg.length = kPage;
  arg.iova = kHoleIova;
  return arg;
}

int KernelApiSuite::MapFile(const UniqueFd& context, uint32_t ioas, int fd, uint64_t length,
                            uint64_t iova, uint64_t start) {
  auto arg = MapFileArg(ioas, fd);
  arg.start = start;
  arg.length = length;
  arg.iova = iova;
  return Call(context, uapi::kIommuIoasMapFile, arg);
}

int KernelApiSuite::Unmap(const UniqueFd& context, uint32_t ioas, uint64_t iova, uint64_t length) {
  auto arg = Sized<uapi::IommuIoasUnmap>();
  arg.ioas_id = ioas;
  arg.iova = iova;
  arg.length = length;
  return Call(context, uapi::kIommuIoasUnmap, arg);
}

int KernelApiSuite::Attach(const UniqueFd& cdev, uint32_t pt_id) {
  auto arg = Sized<uapi::VfioDeviceAttachIommufdPt>();
  arg.pt_id = pt_id;
  return Call(cdev, uapi::kVfioDeviceAttachIommufdPt, arg);
}

int KernelApiSuite::Detach(const UniqueFd& cdev) {
  auto arg = Sized<uapi::VfioDeviceDetachIommufdPt>();
  return Call(cdev, uapi::kVfioDeviceDetachIommufdPt, arg);
}

std::vector<uapi::IommuIovaRange> KernelApiSuite::IovaRanges(const UniqueFd& context,
                                                             uint32_t ioas) {
  std::vector<uapi::IommuIovaRange> ranges(64);
  auto arg = Sized<uapi::IommuIoasIovaRanges>();
  arg.ioas_id = ioas;
  arg.num_iovas = static_cast<uint32_t>(ranges.size());
  arg.allowed_iovas = reinterpret_cast<uint64_t>(ranges.data());
  EXPECT_EQ(Call(context, uapi::kIommuIoasIovaRanges, arg), 0);
  EXPECT_LE(arg.num_iovas, ranges.size());
  ranges.resize(arg.num_iovas);
  return ranges;
}

bool KernelApiSuite::MsiWindowIsOpen(const Vm& vm) {
  for (const uapi::IommuIovaRange& range : IovaRanges(vm.context, vm.ioas)) {
    if (range.start <= uapi::kSwMsiBase && range.last >= uapi::kSwMsiBase) return true;
  }
  return false;
}

int KernelApiSuite::FreeVintfs() {
  const Vm vm = NewVm(device(1));
  for (int count = 0;; ++count) {
    uapi::IommuViommuTegra241Cmdqv page0 = {};
    auto arg = ViommuArg(vm, &page0);
    const int result = Call(vm.context, uapi::kIommuViommuAlloc, arg);
    if (result == 0) continue;
    EXPECT_EQ(result, -ENOSPC);
    return count;
  }
}

uapi::IommuHwInfoTegra241Cmdqv KernelApiSuite::CmdqvInfo(const Vm& vm) {
  uapi::IommuHwInfoTegra241Cmdqv info = {};
  auto arg = Sized<uapi::IommuHwInfo>();
  arg.flags = uapi::kHwInfoInputType;
  arg.dev_id = vm.device;
  arg.data_type = uapi::kHwInfoTegra241Cmdqv;
  arg.data_len = sizeof(info);
  arg.data_uptr = reinterpret_cast<uint64_t>(&info);
  EXPECT_EQ(Call(vm.context, uapi::kIommuGetHwInfo, arg), 0);
  return info;
}

uapi::IommuHwInfoArmSmmuv3 KernelApiSuite::SmmuInfo(const Vm& vm) {
  uapi::IommuHwInfoArmSmmuv3 info = {};
  auto arg = Sized<uapi::IommuHwInfo>();
  arg.dev_id = vm.device;
  arg.data_len = sizeof(info);
  arg.data_uptr = reinterpret_cast<uint64_t>(&info);
  EXPECT_EQ(Call(vm.context, uapi::kIommuGetHwInfo, arg), 0);
  return info;
}

UniqueFd KernelApiSuite::NewMemory(uint64_t size) {
  UniqueFd fd(::memfd_create("conformance", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size)), 0);
  // The page allocator hands out neighbours in a row; from both ends inwards they are no neighbours
  // in the file.
  const uint64_t pages = size / kPage;
  for (uint64_t i = 0; i < pages; ++i) {
    const uint64_t page = i % 2 == 0 ? i / 2 : pages - 1 - i / 2;
    EXPECT_EQ(::pwrite(fd.get(), "", 1, static_cast<off_t>(page * kPage)), 1);
  }
  return fd;
}

}  // namespace berth::conformance
