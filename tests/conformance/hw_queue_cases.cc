// SPDX-License-Identifier: Apache-2.0
//
// HW queues. Linux drivers/iommu/iommufd/viommu.c,
// drivers/iommu/arm/arm-smmu-v3/tegra241-cmdqv.c.
#include <cerrno>

#include "tests/conformance/kernel_api_suite.h"

namespace berth::conformance {

using Arg = uapi::IommuHwQueueAlloc;

// viommu.c, iommufd_hw_queue_alloc_ioctl(), iommufd_hw_queue_alloc_phys().
TEST_P(KernelApiSuite, HwQueueAllocChecksInOrder) {
  BERTH_NEEDS(Need::kHwQueues);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  // One page twice: two pages of a file may happen to lie in a row.
  const uint64_t twice = kHoleIova + 0x100000;
  for (const uint64_t iova : {twice, twice + page()}) {
    ASSERT_EQ(MapFile(vm.context, vm.ioas, vm.memory.get(), page(), iova), 0);
  }
  std::vector<Fault<Arg>> faults = {
      {"flags", [](Arg& a) { a.flags = 1; }, EOPNOTSUPP},
      {"type 0", [](Arg& a) { a.type = uapi::kHwQueueTypeDefault; }, EOPNOTSUPP},
      {"length 0", [](Arg& a) { a.length = 0; }, EINVAL},
      {"wraps", [](Arg& a) { a.nesting_parent_iova = UINT64_MAX - 10; }, EOVERFLOW},
      {"no such vIOMMU", [](Arg& a) { a.viommu_id = kStaleId; }, ENOENT},
      {"unknown type", [](Arg& a) { a.type = 9; }, EOPNOTSUPP},
      {"not mapped", [](Arg& a) { a.nesting_parent_iova = kHoleIova; }, ENOENT},
      {"not contiguous",
       [&](Arg& a) {
         a.nesting_parent_iova = twice;
         a.length = 2 * page();
       },
       EFAULT},
      {"no such index", [](Arg& a) { a.index = 1000; }, EINVAL}};
  if (Has(Need::kPlainViommus)) {
    const uint32_t plain = NewPlainViommu(vm);
    const auto lacks_queues = [plain](Arg& a) { a.viommu_id = plain; };
    faults.insert(faults.begin() + 5, {"a vIOMMU without queues", lacks_queues, EOPNOTSUPP});
  }
  ExpectPrecedence<Arg>(vm.context, uapi::kIommuHwQueueAlloc, HwQueueArg(viommu, 0), faults);
  auto valid = HwQueueArg(viommu, 0);
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwQueueAlloc, valid), 0);
}

// device.c, check_area_prot(), of iommufd_access_pin_pages(): from the lowest page on, all before
// viommu.c, iommufd_hw_queue_alloc_phys() looks whether they lie in a row.
TEST_P(KernelApiSuite, HwQueueMemoryIsReadable) {
  BERTH_NEEDS(Need::kHwQueues);
  const Vm vm = NewVm();
  auto map = MapFileArg(vm.ioas, vm.memory.get());
  map.flags = uapi::kIoasMapFixedIova | uapi::kIoasMapWriteable;
  map.length = 2 * page();
  ASSERT_EQ(Call(vm.context, uapi::kIommuIoasMapFile, map), 0);
  auto arg = HwQueueArg(NewViommu(vm), 0);
  arg.nesting_parent_iova = kHoleIova;
  ExpectPrecedence<Arg>(vm.context, uapi::kIommuHwQueueAlloc, arg,
                        {{"no such vIOMMU", [](Arg& a) { a.viommu_id = kStaleId; }, ENOENT},
                         {"a hole before it",
                          [&](Arg& a) {
                            a.nesting_parent_iova = kHoleIova - page();
                            a.length = 2 * page();
                          },
                          ENOENT},
                         {"a hole behind it", [&](Arg& a) { a.length = 4 * page(); }, EPERM},
                         {"not contiguous", [&](Arg& a) { a.length = 2 * page(); }, EPERM},
                         {"no such index", [](Arg& a) { a.index = 1000; }, EPERM}});
}

// tegra241-cmdqv.c, tegra241_vintf_alloc_lvcmdq_user(); selftest.c, mock_hw_queue_init_phys();
// driver.c, _iommufd_object_depend().
TEST_P(KernelApiSuite, HwQueuesAreAllocatedUpwardAndFreedDownward) {
  BERTH_NEEDS(Need::kHwQueues);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  const uint32_t queues = HwQueues(vm);
  auto arg = HwQueueArg(viommu, 1);
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwQueueAlloc, arg), -EIO) << "0 is missing";
  arg.length = 48;
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwQueueAlloc, arg), -EIO) << "before the length";
  arg = HwQueueArg(viommu, queues);
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwQueueAlloc, arg), -EINVAL) << "before the order";

  std::vector<uint32_t> ids;
  for (uint32_t i = 0; i < queues; ++i) ids.push_back(NewHwQueue(vm, viommu, i));
  arg = HwQueueArg(viommu, 0);
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwQueueAlloc, arg), -EEXIST);
  for (uint32_t i = queues; i-- > 0;) {
    if (i > 0) {
      EXPECT_EQ(Destroy(vm.context, ids[i - 1]), -EBUSY) << "a higher one is there";
    }
    EXPECT_EQ(Destroy(vm.context, ids[i]), 0);
  }
  NewHwQueue(vm, viommu, 0);
}

// tegra241-cmdqv.c, tegra241_vintf_alloc_lvcmdq_user().
TEST_P(KernelApiSuite, HwQueueLengthIsAPowerOfTwoAndAligned) {
  BERTH_NEEDS(Need::kCmdqv);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  for (const uint64_t length : {1UL, 16UL, 31UL, 33UL, 48UL, 4095UL}) {
    auto arg = HwQueueArg(viommu, 0);
    arg.length = length;
    EXPECT_EQ(Call(vm.context, uapi::kIommuHwQueueAlloc, arg), -EINVAL) << length;
  }
  auto arg = HwQueueArg(viommu, 0);
  arg.length = 2048;
  arg.nesting_parent_iova = kMemoryIova + 1024;
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwQueueAlloc, arg), -EINVAL) << "not aligned to it";
  arg.nesting_parent_iova = kMemoryIova + 2048;
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwQueueAlloc, arg), 0);
  auto smallest = HwQueueArg(viommu, 1);
  smallest.nesting_parent_iova = kMemoryIova + 32;
  smallest.length = uapi::kMinHwQueueLength;
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwQueueAlloc, smallest), 0);
}

// viommu.c, iommufd_hw_queue_alloc_phys(); device.c, iommufd_access_create_internal().
TEST_P(KernelApiSuite, HwQueueTakesTwoIds) {
  BERTH_NEEDS(Need::kHwQueues);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  const uint32_t queue = NewHwQueue(vm, viommu, 0);
  EXPECT_EQ(queue, viommu + 1);
  EXPECT_EQ(Destroy(vm.context, queue + 1), -EBUSY) << "its access to the IOAS";
  EXPECT_EQ(NewIoas(vm.context), queue + 2);
  EXPECT_EQ(Destroy(vm.context, queue), 0);
  EXPECT_EQ(NewIoas(vm.context), queue);
  EXPECT_EQ(NewIoas(vm.context), queue + 1);
}

// viommu.c, iommufd_hw_queue_alloc_ioctl(); main.c, iommufd_object_abort_and_destroy().
TEST_P(KernelApiSuite, FailedHwQueueLeavesNothing) {
  BERTH_NEEDS(Need::kHwQueues);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  auto arg = HwQueueArg(viommu, 0);
  arg.index = 1000;
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwQueueAlloc, arg), -EINVAL);
  EXPECT_EQ(Unmap(vm.context, vm.ioas, kMemoryIova, kMemorySize), 0) << "no page is pinned";
  EXPECT_EQ(NewIoas(vm.context), viommu + 1) << "both ids are free";
  EXPECT_EQ(Destroy(vm.context, viommu), 0);
}

// viommu.c, iommufd_hw_queue_alloc_phys(): sizes that no memory has, before it is looked for.
TEST_P(KernelApiSuite, HwQueueSizeIsCheckedBeforeItsMemory) {
  BERTH_NEEDS(Need::kHwQueues);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  auto arg = HwQueueArg(viommu, 0);
  arg.nesting_parent_iova = 0;
  arg.length = UINT64_MAX;
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwQueueAlloc, arg), -ERANGE) << "wraps when rounded up";
  arg.nesting_parent_iova = page() - 1;
  arg.length = UINT64_MAX - page() + 2;
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwQueueAlloc, arg), -ERANGE) << "with the page's offset";
  arg.nesting_parent_iova = kHoleIova;
  arg.length = page() << 28;
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwQueueAlloc, arg), -ENOMEM) << "too many pages";
  arg.length = uint64_t{1} << 20;
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwQueueAlloc, arg), -ENOENT);
  arg.nesting_parent_iova = kMemoryIova + kMemorySize - page();
  arg.length = 2 * page();
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwQueueAlloc, arg), -ENOENT) << "beyond the mapping";
  const auto whole = [](Arg& a) {
    a.nesting_parent_iova = 0;
    a.length = UINT64_MAX;
  };
  ExpectPrecedence<Arg>(
      vm.context, uapi::kIommuHwQueueAlloc, HwQueueArg(viommu, 0),
      {{"no such vIOMMU", [](Arg& a) { a.viommu_id = kStaleId; }, ENOENT},
       {"unknown type", [](Arg& a) { a.type = 9; }, EOPNOTSUPP},
       {"wraps when rounded up", whole, ERANGE},
       {"too many pages", [&](Arg& a) { a.length = page() << 28; }, ENOMEM},
       {"not mapped", [](Arg& a) { a.nesting_parent_iova = kHoleIova; }, ENOENT}});
}

// tegra241-cmdqv.c, tegra241_vintf_alloc_lvcmdq_user(): 2^(IDR1.CMDQS + 4) bytes at most.
TEST_P(KernelApiSuite, HwQueueIsNoLongerThanTheSmmuAllows) {
  BERTH_NEEDS(Need::kCmdqv);
  const Vm vm = NewVm();
  const uint64_t most = uint64_t{16} << uapi::kIdr1Cmdqs.Get(SmmuInfo(vm).idr[1]);
  if (2 * most > page()) GTEST_SKIP() << "needs an SMMU whose longest queue is less than a page";
  const uint32_t viommu = NewViommu(vm);
  auto arg = HwQueueArg(viommu, 0);
  arg.length = 2 * most;
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwQueueAlloc, arg), -EINVAL);
  arg.index = 1;
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwQueueAlloc, arg), -EIO) << "before the length";
  arg.index = 0;
  arg.length = most;
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwQueueAlloc, arg), 0);
}

// viommu.c, iommufd_hw_queue_alloc_phys(): its access to the IOAS comes before the pages; device.c,
// iommufd_access_attach_internal(); io_pagetable.c, iopt_add_access(),
// iopt_check_iova_alignment(): an access needs whole pages of the kernel.
TEST_P(KernelApiSuite, HwQueueNeedsAnIoasOfWholePages) {
  BERTH_NEEDS(Need::kHwQueues, Need::kSmallIoPages);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  auto map = MapFileArg(vm.ioas, vm.memory.get());
  map.length = IoPageSize(machine());
  ASSERT_EQ(Call(vm.context, uapi::kIommuIoasMapFile, map), 0) << "the mock maps half pages";
  ExpectPrecedence<Arg>(
      vm.context, uapi::kIommuHwQueueAlloc, HwQueueArg(viommu, 0),
      {{"unknown type", [](Arg& a) { a.type = 9; }, EOPNOTSUPP},
       {"too many pages", [&](Arg& a) { a.length = page() << 28; }, ENOMEM},
       {"half a page is mapped", [](Arg&) {}, EADDRINUSE},
       {"not mapped", [](Arg& a) { a.nesting_parent_iova = kHoleIova + 0x100000; }, EADDRINUSE},
       {"no such index", [](Arg& a) { a.index = 1000; }, EADDRINUSE}});
  EXPECT_EQ(NewIoas(vm.context), viommu + 1) << "nothing is left of it";
  EXPECT_EQ(Unmap(vm.context, vm.ioas, map.iova, map.length), 0);
  auto valid = HwQueueArg(viommu, 0);
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwQueueAlloc, valid), 0);
  map.iova += map.length;
  EXPECT_EQ(Call(vm.context, uapi::kIommuIoasMapFile, map), -EINVAL) << "whole pages, from now on";
}

// tegra241-cmdqv.c, tegra241_vintf_alloc_lvcmdq_user(): index, order, length, address.
TEST_P(KernelApiSuite, HwQueueIndexIsCheckedAfterTheMemory) {
  BERTH_NEEDS(Need::kCmdqv);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  NewHwQueue(vm, viommu, 0);
  auto misaligned = HwQueueArg(viommu, 1);
  misaligned.nesting_parent_iova = kMemoryIova + 1024;
  misaligned.length = 2048;
  ExpectPrecedence<Arg>(vm.context, uapi::kIommuHwQueueAlloc, misaligned,
                        {{"not mapped", [](Arg& a) { a.nesting_parent_iova = kHoleIova; }, ENOENT},
                         {"no such index", [](Arg& a) { a.index = 1000; }, EINVAL},
                         {"taken", [](Arg& a) { a.index = 0; }, EEXIST},
                         {"length", [](Arg& a) { a.length = 48; }, EINVAL},
                         {"address", [](Arg&) {}, EINVAL}});
}

// pages.c, iopt_area_add_access(): each queue locks what it lies in; io_pagetable.c,
// iopt_unmap_iova_range(): num_locks.
TEST_P(KernelApiSuite, MemoryOfTwoQueuesIsPinnedTwice) {
  BERTH_NEEDS(Need::kHwQueues);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  const uint32_t first = NewHwQueue(vm, viommu, 0);
  const uint32_t second = NewHwQueue(vm, viommu, 1);
  EXPECT_EQ(Unmap(vm.context, vm.ioas, 0, UINT64_MAX), -EBUSY);
  EXPECT_EQ(Destroy(vm.context, second), 0);
  EXPECT_EQ(Unmap(vm.context, vm.ioas, kMemoryIova, kMemorySize), -EBUSY);
  EXPECT_EQ(MapFile(vm.context, vm.ioas, vm.memory.get(), page(), kHoleIova), 0);
  EXPECT_EQ(Unmap(vm.context, vm.ioas, kHoleIova, page()), 0) << "beside it one can";
  EXPECT_EQ(Destroy(vm.context, first), 0);
  EXPECT_EQ(Unmap(vm.context, vm.ioas, kMemoryIova, kMemorySize), 0);
}

// viommu.c, iommufd_hw_queue_alloc_ioctl(): queues belong to the vIOMMU, not to a device.
TEST_P(KernelApiSuite, QueuesOutliveTheDevice) {
  BERTH_NEEDS(Need::kHwQueues);
  Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  const uint32_t first = NewHwQueue(vm, viommu, 0);
  EXPECT_EQ(Close(vm), 0);
  const uint32_t second = NewHwQueue(vm, viommu, 1);
  EXPECT_EQ(Destroy(vm.context, first), -EBUSY);
  EXPECT_EQ(Destroy(vm.context, second), 0);
  EXPECT_EQ(Destroy(vm.context, first), 0);
  EXPECT_EQ(Destroy(vm.context, viommu), 0);
}

// tegra241-cmdqv.c, tegra241_vintf_alloc_lvcmdq_user(); selftest.c, mock_hw_queue_init_phys().
TEST_P(KernelApiSuite, EveryViommuHasItsOwnQueues) {
  BERTH_NEEDS(Need::kHwQueues);
  const Vm vm = NewVm();
  const uint32_t first = NewViommu(vm);
  const uint32_t second = NewViommu(vm);
  NewHwQueue(vm, first, 0);
  auto arg = HwQueueArg(second, 1);
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwQueueAlloc, arg), -EIO) << "0 is the other one's";
  NewHwQueue(vm, second, 0);
}

}  // namespace berth::conformance
