// SPDX-License-Identifier: Apache-2.0
//
// Address spaces and mappings of files. Linux drivers/iommu/iommufd/{ioas,io_pagetable,pages}.c.
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "tests/conformance/kernel_api_suite.h"

namespace berth::conformance {
namespace {

constexpr uint64_t kAll = UINT64_MAX;

// What is asked of the IOVAs of MAP and MAP_FILE, in that order. Where `reserved` begins nothing
// can be mapped, and below it a page is mapped.
template <typename Arg>
std::vector<Fault<Arg>> RangeFaults(uint64_t page, uint64_t reserved) {
  return {{"length not aligned", [](Arg& a) { a.length |= 8; }, EINVAL},
          {"iova not aligned", [](Arg& a) { a.iova |= 8; }, EINVAL},
          {"wraps",
           [=](Arg& a) {
             a.iova = kAll - page + 1;
             a.length = 2 * page;
           },
           EOVERFLOW},
          {"mapped and reserved",
           [=](Arg& a) {
             a.iova = reserved - page;
             a.length = 2 * page;
           },
           EINVAL},
          {"mapped", [](Arg& a) { a.iova = kMemoryIova; }, EEXIST}};
}

}  // namespace

// ioas.c, iommufd_ioas_map_file(); io_pagetable.c, iopt_map_file_pages(), iopt_check_iova().
TEST_P(KernelApiSuite, MapFileChecksInOrder) {
  const UniqueFd context = NewContext();
  const uint32_t ioas = NewIoas(context);
  const UniqueFd memory = NewMemory(kMemorySize);
  const auto valid = MapFileArg(ioas, memory.get());
  using Arg = uapi::IommuIoasMapFile;
  ExpectPrecedence<Arg>(
      context, uapi::kIommuIoasMapFile, valid,
      {{"unknown flag", [](Arg& a) { a.flags |= 8; }, EOPNOTSUPP},
       {"iova at the limit", [](Arg& a) { a.iova = kAll; }, EOVERFLOW},
       {"length at the limit", [](Arg& a) { a.length = kAll; }, EOVERFLOW},
       {"no access", [](Arg& a) { a.flags &= ~(uapi::kIoasMapReadable | uapi::kIoasMapWriteable); },
        EINVAL},
       {"no such IOAS", [](Arg& a) { a.ioas_id = kStaleId; }, ENOENT},
       {"empty", [](Arg& a) { a.length = 0; }, EINVAL},
       {"start wraps",
        [&](Arg& a) {
          a.start = kAll - 8;
          a.length = page();
        },
        EOVERFLOW},
       {"no such fd", [](Arg& a) { a.fd = -1; }, EBADF},
       {"too long for pages.c", [&](Arg& a) { a.length = kAll - page() + 1; }, EINVAL}});
  auto arg = valid;
  EXPECT_EQ(Call(context, uapi::kIommuIoasMapFile, arg), 0);
  EXPECT_EQ(arg.iova, kHoleIova);
  EXPECT_EQ(Call(context, uapi::kIommuIoasMapFile, arg), -EEXIST);
}

// io_pagetable.c, iopt_alloc_area_pages(), iopt_check_iova().
TEST_P(KernelApiSuite, FixedIovaIsChecked) {
  const Vm vm = NewVm();
  const int fd = vm.memory.get();
  EXPECT_EQ(MapFile(vm.context, vm.ioas, fd, page(), kHoleIova + 8), -EINVAL) << "not aligned";
  EXPECT_EQ(MapFile(vm.context, vm.ioas, fd, 0, kHoleIova), -EINVAL) << "empty";
  EXPECT_EQ(MapFile(vm.context, vm.ioas, fd, page(), kMemoryIova), -EEXIST);
  EXPECT_EQ(MapFile(vm.context, vm.ioas, fd, 2 * page(), kMemoryIova - page()), -EEXIST)
      << "overlaps from below";
  EXPECT_EQ(MapFile(vm.context, vm.ioas, fd, page(), kMemoryIova + kMemorySize), 0) << "beside";
  EXPECT_EQ(MapFile(vm.context, vm.ioas, fd, page(), kMemoryIova + kMemorySize), -EEXIST);
}

// pages.c, pin_memfd_pages(): memfd_pin_folios() refuses what is no memfd and what lies behind its
// end; iopt_area_fill_domain(): only for a domain.
TEST_P(KernelApiSuite, FileIsExaminedWhenPagesArePinned) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const UniqueFd pipe(ends[0]);
  const UniqueFd pipe_write(ends[1]);
  const UniqueFd memory = NewMemory(page());
  Vm vm = NewVm();
  EXPECT_EQ(MapFile(vm.context, vm.ioas, pipe.get(), page(), kHoleIova), -EINVAL);
  EXPECT_EQ(MapFile(vm.context, vm.ioas, memory.get(), 2 * page(), kHoleIova), -EINVAL)
      << "beyond the end of the file";
  EXPECT_EQ(MapFile(vm.context, vm.ioas, memory.get(), page(), kHoleIova), 0)
      << "nothing of the refused mappings is left";
  // Without a domain nobody looks; the first domain does.
  vm.ioas = NewIoas(vm.context);
  EXPECT_EQ(MapFile(vm.context, vm.ioas, pipe.get(), page(), kHoleIova), 0);
  auto arg = Sized<uapi::IommuHwptAlloc>();
  arg.dev_id = vm.device.id;
  arg.pt_id = vm.ioas;
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, arg), -EINVAL);
  EXPECT_EQ(Unmap(vm.context, vm.ioas, 0, kAll), 0);
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, arg), 0);
}

// pages.c, iopt_alloc_file_pages(): get_file().
TEST_P(KernelApiSuite, MappingOutlivesTheFd) {
  const UniqueFd context = NewContext();
  const uint32_t ioas = NewIoas(context);
  EXPECT_EQ(MapFile(context, ioas, NewMemory(page()).get(), page(), kHoleIova), 0);
  EXPECT_EQ(Unmap(context, ioas, kHoleIova, page()), 0);
}

// ioas.c, iommufd_ioas_unmap(); io_pagetable.c, iopt_unmap_iova_range(), iopt_unmap_all().
TEST_P(KernelApiSuite, UnmapTakesWholeMappingsOnly) {
  const UniqueFd context = NewContext();
  const uint32_t ioas = NewIoas(context);
  const UniqueFd memory = NewMemory(kMemorySize);
  for (const uint64_t iova : {kHoleIova, kHoleIova + 8 * page()}) {
    ASSERT_EQ(MapFile(context, ioas, memory.get(), 4 * page(), iova), 0);
  }
  EXPECT_EQ(Unmap(context, kStaleId, kAll, kAll - 1), -ENOENT) << "the IOAS is looked up first";
  EXPECT_EQ(Unmap(context, kStaleId, page(), 0), -ENOENT);
  EXPECT_EQ(Unmap(context, ioas, page(), kAll), -EOVERFLOW);
  EXPECT_EQ(Unmap(context, ioas, kAll, 0), -EOVERFLOW) << "the limits before an empty range";
  EXPECT_EQ(Unmap(context, ioas, kHoleIova, 0), -EINVAL);
  EXPECT_EQ(Unmap(context, ioas, kAll - page() + 1, 2 * page()), -EOVERFLOW) << "wraps";
  EXPECT_EQ(Unmap(context, ioas, kHoleIova - 4 * page(), 4 * page()), -ENOENT) << "nothing there";
  EXPECT_EQ(Unmap(context, ioas, kHoleIova, 2 * page()), -ENOENT) << "a part";
  auto arg = Sized<uapi::IommuIoasUnmap>();
  arg.ioas_id = ioas;
  arg.iova = kHoleIova - page();
  arg.length = 14 * page();
  EXPECT_EQ(Call(context, uapi::kIommuIoasUnmap, arg), 0) << "around both, with a hole";
  EXPECT_EQ(arg.length, 8 * page());
  arg.iova = 0;
  arg.length = kAll;
  EXPECT_EQ(Call(context, uapi::kIommuIoasUnmap, arg), 0) << "all of nothing";
  EXPECT_EQ(arg.length, 0U);
}

// io_pagetable.c, iopt_unmap_iova_range().
TEST_P(KernelApiSuite, UnmapKeepsWhatItDidBeforeTheError) {
  const UniqueFd context = NewContext();
  const uint32_t ioas = NewIoas(context);
  const UniqueFd memory = NewMemory(kMemorySize);
  ASSERT_EQ(MapFile(context, ioas, memory.get(), page(), kHoleIova), 0);
  ASSERT_EQ(MapFile(context, ioas, memory.get(), 4 * page(), kHoleIova + page()), 0);
  EXPECT_EQ(Unmap(context, ioas, kHoleIova, 2 * page()), -ENOENT);
  EXPECT_EQ(Unmap(context, ioas, kHoleIova, page()), -ENOENT) << "the first is gone";
  EXPECT_EQ(Unmap(context, ioas, kHoleIova + page(), 4 * page()), 0) << "the second is not";
}

// io_pagetable.c, iopt_unmap_iova_range(): num_locks.
TEST_P(KernelApiSuite, UnmapUnderAQueueIsEbusy) {
  BERTH_NEEDS(Need::kHwQueues);
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  const uint32_t queue = NewHwQueue(vm, viommu, 0);
  EXPECT_EQ(Unmap(vm.context, vm.ioas, kMemoryIova, kMemorySize), -EBUSY);
  EXPECT_EQ(Unmap(vm.context, vm.ioas, kMemoryIova, page()), -EBUSY) << "before containment";
  EXPECT_EQ(Destroy(vm.context, queue), 0);
  EXPECT_EQ(Unmap(vm.context, vm.ioas, kMemoryIova, kMemorySize), 0);
}

// arm-smmu-v3.c, arm_smmu_get_resv_regions(); io_pagetable.c,
// iopt_table_enforce_dev_resv_regions(), iopt_reserve_iova(); ioas.c, iommufd_ioas_iova_ranges().
TEST_P(KernelApiSuite, AttachedDeviceReservesTheMsiWindow) {
  BERTH_NEEDS(Need::kSmmu);
  const Vm vm = NewVm();
  const int fd = vm.memory.get();
  ASSERT_EQ(Attach(vm, vm.parent), 0);
  EXPECT_EQ(MapFile(vm.context, vm.ioas, fd, page(), uapi::kSwMsiBase), -EINVAL);
  EXPECT_EQ(MapFile(vm.context, vm.ioas, fd, 2 * page(), uapi::kSwMsiBase - page()), -EINVAL);

  uapi::IommuIovaRange ranges[16] = {};
  auto arg = Sized<uapi::IommuIoasIovaRanges>();
  arg.ioas_id = vm.ioas;
  arg.allowed_iovas = reinterpret_cast<uint64_t>(ranges);
  EXPECT_EQ(Call(vm.context, uapi::kIommuIoasIovaRanges, arg), -EMSGSIZE);
  const uint32_t count = arg.num_iovas;
  ASSERT_GE(count, 2U) << "how many there are is said with EMSGSIZE too";
  ASSERT_LE(count, 16U);
  EXPECT_EQ(Call(vm.context, uapi::kIommuIoasIovaRanges, arg), 0);
  EXPECT_EQ(arg.num_iovas, count);
  EXPECT_EQ(arg.out_iova_alignment, page());
  for (uint32_t i = 0; i < count; ++i) {
    EXPECT_TRUE(ranges[i].last < uapi::kSwMsiBase ||
                ranges[i].start >= uapi::kSwMsiBase + uapi::kSwMsiLength);
  }

  EXPECT_EQ(Detach(vm), 0);
  EXPECT_EQ(MapFile(vm.context, vm.ioas, fd, page(), uapi::kSwMsiBase), 0);
  EXPECT_EQ(Attach(vm, vm.parent), -EADDRINUSE) << "a mapping is in the way";
}

// io_pagetable.c, iopt_alloc_area_pages(), iopt_check_iova(): the length, then the IOVA's
// alignment, whether the range wraps, what is reserved, what is mapped.
TEST_P(KernelApiSuite, RangeOfAMappingIsCheckedInOrder) {
  const Vm vm = NewVm();
  ASSERT_EQ(Attach(vm, vm.parent), 0);
  const uint64_t reserved = ReservedIova(machine());
  ASSERT_EQ(MapFile(vm.context, vm.ioas, vm.memory.get(), page(), reserved - page()), 0);
  ExpectPrecedence<uapi::IommuIoasMapFile>(vm.context, uapi::kIommuIoasMapFile,
                                           MapFileArg(vm.ioas, vm.memory.get()),
                                           RangeFaults<uapi::IommuIoasMapFile>(page(), reserved));

  void* memory =
      ::mmap(nullptr, 2 * page(), PROT_READ | PROT_WRITE, MAP_SHARED, vm.memory.get(), 0);
  ASSERT_NE(memory, MAP_FAILED);
  using Arg = uapi::IommuIoasMap;
  auto map = Sized<Arg>();
  map.flags = uapi::kIoasMapFixedIova | uapi::kIoasMapReadable;
  map.ioas_id = vm.ioas;
  map.user_va = reinterpret_cast<uint64_t>(memory);
  map.length = page();
  map.iova = kHoleIova;
  // io_pagetable.c, iopt_map_user_pages(); pages.c, iopt_alloc_user_pages(), iopt_alloc_pages().
  std::vector<Fault<Arg>> faults = {{"no such IOAS", [](Arg& a) { a.ioas_id = kStaleId; }, ENOENT},
                                    {"user_va wraps",
                                     [&](Arg& a) {
                                       a.user_va = kAll - 8;
                                       a.length = page();
                                     },
                                     EOVERFLOW},
                                    {"empty", [](Arg& a) { a.length = 0; }, EINVAL}};
  for (const Fault<Arg>& fault : RangeFaults<Arg>(page(), reserved)) faults.push_back(fault);
  ExpectPrecedence<Arg>(vm.context, uapi::kIommuIoasMap, map, faults);
  ::munmap(memory, 2 * page());
}

}  // namespace berth::conformance
