// SPDX-License-Identifier: Apache-2.0
//
// RLIMIT_MEMLOCK. Linux drivers/iommu/iommufd/pages.c, iopt_alloc_pages(),
// iopt_pages_update_pinned(); ioas.c, iommufd_ioas_change_process().
#include <sys/mman.h>
#include <sys/resource.h>

#include <cerrno>

#include "tests/conformance/kernel_api_suite.h"

namespace berth::conformance {
namespace {

// Of this process, while it lives.
class MemlockLimit {
 public:
  explicit MemlockLimit(uint64_t bytes) {
    EXPECT_EQ(::getrlimit(RLIMIT_MEMLOCK, &before_), 0);
    const rlimit limit = {bytes, before_.rlim_max};
    EXPECT_EQ(::setrlimit(RLIMIT_MEMLOCK, &limit), 0) << "more than there may be";
  }
  ~MemlockLimit() { ::setrlimit(RLIMIT_MEMLOCK, &before_); }
  MemlockLimit(const MemlockLimit&) = delete;
  MemlockLimit& operator=(const MemlockLimit&) = delete;

 private:
  rlimit before_ = {};
};

// CHANGE_PROCESS as a child of this process calls it, with that limit.
int ChangeProcess(KernelApi* kernel, const UniqueFd& context, uint64_t limit) {
  return InAChild([&] {
    const MemlockLimit its_own(limit);
    auto arg = Sized<uapi::IommuIoasChangeProcess>();
    return kernel->Ioctl(context.get(), uapi::kIommuIoasChangeProcess, &arg);
  });
}

}  // namespace

// pages.c, incr_user_locked_vm(), of what is pinned for a domain: io_pagetable.c,
// iopt_fill_domains_pages(), after all checks of the range; iopt_table_add_domain() of HWPT_ALLOC
// and ATTACH.
TEST_P(KernelApiSuite, PinnedMemoryIsLimited) {
  BERTH_NEEDS(Need::kMemlockLimit);
  Vm vm = NewVm();
  const int fd = vm.memory.get();
  const MemlockLimit limit(4 * page());
  SetIpcLock(false);
  EXPECT_EQ(MapFile(vm.context, vm.ioas, fd, 5 * page(), kMemoryIova), -EEXIST);
  EXPECT_EQ(MapFile(vm.context, vm.ioas, fd, 5 * page(), kHoleIova), -ENOMEM);
  ASSERT_EQ(MapFile(vm.context, vm.ioas, fd, 3 * page(), kHoleIova), 0);
  EXPECT_EQ(MapFile(vm.context, vm.ioas, fd, 2 * page(), kHoleIova + kMemorySize), -ENOMEM);
  void* memory = ::mmap(nullptr, 2 * page(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto map = Sized<uapi::IommuIoasMap>();
  map.flags = uapi::kIoasMapFixedIova | uapi::kIoasMapReadable;
  map.ioas_id = vm.ioas;
  map.user_va = reinterpret_cast<uint64_t>(memory);
  map.length = 2 * page();
  map.iova = kHoleIova + kMemorySize;
  EXPECT_EQ(Call(vm.context, uapi::kIommuIoasMap, map), -ENOMEM);
  ::munmap(memory, 2 * page());
  EXPECT_EQ(Unmap(vm.context, vm.ioas, kHoleIova, 3 * page()), 0);

  vm.ioas = NewIoas(vm.context);
  ASSERT_EQ(MapFile(vm.context, vm.ioas, fd, 5 * page(), kHoleIova), 0) << "nothing is pinned yet";
  auto hwpt = PagingArg(vm, 0);
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, hwpt), -ENOMEM);
  EXPECT_EQ(Attach(vm, vm.ioas), -ENOMEM);
  EXPECT_EQ(Unmap(vm.context, vm.ioas, kHoleIova, 5 * page()), 0);
  ASSERT_EQ(MapFile(vm.context, vm.ioas, fd, 4 * page(), kHoleIova), 0);
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, hwpt), 0);
  EXPECT_EQ(Attach(vm, vm.ioas), 0) << "pinned once for all domains";
}

// ioas.c, iommufd_ioas_change_process(), charge_current(): all of it or nothing, to the limit of
// who calls.
TEST_P(KernelApiSuite, ChangeProcessStaysWithinTheLimit) {
  BERTH_NEEDS(Need::kMemlockLimit, Need::kSysResource);
  Vm vm;
  vm.context = NewContext();
  auto per_process = Sized<uapi::IommuOption>();
  per_process.option_id = uapi::kOptionRlimitMode;
  per_process.op = uapi::kOptionOpSet;
  per_process.val64 = 1;
  ASSERT_EQ(Call(vm.context, uapi::kIommuOption, per_process), 0);
  vm.device = AddDevice(vm.context, 0);
  vm.ioas = NewIoas(vm.context);
  vm.memory = NewMemory(kMemorySize);
  NewHwpt(vm, 0);
  const MemlockLimit limit(4 * page());
  SetIpcLock(false);
  const int fd = vm.memory.get();
  for (const uint64_t iova : {kHoleIova, kHoleIova + 2 * page()}) {
    ASSERT_EQ(MapFile(vm.context, vm.ioas, fd, 2 * page(), iova), 0);
  }
  EXPECT_EQ(ChangeProcess(&kernel(), vm.context, 3 * page()), -ENOMEM) << "enough for one of them";
  EXPECT_EQ(MapFile(vm.context, vm.ioas, fd, page(), kHoleIova + kMemorySize), -ENOMEM)
      << "still charged here";
  EXPECT_EQ(ChangeProcess(&kernel(), vm.context, 4 * page()), 0);
  EXPECT_EQ(MapFile(vm.context, vm.ioas, fd, 4 * page(), kHoleIova + kMemorySize), 0)
      << "charged there";
}

// ioas.c, need_charge_update(): another process is another payer, also where the user pays; the new
// charge comes before the old one goes.
TEST_P(KernelApiSuite, ChangeProcessChargesAUserTwiceForAMoment) {
  BERTH_NEEDS(Need::kMemlockLimit);
  const Vm vm = NewVm();
  const MemlockLimit limit(4 * page());
  SetIpcLock(false);
  const int fd = vm.memory.get();
  ASSERT_EQ(MapFile(vm.context, vm.ioas, fd, 4 * page(), kHoleIova), 0);
  auto here = Sized<uapi::IommuIoasChangeProcess>();
  EXPECT_EQ(Call(vm.context, uapi::kIommuIoasChangeProcess, here), 0) << "nothing changes";
  EXPECT_EQ(ChangeProcess(&kernel(), vm.context, 7 * page()), -ENOMEM);
  EXPECT_EQ(ChangeProcess(&kernel(), vm.context, 8 * page()), 0);
  EXPECT_EQ(MapFile(vm.context, vm.ioas, fd, page(), kHoleIova + kMemorySize), -ENOMEM)
      << "it is the same user";
}

// pages.c, decr_user_locked_vm(): so it is with an agent that comes back and takes over what the
// one before it has mapped.
TEST_P(KernelApiSuite, MappingsAreChargedWhenTheirProcessHasEnded) {
  BERTH_NEEDS(Need::kMemlockLimit);
  const Vm vm = NewVm();
  const MemlockLimit limit(4 * page());
  SetIpcLock(false);
  const int fd = vm.memory.get();
  ASSERT_EQ(InAChild([&] { return MapFile(vm.context, vm.ioas, fd, 4 * page(), kHoleIova); }), 0);
  const uint64_t other = kHoleIova + kMemorySize;
  EXPECT_EQ(MapFile(vm.context, vm.ioas, fd, page(), other), -ENOMEM) << "the user pays still";
  EXPECT_EQ(Unmap(vm.context, vm.ioas, kHoleIova, 4 * page()), 0);
  EXPECT_EQ(MapFile(vm.context, vm.ioas, fd, 5 * page(), other), -ENOMEM);
  EXPECT_EQ(MapFile(vm.context, vm.ioas, fd, 4 * page(), other), 0) << "and no more";
}

}  // namespace berth::conformance
