// SPDX-License-Identifier: Apache-2.0
//
// Dirty tracking by an SMMU with HTTU, with a device that writes: Linux iommufd/hw_pagetable.c,
// io_pagetable.c, iova_bitmap.c, arm-smmu-v3.c arm_smmu_domain_alloc_paging_flags() and
// arm_smmu_dirty_ops.
#include <gmock/gmock.h>
#include <sys/mman.h>

#include <cerrno>
#include <vector>

#include "tests/emulator/dma_fixture.h"

namespace berth::emulator {
namespace {

constexpr uint64_t kPage = 4096;

class DmaDirty : public DmaTest {
 protected:
  void SetUp() override {
    StartServer([](Server::Options& options) {
      options.host.units[0].httu = true;
      for (DeviceSpec& device : options.host.devices) device.model = DeviceModel::kDmaTest;
    });
  }

  // 0 or a negative errno.
  int AllocPaging(const DmaVm& vm, uint32_t flags, uint32_t* id) {
    uapi::IommuHwptAlloc cmd = {};
    cmd.flags = flags;
    cmd.dev_id = vm.guest.device;
    cmd.pt_id = vm.guest.ioas;
    const int rc = Call(vm.guest.context, uapi::kIommuHwptAlloc, &cmd);
    *id = cmd.out_hwpt_id;
    return rc;
  }
  // Attached to a page table that tracks; what there was is clean.
  DmaVm MakeTrackedVm() {
    DmaVm vm = MakeVm("vfio0");
    EXPECT_EQ(AllocPaging(vm, uapi::kHwptAllocDirtyTracking, &tracked_), 0);
    EXPECT_EQ(Attach(vm, tracked_), 0);
    EXPECT_EQ(SetTracking(vm, uapi::kHwptDirtyTrackingEnable), 0);
    return vm;
  }
  int SetTracking(const DmaVm& vm, uint32_t flags) {
    uapi::IommuHwptSetDirtyTracking cmd = {};
    cmd.flags = flags;
    cmd.hwpt_id = tracked_;
    return Call(vm.guest.context, uapi::kIommuHwptSetDirtyTracking, &cmd);
  }
  int GetBitmap(const DmaVm& vm, uint64_t iova, uint64_t length, void* bitmap,
                uint64_t page_size = kPage, uint32_t flags = 0) {
    uapi::IommuHwptGetDirtyBitmap cmd = {};
    cmd.hwpt_id = tracked_;
    cmd.flags = flags;
    cmd.iova = iova;
    cmd.length = length;
    cmd.page_size = page_size;
    cmd.data = reinterpret_cast<uint64_t>(bitmap);
    return Call(vm.guest.context, uapi::kIommuHwptGetDirtyBitmap, &cmd);
  }
  // The first 64 pages of memory as a mask.
  uint64_t First64(const DmaVm& vm, uint32_t flags = 0) {
    uint64_t bitmap = 0;
    EXPECT_EQ(GetBitmap(vm, vm.memory->base(), 64 * kPage, &bitmap, kPage, flags), 0);
    return bitmap;
  }
  static uint64_t PageOf(const DmaVm& vm, uint64_t index) {
    return vm.memory->base() + index * kPage;
  }

  uint32_t tracked_ = 0;
};

constexpr uint32_t kKeep = uapi::kHwptGetDirtyBitmapNoClear;

TEST_F(DmaDirty, IsOfferedWhereTheHardwareHasIt) {
  for (const char* name : {"vfio0", "vfio10"}) {
    const bool has = name == std::string("vfio0");
    DmaVm vm = MakeVm(name);
    uapi::IommuHwInfoArmSmmuv3 smmu = {};
    uapi::IommuHwInfo info = {};
    info.dev_id = vm.guest.device;
    info.data_len = sizeof(smmu);
    info.data_uptr = reinterpret_cast<uint64_t>(&smmu);
    ASSERT_EQ(Call(vm.guest.context, uapi::kIommuGetHwInfo, &info), 0);
    EXPECT_EQ((info.out_capabilities & uapi::kHwCapDirtyTracking) != 0, has);
    EXPECT_EQ(smmu.idr[0] >> 6 & 3, has ? 2U : 0U) << "IDR0.HTTU";
    EXPECT_EQ(AllocPaging(vm, uapi::kHwptAllocDirtyTracking, &tracked_), has ? 0 : -EOPNOTSUPP);
  }
}

TEST_F(DmaDirty, IsForStageOneAlone) {
  const DmaVm vm = MakeVm("vfio0");
  constexpr uint32_t kTracking = uapi::kHwptAllocDirtyTracking;
  EXPECT_EQ(AllocPaging(vm, kTracking | uapi::kHwptAllocNestParent, &tracked_), -EOPNOTSUPP);
  EXPECT_EQ(AllocPaging(vm, kTracking | uapi::kHwptAllocPasid, &tracked_), 0);
  EXPECT_EQ(AllocPaging(vm, 0, &tracked_), 0);
  EXPECT_EQ(SetTracking(vm, uapi::kHwptDirtyTrackingEnable), -EOPNOTSUPP);
  uint64_t bitmap = 0;
  EXPECT_EQ(GetBitmap(vm, vm.memory->base(), kPage, &bitmap), -EOPNOTSUPP);
  tracked_ = vm.guest.parent;
  EXPECT_EQ(SetTracking(vm, 0), -EOPNOTSUPP);
}

TEST_F(DmaDirty, WritesAreFoundAndReadsAreNot) {
  DmaVm vm = MakeTrackedVm();
  EXPECT_EQ(First64(vm), 0U);
  ASSERT_EQ(vm.dma->Copy(PageOf(vm, 3), PageOf(vm, 9), 8), DmaStatus::kOk);
  EXPECT_EQ(First64(vm), 1U << 9);
  EXPECT_EQ(First64(vm), 0U) << "cleared";
  ASSERT_EQ(vm.dma->Copy(PageOf(vm, 3), PageOf(vm, 9), 8), DmaStatus::kOk);
  EXPECT_EQ(First64(vm), 1U << 9) << "though the translation was known";
  ASSERT_EQ(vm.dma->Copy(PageOf(vm, 20), PageOf(vm, 31) + 16, 2 * kPage), DmaStatus::kOk);
  EXPECT_EQ(First64(vm), uint64_t{7} << 31);
}

TEST_F(DmaDirty, AtsChangesNothing) {
  DmaVm vm = MakeTrackedVm();
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(vm.dma->Copy(PageOf(vm, 3), PageOf(vm, 9), 8, kDmaControlAts), DmaStatus::kOk);
    EXPECT_EQ(First64(vm), 1U << 9);
  }
}

TEST_F(DmaDirty, NoClearLeavesThem) {
  DmaVm vm = MakeTrackedVm();
  ASSERT_EQ(vm.dma->Copy(PageOf(vm, 3), PageOf(vm, 9), 8), DmaStatus::kOk);
  EXPECT_EQ(First64(vm, kKeep), 1U << 9);
  EXPECT_EQ(First64(vm, kKeep), 1U << 9);
  EXPECT_EQ(First64(vm), 1U << 9);
  EXPECT_EQ(First64(vm, kKeep), 0U);
}

// On an SMMUv3 a page is dirty when it is mapped, and counts without being asked to.
TEST_F(DmaDirty, EnablingBeginsCleanAndIsNoCondition) {
  DmaVm vm = MakeVm("vfio0");
  ASSERT_EQ(AllocPaging(vm, uapi::kHwptAllocDirtyTracking, &tracked_), 0);
  ASSERT_EQ(Attach(vm, tracked_), 0);
  EXPECT_EQ(First64(vm), ~uint64_t{0});
  ASSERT_EQ(vm.dma->Copy(PageOf(vm, 3), PageOf(vm, 9), 8), DmaStatus::kOk);
  EXPECT_EQ(First64(vm, kKeep), 1U << 9);
  EXPECT_EQ(SetTracking(vm, 2), -EOPNOTSUPP);
  EXPECT_EQ(SetTracking(vm, 0), 0);
  EXPECT_EQ(First64(vm, kKeep), 1U << 9) << "switching off cleans nothing";
  EXPECT_EQ(SetTracking(vm, uapi::kHwptDirtyTrackingEnable), 0);
  EXPECT_EQ(First64(vm), 0U);
}

TEST_F(DmaDirty, EachPageTableHasItsOwn) {
  DmaVm vm = MakeTrackedVm();
  const uint32_t first = tracked_;
  ASSERT_EQ(AllocPaging(vm, uapi::kHwptAllocDirtyTracking, &tracked_), 0);
  EXPECT_EQ(First64(vm), ~uint64_t{0}) << "mapped anew";
  ASSERT_EQ(vm.dma->Copy(PageOf(vm, 3), PageOf(vm, 9), 8), DmaStatus::kOk);
  EXPECT_EQ(First64(vm), 0U) << "not the one that the device is attached to";
  ASSERT_EQ(Attach(vm, tracked_), 0);
  ASSERT_EQ(vm.dma->Copy(PageOf(vm, 3), PageOf(vm, 10), 8), DmaStatus::kOk);
  EXPECT_EQ(First64(vm), 1U << 10);
  tracked_ = first;
  EXPECT_EQ(First64(vm), 1U << 9);
}

TEST_F(DmaDirty, BitsAreOnlySetAndOnlyThoseAskedFor) {
  DmaVm vm = MakeTrackedVm();
  ASSERT_EQ(vm.dma->Copy(PageOf(vm, 3), PageOf(vm, 9), 8), DmaStatus::kOk);
  ASSERT_EQ(vm.dma->Copy(PageOf(vm, 3), PageOf(vm, 12), 8), DmaStatus::kOk);
  uint8_t bitmap[4] = {0xf0, 0, 0xff, 0xaa};
  EXPECT_EQ(GetBitmap(vm, PageOf(vm, 8), 4 * kPage, bitmap), 0);
  EXPECT_THAT(bitmap, ::testing::ElementsAre(0xf2, 0, 0xff, 0xaa));
  EXPECT_EQ(First64(vm), 1U << 12) << "the other is out of that range";
}

TEST_F(DmaDirty, TheBitmapsPagesMayBeLargerOrSmaller) {
  DmaVm vm = MakeTrackedVm();
  ASSERT_EQ(vm.dma->Copy(PageOf(vm, 3), PageOf(vm, 9), 8), DmaStatus::kOk);
  uint64_t bitmap = 0;
  EXPECT_EQ(GetBitmap(vm, vm.memory->base(), 64 * kPage, &bitmap, 8 * kPage, kKeep), 0);
  EXPECT_EQ(bitmap, 2U);
  bitmap = 0;
  EXPECT_EQ(GetBitmap(vm, PageOf(vm, 8), 4 * kPage, &bitmap, kPage / 4, kKeep), 0);
  EXPECT_EQ(bitmap, 0xf0U);
  // More than fits a packet: 128 KiB of bits.
  std::vector<uint8_t> large(vm.memory->size() / 16 / 8);
  EXPECT_EQ(GetBitmap(vm, vm.memory->base(), vm.memory->size(), large.data(), 16), 0);
  const size_t first = 9 * kPage / 16 / 8;
  for (size_t i = 0; i < large.size(); ++i) {
    ASSERT_EQ(large[i], i >= first && i < first + kPage / 16 / 8 ? 0xff : 0) << i;
  }
}

TEST_F(DmaDirty, ChecksInTheKernelsOrder) {
  DmaVm vm = MakeTrackedVm();
  uint64_t bitmap = 0;
  const uint64_t base = vm.memory->base();
  EXPECT_EQ(GetBitmap(vm, base, 64 * kPage, &bitmap, kPage, 2), -EOPNOTSUPP);
  EXPECT_EQ(GetBitmap(vm, base, 0, &bitmap), -EINVAL);
  EXPECT_EQ(GetBitmap(vm, ~uint64_t{0} - 1, kPage, &bitmap), -EOVERFLOW);
  EXPECT_EQ(GetBitmap(vm, base + 8, kPage, &bitmap), -EINVAL);
  EXPECT_EQ(GetBitmap(vm, base, kPage + 8, &bitmap), -EINVAL);
  EXPECT_EQ(GetBitmap(vm, base, kPage, &bitmap, 0), -EINVAL);
  EXPECT_EQ(GetBitmap(vm, base, kPage, &bitmap, 2 * kPage), -EINVAL);
  EXPECT_EQ(GetBitmap(vm, 0, uint64_t{1} << 46, &bitmap), -ENOMEM) << "2 GiB of bits";
  tracked_ = vm.guest.ioas;
  EXPECT_EQ(GetBitmap(vm, base, kPage, &bitmap), -ENOENT);
  EXPECT_EQ(SetTracking(vm, 0), -ENOENT);
}

TEST_F(DmaDirty, AGapEndsItAndIsNoError) {
  DmaVm vm = MakeTrackedVm();
  const uint64_t end = vm.memory->base() + vm.memory->size();
  ASSERT_EQ(vm.dma->Copy(PageOf(vm, 3), end - kPage, 8), DmaStatus::kOk);
  uint64_t bitmap = 0;
  EXPECT_EQ(GetBitmap(vm, end - 2 * kPage, 4 * kPage, &bitmap, kPage, kKeep), 0);
  EXPECT_EQ(bitmap, 2U) << "up to the gap";
  bitmap = 0;
  EXPECT_EQ(GetBitmap(vm, vm.memory->base() - kPage, 64 * kPage, &bitmap), 0);
  EXPECT_EQ(bitmap, 0U) << "which comes first";
}

// The kernel cleans a page and then finds that it cannot say so.
TEST_F(DmaDirty, ABitmapThatCannotBeWrittenLosesBits) {
  DmaVm vm = MakeTrackedVm();
  ASSERT_EQ(vm.dma->Copy(PageOf(vm, 3), PageOf(vm, 9), 8), DmaStatus::kOk);
  EXPECT_EQ(GetBitmap(vm, vm.memory->base(), 64 * kPage, nullptr), 0);
  EXPECT_EQ(First64(vm), 0U);

  // The second of three pages of bits is not there.
  auto* pages = static_cast<uint8_t*>(
      ::mmap(nullptr, 3 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(pages, MAP_FAILED);
  ASSERT_EQ(::munmap(pages + kPage, kPage), 0);
  constexpr uint64_t kBitsOfAPage = 8 * kPage;
  constexpr uint64_t kSmall = 64;  // bytes for a bit: three pages of bits are 1536 pages of memory
  for (const uint64_t bit : {uint64_t{0}, kBitsOfAPage, 2 * kBitsOfAPage}) {
    ASSERT_EQ(vm.dma->Copy(PageOf(vm, 3), vm.memory->base() + bit * kSmall, 8), DmaStatus::kOk);
  }
  EXPECT_EQ(GetBitmap(vm, vm.memory->base(), 3 * kBitsOfAPage * kSmall, pages, kSmall), 0);
  for (const uint64_t page : {uint64_t{0}, uint64_t{2}}) {
    for (uint64_t i = 0; i < kPage; ++i) {
      ASSERT_EQ(pages[page * kPage + i], i < kPage / kSmall / 8 ? 0xff : 0) << page << " " << i;
    }
  }
  EXPECT_EQ(GetBitmap(vm, vm.memory->base(), 3 * kBitsOfAPage * kSmall, pages, kPage), 0);
  EXPECT_EQ(pages[kBitsOfAPage * kSmall / kPage / 8], 0) << "lost";
  ::munmap(pages, kPage);
  ::munmap(pages + 2 * kPage, kPage);
}

TEST_F(DmaDirty, MappingsComeAndGo) {
  DmaVm vm = MakeTrackedVm();
  uapi::IommuIoasMapFile map = {};
  map.flags = uapi::kIoasMapFixedIova | uapi::kIoasMapReadable | uapi::kIoasMapWriteable;
  map.ioas_id = vm.guest.ioas;
  map.fd = vm.memory->memory()->file.get();
  map.length = 2 * kPage;
  map.iova = 0x200000000;
  ASSERT_EQ(Call(vm.guest.context, uapi::kIommuIoasMapFile, &map), 0);
  uint64_t bitmap = 0;
  EXPECT_EQ(GetBitmap(vm, map.iova, 2 * kPage, &bitmap), 0);
  EXPECT_EQ(bitmap, 3U) << "new ones begin dirty";
  ASSERT_EQ(vm.dma->Copy(PageOf(vm, 3), map.iova + kPage, 8), DmaStatus::kOk);
  EXPECT_EQ(First64(vm), 0U) << "the same memory, but not by this address";
  uapi::IommuIoasUnmap unmap = {};
  unmap.ioas_id = vm.guest.ioas;
  unmap.iova = map.iova;
  unmap.length = map.length;
  ASSERT_EQ(Call(vm.guest.context, uapi::kIommuIoasUnmap, &unmap), 0);
  map.flags &= ~uapi::kIoasMapWriteable;
  ASSERT_EQ(Call(vm.guest.context, uapi::kIommuIoasMapFile, &map), 0);
  bitmap = 0;
  EXPECT_EQ(GetBitmap(vm, map.iova, 2 * kPage, &bitmap), 0);
  EXPECT_EQ(bitmap, 0U) << "read-only ones never are";
}

// Stage 1 is the guest's: the SMMU keeps access flag and dirty state in the guest's own tables.
TEST_F(DmaDirty, GuestsHaveItInTheirOwnTables) {
  using testing::kPteAf;
  using testing::kPteReadOnly;
  constexpr uint64_t kClean = (testing::kPteNormal & ~kPteAf) | kPteReadOnly | testing::kPteDbm;
  DmaVm vm = MakeVm("vfio0");
  vm.tables = std::make_unique<testing::Tables>(vm.memory.get());
  Nest(&vm, DmaVm::kVsid,
       {.asid = DmaVm::kAsid, .low = vm.tables.get(), .set = testing::kCdHa | testing::kCdHd});
  constexpr uint64_t kFrom = kVa;
  constexpr uint64_t kTo = kVa + kPage;
  for (const uint64_t va : {kFrom, kTo}) {
    vm.tables->Map(va, vm.memory->AllocatePage(va), 3, kClean);
  }
  const auto bits = [&](uint64_t va) {
    return vm.memory->Load(vm.tables->Descriptor(va, 3)) & (kPteAf | kPteReadOnly);
  };
  ASSERT_EQ(vm.dma->Copy(kFrom, kTo, 8), DmaStatus::kOk);
  EXPECT_EQ(bits(kFrom), kPteAf | kPteReadOnly) << "read";
  EXPECT_EQ(bits(kTo), kPteAf) << "written";
  ASSERT_EQ(vm.dma->Copy(kTo, kFrom, 8, kDmaControlAts), DmaStatus::kOk);
  EXPECT_EQ(bits(kFrom), kPteAf);
}

}  // namespace
}  // namespace berth::emulator
