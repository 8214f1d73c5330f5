// SPDX-License-Identifier: Apache-2.0
//
// IOVAs that the kernel chooses, ranges, and mappings from one address space into another. Linux
// drivers/iommu/iommufd/{ioas,io_pagetable}.c.
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "tests/conformance/kernel_api_suite.h"

namespace berth::conformance {
namespace {

constexpr uint64_t kAll = UINT64_MAX;

uapi::IommuIoasAllowIovas AllowArg(uint32_t ioas, const std::vector<uapi::IommuIovaRange>& ranges) {
  auto arg = Sized<uapi::IommuIoasAllowIovas>();
  arg.ioas_id = ioas;
  arg.num_iovas = static_cast<uint32_t>(ranges.size());
  arg.allowed_iovas = reinterpret_cast<uint64_t>(ranges.data());
  return arg;
}

// Of a page.
uapi::IommuIoasCopy CopyArg(uint32_t from, uint32_t to, uint64_t page) {
  auto arg = Sized<uapi::IommuIoasCopy>();
  arg.flags = uapi::kIoasMapFixedIova | uapi::kIoasMapReadable;
  arg.src_ioas_id = from;
  arg.dst_ioas_id = to;
  arg.length = page;
  arg.src_iova = kMemoryIova;
  arg.dst_iova = kHoleIova;
  return arg;
}

}  // namespace

// ioas.c, iommufd_ioas_iova_ranges().
TEST_P(KernelApiSuite, IovaRangesChecksInOrder) {
  const UniqueFd context = NewContext();
  const uint32_t ioas = NewIoas(context);
  uapi::IommuIovaRange range = {};
  auto valid = Sized<uapi::IommuIoasIovaRanges>();
  valid.ioas_id = ioas;
  valid.num_iovas = 1;
  valid.allowed_iovas = reinterpret_cast<uint64_t>(&range);
  using Arg = uapi::IommuIoasIovaRanges;
  ExpectPrecedence<Arg>(context, uapi::kIommuIoasIovaRanges, valid,
                        {{"reserved", [](Arg& a) { a.reserved = 1; }, EOPNOTSUPP},
                         {"no such IOAS", [](Arg& a) { a.ioas_id = kStaleId; }, ENOENT},
                         {"no array", [](Arg& a) { a.allowed_iovas = 0; }, EFAULT}});
  auto arg = valid;
  EXPECT_EQ(Call(context, uapi::kIommuIoasIovaRanges, arg), 0);
  EXPECT_EQ(arg.num_iovas, 1U);
  EXPECT_EQ(range.start, 0U);
  EXPECT_EQ(range.last, kAll) << "no device, no limits";
  EXPECT_EQ(arg.out_iova_alignment, 1U);
  arg = valid;
  arg.num_iovas = 0;
  arg.allowed_iovas = 0;
  EXPECT_EQ(Call(context, uapi::kIommuIoasIovaRanges, arg), -EMSGSIZE);
  EXPECT_EQ(arg.num_iovas, 1U);
  EXPECT_EQ(arg.out_iova_alignment, 1U);
}

// ioas.c, iommufd_ioas_allow_iovas(), iommufd_ioas_load_iovas(); io_pagetable.c,
// iopt_set_allow_iova().
TEST_P(KernelApiSuite, AllowIovasChecksInOrder) {
  BERTH_NEEDS(Need::kSmmu);
  const Vm vm = NewVm();
  ASSERT_EQ(Attach(vm, vm.parent), 0);
  using Arg = uapi::IommuIoasAllowIovas;
  const std::vector<uapi::IommuIovaRange> msi = {{uapi::kSwMsiBase, uapi::kSwMsiBase + page()}};
  const std::vector<uapi::IommuIovaRange> backward = {{2 * page(), page()}};
  ExpectPrecedence<Arg>(
      vm.context, uapi::kIommuIoasAllowIovas, AllowArg(vm.ioas, msi),
      {{"reserved", [](Arg& a) { a.reserved = 1; }, EOPNOTSUPP},
       {"no such IOAS", [](Arg& a) { a.ioas_id = kStaleId; }, ENOENT},
       {"no array", [](Arg& a) { a.allowed_iovas = 0; }, EFAULT},
       {"last before start",
        [&](Arg& a) { a.allowed_iovas = reinterpret_cast<uint64_t>(backward.data()); }, EINVAL},
       {"reserved for MSIs", [](Arg&) {}, EADDRINUSE}});
  for (const auto& overlapping :
       std::vector<std::vector<uapi::IommuIovaRange>>{{{0, 0}},  // a range has at least two bytes
                                                      {{0, page()}, {page(), 2 * page()}},
                                                      {{0, 8 * page()}, {page(), 2 * page()}},
                                                      {{page(), 2 * page()}, {0, 8 * page()}}}) {
    auto arg = AllowArg(vm.ioas, overlapping);
    EXPECT_EQ(Call(vm.context, uapi::kIommuIoasAllowIovas, arg), -EINVAL);
  }
}

// ioas.c, iommufd_ioas_load_iovas(): ranges are read one by one, whatever their number.
TEST_P(KernelApiSuite, LongListsOfIovasAreReadUpToTheFirstError) {
  const UniqueFd context = NewContext();
  // A page of ranges; behind it nothing can be read.
  const UniqueFd file = NewMemory(page());
  auto* ranges = static_cast<uapi::IommuIovaRange*>(
      ::mmap(nullptr, 2 * page(), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0));
  ASSERT_NE(ranges, MAP_FAILED);
  for (uint64_t i = 0; i < page() / sizeof(*ranges); ++i) {
    ranges[i] = {2 * i * page(), (2 * i + 1) * page()};
  }
  auto valid = Sized<uapi::IommuIoasAllowIovas>();
  valid.ioas_id = NewIoas(context);
  valid.allowed_iovas = reinterpret_cast<uint64_t>(ranges);
  valid.num_iovas = UINT32_MAX;
  using Arg = uapi::IommuIoasAllowIovas;
  ExpectPrecedence<Arg>(context, uapi::kIommuIoasAllowIovas, valid,
                        {{"reserved", [](Arg& a) { a.reserved = 1; }, EOPNOTSUPP},
                         {"no such IOAS", [](Arg& a) { a.ioas_id = kStaleId; }, ENOENT},
                         {"no array", [](Arg& a) { a.allowed_iovas = 0; }, EFAULT},
                         {"ends too early", [](Arg&) {}, EFAULT}});
  ranges[3] = ranges[1];
  EXPECT_EQ(Call(context, uapi::kIommuIoasAllowIovas, valid), -EINVAL) << "overlap";
  ::munmap(ranges, 2 * page());
}

// io_pagetable.c, iopt_alloc_iova(), iopt_reserve_iova().
TEST_P(KernelApiSuite, AllowedIovasAreForAutomaticMappings) {
  const Vm vm = NewVm();
  const uapi::IommuIovaRange allowed = {kHoleIova, kHoleIova + 4 * page() - 1};
  const std::vector<uapi::IommuIovaRange> ranges = {allowed};
  auto allow = AllowArg(vm.ioas, ranges);
  ASSERT_EQ(Call(vm.context, uapi::kIommuIoasAllowIovas, allow), 0);
  auto map = MapFileArg(vm.ioas, vm.memory.get());
  map.flags &= ~uapi::kIoasMapFixedIova;
  for (int i = 0; i < 4; ++i) {
    map.iova = 0;
    ASSERT_EQ(Call(vm.context, uapi::kIommuIoasMapFile, map), 0) << i;
    EXPECT_GE(map.iova, allowed.start);
    EXPECT_LE(map.iova + page() - 1, allowed.last);
    EXPECT_EQ(map.iova % page(), 0U);
  }
  EXPECT_EQ(Call(vm.context, uapi::kIommuIoasMapFile, map), -ENOSPC);
  EXPECT_EQ(MapFile(vm.context, vm.ioas, vm.memory.get(), page(), kHoleIova + kMemorySize), 0)
      << "a fixed IOVA may be anywhere";
  auto none = AllowArg(vm.ioas, {});
  EXPECT_EQ(Call(vm.context, uapi::kIommuIoasAllowIovas, none), 0);
  EXPECT_EQ(Call(vm.context, uapi::kIommuIoasMapFile, map), 0) << "no range means all";

  if (!Has(Need::kSmmu)) return;
  const std::vector<uapi::IommuIovaRange> msi = {{uapi::kSwMsiBase, uapi::kSwMsiBase + page()}};
  auto in_the_way = AllowArg(vm.ioas, msi);
  ASSERT_EQ(Call(vm.context, uapi::kIommuIoasAllowIovas, in_the_way), 0);
  EXPECT_EQ(Attach(vm, vm.parent), -EADDRINUSE) << "what is allowed cannot be reserved";
}

// io_pagetable.c, iopt_alloc_area_pages(), iopt_alloc_iova(); pages.c, iopt_alloc_pages().
TEST_P(KernelApiSuite, AutomaticIovaAvoidsWhatIsTaken) {
  const Vm vm = NewVm();
  ASSERT_EQ(Attach(vm, vm.parent), 0);
  auto map = MapFileArg(vm.ioas, vm.memory.get());
  map.flags &= ~uapi::kIoasMapFixedIova;
  std::vector<uint64_t> iovas;
  for (int i = 0; i < 8; ++i) {
    ASSERT_EQ(Call(vm.context, uapi::kIommuIoasMapFile, map), 0);
    EXPECT_NE(map.iova, 0U) << "0 is never chosen";
    for (const uint64_t other : iovas) EXPECT_NE(map.iova, other);
    iovas.push_back(map.iova);
  }
  map.length = 0;
  EXPECT_EQ(Call(vm.context, uapi::kIommuIoasMapFile, map), -EINVAL);
  auto huge = MapFileArg(NewIoas(vm.context), vm.memory.get());
  huge.flags &= ~uapi::kIoasMapFixedIova;
  huge.length = uint64_t{1} << 63;
  EXPECT_EQ(Call(vm.context, uapi::kIommuIoasMapFile, huge), -EOVERFLOW);
  huge.length = kAll - page() + 1;
  EXPECT_EQ(Call(vm.context, uapi::kIommuIoasMapFile, huge), -EINVAL) << "too long for pages.c";
}

// io_pagetable.c, iopt_alloc_iova(); lib/interval_tree.c, interval_tree_span_iter_next_gap():
// ranges that touch are one, in whatever order they come.
TEST_P(KernelApiSuite, AllowedIovasThatTouchAreOne) {
  const UniqueFd context = NewContext();
  const uint32_t ioas = NewIoas(context);
  const UniqueFd memory = NewMemory(kMemorySize);
  const std::vector<uapi::IommuIovaRange> ranges = {
      {kHoleIova + page(), kHoleIova + 4 * page() - 1}, {kHoleIova, kHoleIova + page() - 1}};
  auto allow = AllowArg(ioas, ranges);
  ASSERT_EQ(Call(context, uapi::kIommuIoasAllowIovas, allow), 0);
  auto map = MapFileArg(ioas, memory.get());
  map.flags &= ~uapi::kIoasMapFixedIova;
  map.length = 4 * page();
  map.iova = 0;
  ASSERT_EQ(Call(context, uapi::kIommuIoasMapFile, map), 0);
  EXPECT_EQ(map.iova, kHoleIova);
}

// io_pagetable.c, __alloc_iova_check_range(): where a range begins is not where its place ends.
TEST_P(KernelApiSuite, AutomaticIovaIsNoPlaceOfOneByte) {
  const UniqueFd context = NewContext();
  const uint32_t ioas = NewIoas(context);
  const UniqueFd memory = NewMemory(kMemorySize);
  const std::vector<uapi::IommuIovaRange> ranges = {{kHoleIova, kHoleIova + 1}};
  auto allow = AllowArg(ioas, ranges);
  ASSERT_EQ(Call(context, uapi::kIommuIoasAllowIovas, allow), 0);
  auto map = MapFileArg(ioas, memory.get());
  map.flags &= ~uapi::kIoasMapFixedIova;
  map.length = 1;
  map.iova = 0;
  ASSERT_EQ(Call(context, uapi::kIommuIoasMapFile, map), 0);
  EXPECT_EQ(map.iova, kHoleIova);
  EXPECT_EQ(Call(context, uapi::kIommuIoasMapFile, map), -ENOSPC) << "for the byte behind it";
}

// io_pagetable.c, __alloc_iova_check_range(): the offset in the page is or-ed into where a hole
// begins, so that it matters that areas side by side leave none between them.
TEST_P(KernelApiSuite, AutomaticIovaIsSoughtFromWhereHolesBegin) {
  const UniqueFd context = NewContext();
  const uint32_t ioas = NewIoas(context);
  const UniqueFd memory = NewMemory(kMemorySize);
  const std::vector<uapi::IommuIovaRange> ranges = {{kHoleIova, kHoleIova + page() - 1}};
  auto allow = AllowArg(ioas, ranges);
  ASSERT_EQ(Call(context, uapi::kIommuIoasAllowIovas, allow), 0);
  for (const uint64_t at : {0x40, 0x48}) {
    ASSERT_EQ(MapFile(context, ioas, memory.get(), 8, kHoleIova + at), 0);
  }
  auto map = MapFileArg(ioas, memory.get());
  map.flags &= ~uapi::kIoasMapFixedIova;
  map.start = 0x33;
  map.length = 20;
  map.iova = 0;
  ASSERT_EQ(Call(context, uapi::kIommuIoasMapFile, map), 0);
  EXPECT_EQ(map.iova, kHoleIova + (0x50 | 0x33));
}

// io_pagetable.c, iopt_alloc_iova(): to its length, and no further than to a huge page, HPAGE_SIZE,
// which is what one table of the last level maps.
TEST_P(KernelApiSuite, AutomaticIovaIsAlignedToItsLength) {
  const UniqueFd context = NewContext();
  const uint32_t ioas = NewIoas(context);
  const UniqueFd memory = NewMemory(kMemorySize);
  auto map = MapFileArg(ioas, memory.get());
  map.flags &= ~uapi::kIoasMapFixedIova;
  map.iova = 0;
  ASSERT_EQ(Call(context, uapi::kIommuIoasMapFile, map), 0);
  EXPECT_EQ(map.iova, page()) << "0 is never chosen";
  const uint64_t huge = page() * (page() / sizeof(uint64_t));
  for (const uint64_t length : {4 * page(), uint64_t{4} << 20}) {
    const uint32_t empty = NewIoas(context);
    map.ioas_id = empty;
    map.length = length;
    map.iova = 0;
    ASSERT_EQ(Call(context, uapi::kIommuIoasMapFile, map), 0) << "files are examined later";
    EXPECT_EQ(map.iova, std::min(length, huge));
  }
}

// ioas.c, iommufd_ioas_copy(); io_pagetable.c, iopt_get_pages(), iopt_check_iova().
TEST_P(KernelApiSuite, CopyChecksInOrder) {
  const UniqueFd context = NewContext();
  const uint32_t from = NewIoas(context);
  const uint32_t to = NewIoas(context);
  const UniqueFd memory = NewMemory(kMemorySize);
  ASSERT_EQ(MapFile(context, from, memory.get(), 4 * page(), kMemoryIova), 0);
  ASSERT_EQ(MapFile(context, to, memory.get(), page(), page()), 0);
  using Arg = uapi::IommuIoasCopy;
  ExpectPrecedence<Arg>(
      context, uapi::kIommuIoasCopy, CopyArg(from, to, page()),
      {{"unknown flag", [](Arg& a) { a.flags |= 8; }, EOPNOTSUPP},
       {"length at the limit", [](Arg& a) { a.length = kAll; }, EOVERFLOW},
       {"target at the limit", [](Arg& a) { a.dst_iova = kAll; }, EOVERFLOW},
       {"no access", [](Arg& a) { a.flags &= ~uapi::kIoasMapReadable; }, EINVAL},
       {"no such source", [](Arg& a) { a.src_ioas_id = kStaleId; }, ENOENT},
       {"empty", [](Arg& a) { a.length = 0; }, EINVAL},
       {"longer than the mapping", [&](Arg& a) { a.length = 5 * page(); }, ENOENT},
       {"no such target", [](Arg& a) { a.dst_ioas_id = kStaleId; }, ENOENT},
       {"overlaps", [&](Arg& a) { a.dst_iova = page(); }, EEXIST}});
  auto hole = CopyArg(from, to, page());
  hole.src_iova = kHoleIova;
  EXPECT_EQ(Call(context, uapi::kIommuIoasCopy, hole), -ENOENT);
}

// io_pagetable.c, iopt_get_pages(), iopt_map_pages().
TEST_P(KernelApiSuite, CopySharesThePages) {
  const UniqueFd context = NewContext();
  const uint32_t from = NewIoas(context);
  const uint32_t to = NewIoas(context);
  const UniqueFd memory = NewMemory(kMemorySize);
  ASSERT_EQ(MapFile(context, from, memory.get(), 4 * page(), kMemoryIova), 0);
  auto part = CopyArg(from, to, page());
  part.src_iova = kMemoryIova + page();
  part.length = 2 * page();
  part.flags |= uapi::kIoasMapWriteable;
  EXPECT_EQ(Call(context, uapi::kIommuIoasCopy, part), 0) << "a part of a mapping";
  auto within = CopyArg(from, from, page());
  EXPECT_EQ(Call(context, uapi::kIommuIoasCopy, within), 0) << "to itself";
  auto automatic = CopyArg(from, to, page());
  automatic.flags &= ~uapi::kIoasMapFixedIova;
  automatic.dst_iova = 0;
  EXPECT_EQ(Call(context, uapi::kIommuIoasCopy, automatic), 0);
  EXPECT_NE(automatic.dst_iova, 0U);
  EXPECT_EQ(Unmap(context, from, 0, kAll), 0);
  EXPECT_EQ(Destroy(context, from), 0);
  EXPECT_EQ(Unmap(context, to, kHoleIova, 2 * page()), 0) << "the copy is a mapping of its own";
}

// io_pagetable.c, iopt_insert_area().
TEST_P(KernelApiSuite, CopyOfReadOnlyPagesIsNotWriteable) {
  const UniqueFd context = NewContext();
  const uint32_t ioas = NewIoas(context);
  const UniqueFd memory = NewMemory(page());
  auto map = MapFileArg(ioas, memory.get());
  map.flags &= ~uapi::kIoasMapWriteable;
  map.iova = kMemoryIova;
  ASSERT_EQ(Call(context, uapi::kIommuIoasMapFile, map), 0);
  auto copy = CopyArg(ioas, ioas, page());
  copy.flags |= uapi::kIoasMapWriteable;
  EXPECT_EQ(Call(context, uapi::kIommuIoasCopy, copy), -EPERM);
  copy.flags &= ~uapi::kIoasMapWriteable;
  EXPECT_EQ(Call(context, uapi::kIommuIoasCopy, copy), 0) << "nothing of the refused one is left";
}

// ioas.c, iommufd_ioas_map(); io_pagetable.c, iopt_map_user_pages(); pages.c,
// pfn_reader_user_pin().
TEST_P(KernelApiSuite, MapOfUserMemoryChecksInOrder) {
  const Vm vm = NewVm();
  void* memory = ::mmap(nullptr, page(), PROT_READ | PROT_WRITE, MAP_SHARED, vm.memory.get(), 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto valid = Sized<uapi::IommuIoasMap>();
  valid.flags = uapi::kIoasMapFixedIova | uapi::kIoasMapReadable | uapi::kIoasMapWriteable;
  valid.ioas_id = vm.ioas;
  valid.user_va = reinterpret_cast<uint64_t>(memory);
  valid.length = page();
  valid.iova = kHoleIova;
  using Arg = uapi::IommuIoasMap;
  ExpectPrecedence<Arg>(
      vm.context, uapi::kIommuIoasMap, valid,
      {{"unknown flag", [](Arg& a) { a.flags |= 8; }, EOPNOTSUPP},
       {"iova at the limit", [](Arg& a) { a.iova = kAll; }, EOVERFLOW},
       {"no access", [](Arg& a) { a.flags &= ~(uapi::kIoasMapReadable | uapi::kIoasMapWriteable); },
        EINVAL},
       {"no such IOAS", [](Arg& a) { a.ioas_id = kStaleId; }, ENOENT},
       {"overlaps", [](Arg& a) { a.iova = kMemoryIova; }, EEXIST},
       {"nothing there", [&](Arg& a) { a.user_va = page(); }, EFAULT}});
  auto reserved = valid;
  reserved.reserved = 1;
  EXPECT_EQ(Call(vm.context, uapi::kIommuIoasMap, reserved), -EOPNOTSUPP);
  auto empty = valid;
  empty.length = 0;
  EXPECT_EQ(Call(vm.context, uapi::kIommuIoasMap, empty), -EINVAL);
  auto arg = valid;
  EXPECT_EQ(Call(vm.context, uapi::kIommuIoasMap, arg), 0);
  ::munmap(memory, page());
  EXPECT_EQ(Unmap(vm.context, vm.ioas, kHoleIova, page()), 0) << "the pages stay pinned";
}

}  // namespace berth::conformance
