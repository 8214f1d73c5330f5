// SPDX-License-Identifier: Apache-2.0
//
// HWPT_ALLOC in full: every bit of a vSTE, fault queues, dirty tracking. Linux
// drivers/iommu/iommufd/{hw_pagetable,eventq}.c,
// drivers/iommu/arm/arm-smmu-v3/{arm-smmu-v3,arm-smmu-v3-iommufd}.c.
#include <poll.h>

#include <cerrno>

#include "tests/conformance/kernel_api_suite.h"

namespace berth::conformance {
namespace {

constexpr uint64_t kTranslate =
    uapi::kSte0Valid.Put(1) | uapi::kSte0Config.Put(uapi::kSteConfigS1Translate);

using Arg = uapi::IommuHwptAlloc;

}  // namespace

// arm-smmu-v3-iommufd.c, arm_smmu_validate_vste().
TEST_P(KernelApiSuite, EveryBitOfAVsteIsChecked) {
  BERTH_NEEDS(Need::kSmmu);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  // Config and EATS are numbers: below.
  const uint64_t numbers0 = uapi::kSte0Valid.mask() | uapi::kSte0Config.mask();
  const uint64_t numbers1 = uapi::kSte1Eats.mask();
  for (unsigned bit = 0; bit < 128; ++bit) {
    const unsigned word = bit / 64;
    const uint64_t mask = uint64_t{1} << bit % 64;
    if (((word == 0 ? numbers0 : numbers1) & mask) != 0) continue;
    uint64_t ste[2] = {kTranslate, 0};
    ste[word] |= mask;
    const bool allowed = ((word == 0 ? uapi::kSte0GuestMask : uapi::kSte1GuestMask) & mask) != 0;
    auto arg = NestedArg(vm, viommu, ste);
    EXPECT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, arg), allowed ? 0 : -EIO)
        << "dword " << word << " bit " << bit % 64;
    if (allowed) {
      EXPECT_EQ(Destroy(vm.context, arg.out_hwpt_id), 0);
    }
  }
}

// arm-smmu-v3-iommufd.c, arm_smmu_validate_vste().
TEST_P(KernelApiSuite, VsteConfigAndEatsHaveFewValues) {
  BERTH_NEEDS(Need::kSmmu);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  for (uint64_t config = 0; config < 8; ++config) {
    for (uint64_t eats = 0; eats < 4; ++eats) {
      const uint64_t ste[2] = {uapi::kSte0Valid.Put(1) | uapi::kSte0Config.Put(config),
                               uapi::kSte1Eats.Put(eats)};
      const bool valid = (config == 0 || config == 4 || config == 5) && eats < 2;
      auto arg = NestedArg(vm, viommu, ste);
      EXPECT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, arg), valid ? 0 : -EIO)
          << config << " " << eats;
    }
  }
  const uint64_t invalid[2] = {~uapi::kSte0Valid.mask(), ~uint64_t{0}};
  NewNested(vm, viommu, invalid);  // V = 0: nothing else is looked at
}

// include/linux/iommu.h, iommu_copy_struct_from_user(): type, length, memory; then the bits; arm-
// smmu-v3-iommufd.c, arm_vsmmu_alloc_domain_nested().
TEST_P(KernelApiSuite, VsteIsReadInOrder) {
  BERTH_NEEDS(Need::kSmmu);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  const uint64_t bad[4] = {kTranslate | 1ULL << 52, 0, 0, 0};
  auto valid = NestedArg(vm, viommu, uapi::kSteAbort);
  valid.data_uptr = reinterpret_cast<uint64_t>(bad);
  ExpectPrecedence<Arg>(
      vm.context, uapi::kIommuHwptAlloc, valid,
      {{"dirty tracking", [](Arg& a) { a.flags = uapi::kHwptAllocDirtyTracking; }, EOPNOTSUPP},
       {"another type", [](Arg& a) { a.data_type = 9; }, EINVAL},
       {"longer data", [](Arg& a) { a.data_len = 24; }, EINVAL},
       {"unreadable", [](Arg& a) { a.data_uptr = 8; }, EFAULT},
       {"the bits", [](Arg&) {}, EIO}});
  auto fault = NestedArg(vm, viommu, uapi::kSteAbort);
  fault.flags = uapi::kHwptAllocFaultIdValid;
  fault.fault_id = kStaleId;
  ExpectPrecedence<Arg>(
      vm.context, uapi::kIommuHwptAlloc, fault,
      {{"the bits", [&](Arg& a) { a.data_uptr = reinterpret_cast<uint64_t>(bad); }, EIO},
       {"no such fault queue", [](Arg&) {}, ENOENT}});
  auto pasid = NestedArg(vm, viommu, uapi::kSteAbort);
  pasid.flags = uapi::kHwptAllocPasid;
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, pasid), -EOPNOTSUPP) << "not by the driver";
  EXPECT_EQ(NewNested(vm, viommu, uapi::kSteAbort), viommu + 1) << "no refused call took an id";
}

// hw_pagetable.c, iommufd_hwpt_paging_alloc(); arm-smmu-v3.c,
// arm_smmu_domain_alloc_paging_flags().
TEST_P(KernelApiSuite, NestingParentIsNothingElse) {
  BERTH_NEEDS(Need::kSmmu);
  const Vm vm = NewVm();
  for (const uint32_t other :
       {uapi::kHwptAllocDirtyTracking, uapi::kHwptAllocFaultIdValid, uapi::kHwptAllocPasid}) {
    auto arg = PagingArg(vm, uapi::kHwptAllocNestParent | other);
    EXPECT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, arg), -EOPNOTSUPP) << other;
  }
  auto data = PagingArg(vm, 0);
  data.data_type = uapi::kHwptDataArmSmmuv3;
  data.data_len = sizeof(uapi::kSteAbort);
  data.data_uptr = reinterpret_cast<uint64_t>(uapi::kSteAbort);
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, data), -EOPNOTSUPP) << "no data for a parent";
  // A vIOMMU takes none but a nesting parent, and a parent has any number of vIOMMUs.
  NewPlainViommu(vm);
  NewPlainViommu(vm);
}

// eventq.c, iommufd_fault_alloc(), iommufd_fault_fops_read(), iommufd_eventq_fops_poll().
TEST_P(KernelApiSuite, FaultQueueIsAFile) {
  const Vm vm = NewVm();
  auto arg = Sized<uapi::IommuFaultAlloc>();
  arg.flags = 1;
  EXPECT_EQ(Call(vm.context, uapi::kIommuFaultQueueAlloc, arg), -EOPNOTSUPP);
  arg.flags = 0;
  ASSERT_EQ(Call(vm.context, uapi::kIommuFaultQueueAlloc, arg), 0);
  UniqueFd fd(arg.out_fault_fd);
  char buffer[80];
  EXPECT_EQ(kernel().ReadEvents(fd.get(), buffer, 40), 0);
  EXPECT_EQ(kernel().ReadEvents(fd.get(), buffer, 80), 0);
  EXPECT_EQ(kernel().ReadEvents(fd.get(), buffer, 0), 0);
  EXPECT_EQ(kernel().ReadEvents(fd.get(), buffer, 39), -ESPIPE) << "whole groups only";
  EXPECT_EQ(kernel().ReadEvents(fd.get(), buffer, 41), -ESPIPE);
  EXPECT_EQ(kernel().ReadRegion(fd.get(), buffer, 40, 0), -ESPIPE) << "it cannot be sought in";
  EXPECT_EQ(kernel().WriteRegion(fd.get(), buffer, 8, 0), -ESPIPE);
  pollfd poll = {fd.get(), POLLIN | POLLOUT, 0};
  EXPECT_EQ(::poll(&poll, 1, 0), 1);
  EXPECT_EQ(poll.revents, POLLOUT) << "responses are taken at any time";
  EXPECT_EQ(Destroy(vm.context, arg.out_fault_id), -EBUSY);
  fd.Reset();
  EXPECT_EQ(Destroy(vm.context, arg.out_fault_id), 0);
}

// hw_pagetable.c, iommufd_hwpt_alloc(): the fault queue is looked up when all else has succeeded.
TEST_P(KernelApiSuite, FaultIdIsLookedUpLast) {
  BERTH_NEEDS(Need::kViommus);
  const Vm vm = NewVm();
  auto fault = Sized<uapi::IommuFaultAlloc>();
  ASSERT_EQ(Call(vm.context, uapi::kIommuFaultQueueAlloc, fault), 0);
  UniqueFd fd(fault.out_fault_fd);
  const uint32_t viommu = NewViommu(vm);
  auto valid = NestedArg(vm, viommu);
  valid.flags = uapi::kHwptAllocFaultIdValid;
  valid.fault_id = fault.out_fault_id;
  ExpectPrecedence<Arg>(vm.context, uapi::kIommuHwptAlloc, valid,
                        {{"unreadable data", [](Arg& a) { a.data_uptr = 8; }, EFAULT},
                         {"no such queue", [](Arg& a) { a.fault_id = kStaleId; }, ENOENT}});
  auto other = valid;
  other.fault_id = vm.ioas;
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, other), -ENOENT) << "not a fault queue";
  ASSERT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, valid), 0);
  fd.Reset();
  EXPECT_EQ(Destroy(vm.context, fault.out_fault_id), -EBUSY) << "the HWPT has it";
  EXPECT_EQ(Destroy(vm.context, valid.out_hwpt_id), 0);
  EXPECT_EQ(Destroy(vm.context, fault.out_fault_id), 0);
  auto unused = NestedArg(vm, viommu);
  unused.fault_id = kStaleId;
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, unused), 0) << "not read without the flag";
}

// hw_pagetable.c, iommufd_hwpt_set_dirty_tracking(), iommufd_hwpt_get_dirty_bitmap();
// io_pagetable.c, iopt_set_dirty_tracking(), iommufd_check_iova_range(),
// iommu_read_and_clear_dirty(): the range is checked before the domain.
TEST_P(KernelApiSuite, DirtyTrackingChecksInOrder) {
  const Vm vm = NewVm();
  auto set = Sized<uapi::IommuHwptSetDirtyTracking>();
  set.hwpt_id = vm.parent;
  set.reserved = 1;  // not looked at
  using Set = uapi::IommuHwptSetDirtyTracking;
  ExpectPrecedence<Set>(vm.context, uapi::kIommuHwptSetDirtyTracking, set,
                        {{"unknown flag", [](Set& a) { a.flags = 2; }, EOPNOTSUPP},
                         {"no such HWPT", [](Set& a) { a.hwpt_id = kStaleId; }, ENOENT},
                         {"an IOAS", [&](Set& a) { a.hwpt_id = vm.ioas; }, ENOENT},
                         {"not tracking", [](Set&) {}, EOPNOTSUPP}});
  uint64_t bitmap = 0;
  auto get = Sized<uapi::IommuHwptGetDirtyBitmap>();
  get.hwpt_id = vm.parent;
  get.iova = kMemoryIova;
  get.length = page();
  get.page_size = page();
  get.data = reinterpret_cast<uint64_t>(&bitmap);
  using Get = uapi::IommuHwptGetDirtyBitmap;
  ExpectPrecedence<Get>(vm.context, uapi::kIommuHwptGetDirtyBitmap, get,
                        {{"unknown flag", [](Get& a) { a.flags = 2; }, EOPNOTSUPP},
                         {"reserved", [](Get& a) { a.reserved = 1; }, EOPNOTSUPP},
                         {"no such HWPT", [](Get& a) { a.hwpt_id = kStaleId; }, ENOENT},
                         {"empty", [](Get& a) { a.length = 0; }, EINVAL},
                         {"wraps", [](Get& a) { a.iova = UINT64_MAX - 1; }, EOVERFLOW},
                         {"iova not aligned", [](Get& a) { a.iova += 8; }, EINVAL},
                         {"length not aligned", [](Get& a) { a.length += 8; }, EINVAL},
                         {"page size 0", [](Get& a) { a.page_size = 0; }, EINVAL},
                         {"larger pages", [](Get& a) { a.page_size *= 2; }, EINVAL},
                         {"not tracking", [](Get&) {}, EOPNOTSUPP}});
}

}  // namespace berth::conformance
