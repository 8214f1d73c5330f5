// SPDX-License-Identifier: Apache-2.0
//
// OPTION, VFIO_IOAS, CHANGE_PROCESS and the requests of the VFIO container. Linux
// drivers/iommu/iommufd/{main,ioas,vfio_compat}.c.
#include <sys/mman.h>

#include <cerrno>

#include "tests/conformance/kernel_api_suite.h"

namespace berth::conformance {
namespace {

using Arg = uapi::IommuOption;

Arg OptionArg(uint32_t option, uint16_t op, uint32_t object, uint64_t value) {
  auto arg = Sized<Arg>();
  arg.option_id = option;
  arg.op = op;
  arg.object_id = object;
  arg.val64 = value;
  return arg;
}

// In the order of their checks, with what a wrong value gives.
std::vector<Fault<Arg>> RlimitModeFaults(int value_error) {
  return {{"reserved", [](Arg& a) { a.reserved = 1; }, EOPNOTSUPP},
          {"unknown option", [](Arg& a) { a.option_id = 2; }, EOPNOTSUPP},
          {"an object", [](Arg& a) { a.object_id = 1; }, EOPNOTSUPP},
          {"unknown op", [](Arg& a) { a.op = 2; }, EOPNOTSUPP},
          {"value", [](Arg& a) { a.val64 = 2; }, value_error}};
}

}  // namespace

// main.c, iommufd_option(); ioas.c, iommufd_option_rlimit_mode().
TEST_P(KernelApiSuite, RlimitModeChecksInOrder) {
  BERTH_NEEDS(Need::kSysResource);
  const UniqueFd context = NewContext();
  auto get = OptionArg(uapi::kOptionRlimitMode, uapi::kOptionOpGet, 0, 7);
  EXPECT_EQ(Call(context, uapi::kIommuOption, get), 0);
  EXPECT_EQ(get.val64, 0U);
  auto set = OptionArg(uapi::kOptionRlimitMode, uapi::kOptionOpSet, 0, 1);
  ASSERT_EQ(Call(context, uapi::kIommuOption, set), 0);
  EXPECT_EQ(Call(context, uapi::kIommuOption, get), 0);
  EXPECT_EQ(get.val64, 1U);
  ExpectPrecedence<Arg>(context, uapi::kIommuOption, set, RlimitModeFaults(EINVAL));
  const uint32_t ioas = NewIoas(context);
  set.val64 = 2;
  EXPECT_EQ(Call(context, uapi::kIommuOption, set), -EBUSY) << "objects, before the value";
  EXPECT_EQ(Destroy(context, ioas), 0);
  set.val64 = 0;
  EXPECT_EQ(Call(context, uapi::kIommuOption, set), 0);
}

// ioas.c, iommufd_option_rlimit_mode(): capable(CAP_SYS_RESOURCE), for SET alone.
TEST_P(KernelApiSuite, RlimitModeIsSetByTheCapable) {
  BERTH_NEEDS(Need::kNoSysResource);
  const UniqueFd context = NewContext();
  auto get = OptionArg(uapi::kOptionRlimitMode, uapi::kOptionOpGet, 0, 7);
  EXPECT_EQ(Call(context, uapi::kIommuOption, get), 0);
  EXPECT_EQ(get.val64, 0U);
  auto set = OptionArg(uapi::kOptionRlimitMode, uapi::kOptionOpSet, 0, 1);
  EXPECT_EQ(Call(context, uapi::kIommuOption, set), -EPERM);
  ExpectPrecedence<Arg>(context, uapi::kIommuOption, set, RlimitModeFaults(EPERM));
  NewIoas(context);
  EXPECT_EQ(Call(context, uapi::kIommuOption, set), -EPERM) << "before the objects";
}

// ioas.c, iommufd_option_rlimit_mode(): xa_empty(), for which a reserved entry is one.
TEST_P(KernelApiSuite, RlimitModeCountsTombstones) {
  BERTH_NEEDS(Need::kCdevs, Need::kViommus, Need::kSysResource);
  Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  NewVdevice(vm, viommu, 1);
  EXPECT_EQ(Close(vm), 0);
  for (const uint32_t id : {viommu, vm.parent, vm.ioas}) EXPECT_EQ(Destroy(vm.context, id), 0);
  auto set = OptionArg(uapi::kOptionRlimitMode, uapi::kOptionOpSet, 0, 0);
  EXPECT_EQ(Call(vm.context, uapi::kIommuOption, set), -EBUSY);
}

// ioas.c, iommufd_ioas_option(), iommufd_ioas_option_huge_pages(); io_pagetable.c,
// iopt_disable_large_pages().
TEST_P(KernelApiSuite, HugePagesChecksInOrder) {
  const Vm vm = NewVm();
  ExpectPrecedence<Arg>(vm.context, uapi::kIommuOption,
                        OptionArg(uapi::kOptionHugePages, uapi::kOptionOpSet, vm.ioas, 0),
                        {{"reserved", [](Arg& a) { a.reserved = 1; }, EOPNOTSUPP},
                         {"unknown option", [](Arg& a) { a.option_id = 2; }, EOPNOTSUPP},
                         {"no such IOAS", [](Arg& a) { a.object_id = kStaleId; }, ENOENT},
                         {"unknown op", [](Arg& a) { a.op = 2; }, EOPNOTSUPP},
                         {"value", [](Arg& a) { a.val64 = 2; }, EINVAL},
                         {"a domain has mapped", [](Arg&) {}, EINVAL}});
  auto get = OptionArg(uapi::kOptionHugePages, uapi::kOptionOpGet, vm.ioas, 7);
  EXPECT_EQ(Call(vm.context, uapi::kIommuOption, get), 0);
  EXPECT_EQ(get.val64, 1U);
  EXPECT_EQ(Unmap(vm.context, vm.ioas, 0, UINT64_MAX), 0);
  auto set = OptionArg(uapi::kOptionHugePages, uapi::kOptionOpSet, vm.ioas, 0);
  EXPECT_EQ(Call(vm.context, uapi::kIommuOption, set), 0);
  EXPECT_EQ(Call(vm.context, uapi::kIommuOption, get), 0);
  EXPECT_EQ(get.val64, 0U);
}

// io_pagetable.c, iopt_check_iova_alignment(): without a domain a mapping may begin anywhere; then
// it is in the way of whatever needs pages.
TEST_P(KernelApiSuite, UnalignedMappingIsInTheWay) {
  Vm vm = NewVm();
  vm.ioas = NewIoas(vm.context);
  const uint64_t half = IoPageSize(machine()) / 2;
  auto map = MapFileArg(vm.ioas, vm.memory.get());
  map.length = half;
  ASSERT_EQ(Call(vm.context, uapi::kIommuIoasMapFile, map), 0);
  auto set = OptionArg(uapi::kOptionHugePages, uapi::kOptionOpSet, vm.ioas, 0);
  EXPECT_EQ(Call(vm.context, uapi::kIommuOption, set), -EADDRINUSE);
  auto hwpt = PagingArg(vm, 0);
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, hwpt), -EADDRINUSE);
  EXPECT_EQ(Unmap(vm.context, vm.ioas, kHoleIova, half), 0);
  EXPECT_EQ(Call(vm.context, uapi::kIommuOption, set), 0);
  map.iova += half;
  map.length = page();
  EXPECT_EQ(Call(vm.context, uapi::kIommuIoasMapFile, map), -EINVAL) << "pages only, from now on";
}

// vfio_compat.c, iommufd_vfio_ioas(); main.c, iommufd_object_remove(): vfio_ioas.
TEST_P(KernelApiSuite, ContextRemembersOneVfioIoas) {
  const UniqueFd context = NewContext();
  const uint32_t ioas = NewIoas(context);
  auto arg = Sized<uapi::IommuVfioIoas>();
  arg.ioas_id = ioas;
  arg.op = uapi::kVfioIoasGet;
  EXPECT_EQ(Call(context, uapi::kIommuVfioIoas, arg), -ENODEV);
  using Vfio = uapi::IommuVfioIoas;
  auto set = arg;
  set.op = uapi::kVfioIoasSet;
  ExpectPrecedence<Vfio>(context, uapi::kIommuVfioIoas, set,
                         {{"reserved", [](Vfio& a) { a.reserved = 1; }, EOPNOTSUPP},
                          {"unknown op", [](Vfio& a) { a.op = 3; }, EOPNOTSUPP},
                          {"no such IOAS", [](Vfio& a) { a.ioas_id = kStaleId; }, ENOENT}});
  EXPECT_EQ(Call(context, uapi::kIommuVfioIoas, set), 0);
  arg.ioas_id = 0;
  EXPECT_EQ(Call(context, uapi::kIommuVfioIoas, arg), 0);
  EXPECT_EQ(arg.ioas_id, ioas);
  EXPECT_EQ(Destroy(context, ioas), 0) << "that does not pin it";
  EXPECT_EQ(Call(context, uapi::kIommuVfioIoas, arg), -ENODEV);
}

// ioas.c, iommufd_ioas_change_process(), need_charge_update(): files can change hands, addresses
// cannot.
TEST_P(KernelApiSuite, OnlyFilesCanChangeProcess) {
  const Vm vm = NewVm();
  auto arg = Sized<uapi::IommuIoasChangeProcess>();
  EXPECT_EQ(Call(vm.context, uapi::kIommuIoasChangeProcess, arg), 0);
  void* memory = ::mmap(nullptr, page(), PROT_READ | PROT_WRITE, MAP_SHARED, vm.memory.get(), 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto map = Sized<uapi::IommuIoasMap>();
  map.flags = uapi::kIoasMapFixedIova | uapi::kIoasMapReadable;
  map.ioas_id = NewIoas(vm.context);
  map.user_va = reinterpret_cast<uint64_t>(memory);
  map.length = page();
  map.iova = kHoleIova;
  ASSERT_EQ(Call(vm.context, uapi::kIommuIoasMap, map), 0);
  EXPECT_EQ(Call(vm.context, uapi::kIommuIoasChangeProcess, arg), -EINVAL) << "in any IOAS";
  arg.reserved = 1;
  EXPECT_EQ(Call(vm.context, uapi::kIommuIoasChangeProcess, arg), -EOPNOTSUPP);
  EXPECT_EQ(Unmap(vm.context, map.ioas_id, kHoleIova, page()), 0);
  arg.reserved = 0;
  EXPECT_EQ(Call(vm.context, uapi::kIommuIoasChangeProcess, arg), 0);
  ::munmap(memory, page());
}

// vfio_compat.c, iommufd_vfio_ioctl(): answered without CONFIG_IOMMUFD_VFIO_CONTAINER too.
TEST_P(KernelApiSuite, VfioContainerNumbersAnswer) {
  const UniqueFd context = NewContext();
  uint64_t arg[8] = {};
  EXPECT_EQ(Call(context, 0x3b64, arg), 0) << "VFIO_GET_API_VERSION";
  EXPECT_EQ(Call(context, 0x3b65, arg), 0) << "VFIO_CHECK_EXTENSION";
  EXPECT_EQ(Call(context, 0x3b66, arg), -EINVAL) << "VFIO_SET_IOMMU";
}

}  // namespace berth::conformance
