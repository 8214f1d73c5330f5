// SPDX-License-Identifier: Apache-2.0
//
// Address spaces and mappings of files. Linux drivers/iommu/iommufd/{ioas,io_pagetable,pages}.c.
#include <unistd.h>

#include <cerrno>

#include "tests/conformance/kernel_api_suite.h"

namespace berth::conformance {
namespace {

constexpr uint64_t kAll = UINT64_MAX;

}  // namespace

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
       {"no such fd", [](Arg& a) { a.fd = -1; }, EBADF}});
  auto arg = valid;
  EXPECT_EQ(Call(context, uapi::kIommuIoasMapFile, arg), 0);
  EXPECT_EQ(arg.iova, kHoleIova);
  EXPECT_EQ(Call(context, uapi::kIommuIoasMapFile, arg), -EEXIST);
}

TEST_P(KernelApiSuite, FixedIovaIsChecked) {
  const Vm vm = NewVm();
  const int fd = vm.memory.get();
  EXPECT_EQ(MapFile(vm.context, vm.ioas, fd, kPage, kHoleIova + 8), -EINVAL) << "not aligned";
  EXPECT_EQ(MapFile(vm.context, vm.ioas, fd, 0, kHoleIova), -EINVAL) << "empty";
  EXPECT_EQ(MapFile(vm.context, vm.ioas, fd, kPage, kMemoryIova), -EEXIST);
  EXPECT_EQ(MapFile(vm.context, vm.ioas, fd, 2 * kPage, kMemoryIova - kPage), -EEXIST)
      << "overlaps from below";
  EXPECT_EQ(MapFile(vm.context, vm.ioas, fd, kPage, kMemoryIova + kMemorySize), 0) << "beside";
  EXPECT_EQ(MapFile(vm.context, vm.ioas, fd, kPage, kMemoryIova + kMemorySize), -EEXIST);
}

TEST_P(KernelApiSuite, FileIsExaminedWhenPagesArePinned) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const UniqueFd pipe(ends[0]);
  const UniqueFd pipe_write(ends[1]);
  const UniqueFd memory = NewMemory(kPage);
  Vm vm = NewVm();
  EXPECT_EQ(MapFile(vm.context, vm.ioas, pipe.get(), kPage, kHoleIova), -EINVAL);
  EXPECT_EQ(MapFile(vm.context, vm.ioas, memory.get(), 2 * kPage, kHoleIova), -EINVAL)
      << "beyond the end of the file";
  EXPECT_EQ(MapFile(vm.context, vm.ioas, memory.get(), kPage, kHoleIova), 0)
      << "nothing of the refused mappings is left";
  // Without a domain nobody looks; the first domain does.
  vm.ioas = NewIoas(vm.context);
  EXPECT_EQ(MapFile(vm.context, vm.ioas, pipe.get(), kPage, kHoleIova), 0);
  auto arg = Sized<uapi::IommuHwptAlloc>();
  arg.dev_id = vm.device;
  arg.pt_id = vm.ioas;
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, arg), -EINVAL);
  EXPECT_EQ(Unmap(vm.context, vm.ioas, 0, kAll), 0);
  EXPECT_EQ(Call(vm.context, uapi::kIommuHwptAlloc, arg), 0);
}

TEST_P(KernelApiSuite, MappingOutlivesTheFd) {
  const UniqueFd context = NewContext();
  const uint32_t ioas = NewIoas(context);
  EXPECT_EQ(MapFile(context, ioas, NewMemory(kPage).get(), kPage, kHoleIova), 0);
  EXPECT_EQ(Unmap(context, ioas, kHoleIova, kPage), 0);
}

TEST_P(KernelApiSuite, UnmapTakesWholeMappingsOnly) {
  const UniqueFd context = NewContext();
  const uint32_t ioas = NewIoas(context);
  const UniqueFd memory = NewMemory(kMemorySize);
  for (const uint64_t iova : {kHoleIova, kHoleIova + 8 * kPage}) {
    ASSERT_EQ(MapFile(context, ioas, memory.get(), 4 * kPage, iova), 0);
  }
  EXPECT_EQ(Unmap(context, kStaleId, kAll, kAll - 1), -ENOENT) << "the IOAS is looked up first";
  EXPECT_EQ(Unmap(context, ioas, kPage, kAll), -EOVERFLOW);
  EXPECT_EQ(Unmap(context, ioas, kHoleIova - 4 * kPage, 4 * kPage), -ENOENT) << "nothing there";
  EXPECT_EQ(Unmap(context, ioas, kHoleIova, 2 * kPage), -ENOENT) << "a part";
  auto arg = Sized<uapi::IommuIoasUnmap>();
  arg.ioas_id = ioas;
  arg.iova = kHoleIova - kPage;
  arg.length = 14 * kPage;
  EXPECT_EQ(Call(context, uapi::kIommuIoasUnmap, arg), 0) << "around both, with a hole";
  EXPECT_EQ(arg.length, 8 * kPage);
  arg.iova = 0;
  arg.length = kAll;
  EXPECT_EQ(Call(context, uapi::kIommuIoasUnmap, arg), 0) << "all of nothing";
  EXPECT_EQ(arg.length, 0U);
}

TEST_P(KernelApiSuite, UnmapKeepsWhatItDidBeforeTheError) {
  const UniqueFd context = NewContext();
  const uint32_t ioas = NewIoas(context);
  const UniqueFd memory = NewMemory(kMemorySize);
  ASSERT_EQ(MapFile(context, ioas, memory.get(), kPage, kHoleIova), 0);
  ASSERT_EQ(MapFile(context, ioas, memory.get(), 4 * kPage, kHoleIova + kPage), 0);
  EXPECT_EQ(Unmap(context, ioas, kHoleIova, 2 * kPage), -ENOENT);
  EXPECT_EQ(Unmap(context, ioas, kHoleIova, kPage), -ENOENT) << "the first is gone";
  EXPECT_EQ(Unmap(context, ioas, kHoleIova + kPage, 4 * kPage), 0) << "the second is not";
}

TEST_P(KernelApiSuite, UnmapUnderAQueueIsEbusy) {
  const Vm vm = NewVm();
  const uint32_t viommu = NewViommu(vm);
  const uint32_t queue = NewHwQueue(vm, viommu, 0);
  EXPECT_EQ(Unmap(vm.context, vm.ioas, kMemoryIova, kMemorySize), -EBUSY);
  EXPECT_EQ(Unmap(vm.context, vm.ioas, kMemoryIova, kPage), -EBUSY) << "before containment";
  EXPECT_EQ(Destroy(vm.context, queue), 0);
  EXPECT_EQ(Unmap(vm.context, vm.ioas, kMemoryIova, kMemorySize), 0);
}

TEST_P(KernelApiSuite, AttachedDeviceReservesTheMsiWindow) {
  const Vm vm = NewVm();
  const int fd = vm.memory.get();
  ASSERT_EQ(Attach(vm.cdev, vm.parent), 0);
  EXPECT_EQ(MapFile(vm.context, vm.ioas, fd, kPage, uapi::kSwMsiBase), -EINVAL);
  EXPECT_EQ(MapFile(vm.context, vm.ioas, fd, 2 * kPage, uapi::kSwMsiBase - kPage), -EINVAL);

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
  EXPECT_EQ(arg.out_iova_alignment, kPage);
  for (uint32_t i = 0; i < count; ++i) {
    EXPECT_TRUE(ranges[i].last < uapi::kSwMsiBase ||
                ranges[i].start >= uapi::kSwMsiBase + uapi::kSwMsiLength);
  }

  EXPECT_EQ(Detach(vm.cdev), 0);
  EXPECT_EQ(MapFile(vm.context, vm.ioas, fd, kPage, uapi::kSwMsiBase), 0);
  EXPECT_EQ(Attach(vm.cdev, vm.parent), -EADDRINUSE) << "a mapping is in the way";
}

}  // namespace berth::conformance
