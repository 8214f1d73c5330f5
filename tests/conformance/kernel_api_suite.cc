// SPDX-License-Identifier: Apache-2.0
#include "tests/conformance/kernel_api_suite.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "lib/base/status.h"

namespace berth::conformance {

std::optional<Need> KernelApiSuite::Missing(std::initializer_list<Need> needs) const {
  for (const Need need : needs) {
    if (!Has(need)) return need;
  }
  return std::nullopt;
}

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

Device KernelApiSuite::AddDevice(const UniqueFd& context, const std::string& cdev) {
  Device device;
  device.cdev = OpenCdev(cdev);
  device.id = Bind(device.cdev, context);
  return device;
}

Device KernelApiSuite::AddDevice(const UniqueFd& context, size_t number) {
  if (Has(Need::kCdevs)) return AddDevice(context, machine().devices.at(number));
  Device device;
  auto made = Sized<uapi::IommuTestCmd>();
  made.op = uapi::kTestOpMockDomain;
  made.id = NewIoas(context);
  EXPECT_EQ(Call(context, uapi::kIommuTestCmd, made), 0);
  device.mock = made.mock_domain.out_stdev_id;
  device.id = made.mock_domain.out_idev_id;
  auto rest = Sized<uapi::IommuHwptAlloc>();
  rest.dev_id = device.id;
  rest.pt_id = made.id;
  EXPECT_EQ(Call(context, uapi::kIommuHwptAlloc, rest), 0);
  device.rest = rest.out_hwpt_id;
  EXPECT_EQ(Attach(context, device, device.rest), 0);
  return device;
}

Vm KernelApiSuite::NewVm(size_t number) {
  Vm vm;
  vm.context = NewContext();
  vm.device = AddDevice(vm.context, number);
  Furnish(&vm);
  return vm;
}

GroupVm KernelApiSuite::NewGroupVm() {
  GroupVm group;
  group.vm.context = NewContext();
  for (const std::string& cdev : machine().group) {
    group.mates.push_back(AddDevice(group.vm.context, cdev));
  }
  group.vm.device = std::move(group.mates.front());
  group.mates.erase(group.mates.begin());
  Furnish(&group.vm);
  return group;
}

void KernelApiSuite::Furnish(Vm* vm) {
  vm->ioas = NewIoas(vm->context);
  vm->memory = NewMemory(kMemorySize);
  EXPECT_EQ(MapFile(vm->context, vm->ioas, vm->memory.get(), kMemorySize, kMemoryIova), 0);
  vm->parent = NewHwpt(*vm, Has(Need::kViommus) ? uapi::kHwptAllocNestParent : 0);
}

uint32_t KernelApiSuite::NewHwpt(const Vm& vm, uint32_t flags) {
  auto arg = PagingArg(vm, flags);
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, arg), 0);
  return arg.out_hwpt_id;
}

uapi::IommuHwptAlloc KernelApiSuite::PagingArg(const Vm& vm, uint32_t flags) {
  auto arg = Sized<uapi::IommuHwptAlloc>();
  arg.flags = flags;
  arg.dev_id = vm.device.id;
  arg.pt_id = vm.ioas;
  return arg;
}

uapi::IommuViommuAlloc KernelApiSuite::ViommuArg(const Vm& vm, ViommuData* data) {
  auto arg = Sized<uapi::IommuViommuAlloc>();
  arg.type = types().viommu;
  arg.dev_id = vm.device.id;
  arg.hwpt_id = vm.parent;
  if (!Has(Need::kHwQueues)) return arg;
  arg.data_len = Has(Need::kCmdqv) ? sizeof(data->cmdqv) : sizeof(data->mock);
  arg.data_uptr = reinterpret_cast<uint64_t>(data);
  return arg;
}

Window KernelApiSuite::WindowOf(const ViommuData& data) const {
  if (Has(Need::kCmdqv)) {
    return {data.cmdqv.out_vintf_mmap_offset, data.cmdqv.out_vintf_mmap_length};
  }
  return {data.mock.out_mmap_offset, data.mock.out_mmap_length};
}

uint32_t KernelApiSuite::NewViommu(const Vm& vm, ViommuData* data) {
  ViommuData unused = {};
  auto arg = ViommuArg(vm, data == nullptr ? &unused : data);
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
  arg.dev_id = vm.device.id;
  arg.virt_id = vsid;
  return arg;
}

uapi::IommuHwQueueAlloc KernelApiSuite::HwQueueArg(uint32_t viommu, uint32_t index) {
  auto arg = Sized<uapi::IommuHwQueueAlloc>();
  arg.viommu_id = viommu;
  arg.type = types().hw_queue;
  arg.index = index;
  arg.nesting_parent_iova = kMemoryIova + index * page();
  arg.length = kQueueLength;
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
  EXPECT_EQ(Attach(vm, NewNested(vm, viommu)), 0);
  return NewVeventq(vm, viommu, types().veventq);
}

uapi::IommuHwptAlloc KernelApiSuite::NestedArg(const Vm& vm, uint32_t viommu,
                                               const uint64_t (&ste)[2]) {
  auto arg = Sized<uapi::IommuHwptAlloc>();
  arg.dev_id = vm.device.id;
  arg.pt_id = viommu;
  arg.data_type = uapi::kHwptDataArmSmmuv3;
  arg.data_len = sizeof(ste);
  arg.data_uptr = reinterpret_cast<uint64_t>(&ste);
  return arg;
}

uapi::IommuHwptAlloc KernelApiSuite::NestedArg(const Vm& vm, uint32_t viommu) {
  static constexpr uapi::IommuHwptSelftest kMock = {1, uapi::kMockPagetableDefault};
  auto arg = NestedArg(vm, viommu, uapi::kSteAbort);
  if (Has(Need::kSmmu)) return arg;
  arg.data_type = types().nested;
  arg.data_len = sizeof(kMock);
  arg.data_uptr = reinterpret_cast<uint64_t>(&kMock);
  return arg;
}

uint32_t KernelApiSuite::NewNested(const Vm& vm, uint32_t viommu) {
  auto arg = NestedArg(vm, viommu);
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, arg), 0);
  return arg.out_hwpt_id;
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
  arg.length = page();
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

int KernelApiSuite::Attach(const UniqueFd& context, const Device& device, uint32_t pt_id,
                           uint32_t* attached) {
  uint32_t unused = 0;
  if (attached == nullptr) attached = &unused;
  if (device.mock != 0) {
    auto arg = Sized<uapi::IommuTestCmd>();
    arg.op = uapi::kTestOpMockDomainReplace;
    arg.id = device.mock;
    arg.pt_id = pt_id;
    const int result = Call(context, uapi::kIommuTestCmd, arg);
    *attached = arg.pt_id;
    return result;
  }
  auto arg = Sized<uapi::VfioDeviceAttachIommufdPt>();
  arg.pt_id = pt_id;
  const int result = Call(device.cdev, uapi::kVfioDeviceAttachIommufdPt, arg);
  *attached = arg.pt_id;
  return result;
}

int KernelApiSuite::Detach(const UniqueFd& context, const Device& device) {
  if (device.mock != 0) return Attach(context, device, device.rest);
  auto arg = Sized<uapi::VfioDeviceDetachIommufdPt>();
  return Call(device.cdev, uapi::kVfioDeviceDetachIommufdPt, arg);
}

int KernelApiSuite::Close(Vm& vm) {
  if (vm.device.mock != 0) return Destroy(vm.context, vm.device.mock);
  vm.device.cdev.Reset();
  return 0;
}

std::vector<uint32_t> KernelApiSuite::IdsOf(const Device& device) const {
  if (device.mock != 0) return {device.mock, device.id};
  return {device.id};
}

int KernelApiSuite::MakeEvent(const Vm& vm) {
  auto arg = Sized<uapi::IommuTestCmd>();
  arg.op = uapi::kTestOpTriggerVevent;
  arg.dev_id = vm.device.id;
  return Call(vm.context, uapi::kIommuTestCmd, arg);
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
  const Vm vm = NewVm(1);
  for (int count = 0;; ++count) {
    ViommuData data = {};
    auto arg = ViommuArg(vm, &data);
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
  arg.dev_id = vm.device.id;
  arg.data_type = uapi::kHwInfoTegra241Cmdqv;
  arg.data_len = sizeof(info);
  arg.data_uptr = reinterpret_cast<uint64_t>(&info);
  EXPECT_EQ(Call(vm.context, uapi::kIommuGetHwInfo, arg), 0);
  return info;
}

uint32_t KernelApiSuite::HwQueues(const Vm& vm) {
  return Has(Need::kCmdqv) ? 1U << CmdqvInfo(vm).log2vcmdqs : uapi::kMockHwQueues;
}

uapi::IommuHwInfoArmSmmuv3 KernelApiSuite::SmmuInfo(const Vm& vm) {
  uapi::IommuHwInfoArmSmmuv3 info = {};
  auto arg = Sized<uapi::IommuHwInfo>();
  arg.dev_id = vm.device.id;
  arg.data_len = sizeof(info);
  arg.data_uptr = reinterpret_cast<uint64_t>(&info);
  EXPECT_EQ(Call(vm.context, uapi::kIommuGetHwInfo, arg), 0);
  return info;
}

UniqueFd KernelApiSuite::NewMemory(uint64_t size) {
  UniqueFd fd(::memfd_create("conformance", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size)), 0);
  // The page allocator hands out neighbours in a row: first every other page, then those between.
  for (const uint64_t first : {uint64_t{0}, page()}) {
    for (uint64_t at = first; at < size; at += 2 * page()) {
      EXPECT_EQ(::pwrite(fd.get(), "", 1, static_cast<off_t>(at)), 1);
    }
  }
  return fd;
}

}  // namespace berth::conformance
