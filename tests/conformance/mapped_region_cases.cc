// SPDX-License-Identifier: Apache-2.0
//
// page0 in the hands of a VMM. Linux drivers/iommu/iommufd/main.c: iommufd_fops_mmap(),
// drivers/iommu/arm/arm-smmu-v3/tegra241-cmdqv.c.
#include <poll.h>
#include <unistd.h>

#include <cerrno>

#include "absl/time/clock.h"
#include "lib/base/status.h"
#include "tests/conformance/mapped_region_suite.h"

namespace berth::conformance {
namespace {

// `done` becomes true within 10 s.
bool InTime(const std::function<bool()>& done) {
  const absl::Time deadline = absl::Now() + absl::Seconds(10);
  while (!done()) {
    if (absl::Now() > deadline) return false;
    ::poll(nullptr, 0, 1);
  }
  return true;
}

}  // namespace

MappedRegionSuite::Offer MappedRegionSuite::NewOffer(const Vm& vm) {
  ViommuData data = {};
  Offer offer;
  offer.viommu = NewViommu(vm, &data);
  const Window window = WindowOf(data);
  absl::StatusOr<MappedRegion> region =
      kernel().RegionForVmm(vm.context.get(), window.offset, window.length);
  EXPECT_TRUE(region.ok()) << region.status();
  if (region.ok()) offer.region = *std::move(region);
  return offer;
}

std::optional<uapi::VfioRegionInfo> MappedRegionSuite::MappableBar(const Device& device) {
  for (uint32_t index = uapi::kVfioPciBar0Region; index <= uapi::kVfioPciBar5Region; ++index) {
    auto info = Sized<uapi::VfioRegionInfo>();
    info.index = index;
    EXPECT_EQ(Call(device.cdev, uapi::kVfioDeviceGetRegionInfo, info), 0) << index;
    if ((info.flags & uapi::kVfioRegionFlagMmap) != 0) return info;
  }
  return std::nullopt;
}

void MappedRegionSuite::GiveAndMap(VmmProcess& vmm, const MappedRegion& region) {
  ASSERT_EQ(vmm.TakeFd(region.fd.get()), 0);
  ASSERT_EQ(vmm.Map(region), 0);
}

bool MappedRegionSuite::ReadsInTime(VmmProcess& vmm, uint64_t offset, uint32_t value) {
  return InTime([&] { return vmm.Load(offset) == value; });
}

bool MappedRegionSuite::FreeVintfsInTime(int count) {
  return InTime([&] { return FreeVintfs() == count; });
}

// main.c, iommufd_fops_mmap(): ENXIO for anything but the pair that VIOMMU_ALLOC gave.
TEST_P(MappedRegionSuite, OfferIsExactlyPage0) {
  BERTH_NEEDS(Need::kHwQueues);
  const Vm vm = NewVm();
  const Offer offer = NewOffer(vm);
  const uint64_t length = Has(Need::kCmdqv) ? kPage0Size : 2 * page();
  EXPECT_EQ(offer.region.length, length);
  EXPECT_EQ(offer.region.offset % page(), 0U);
  ViommuData data = {};
  NewViommu(vm, &data);
  const uint64_t offset = WindowOf(data).offset;
  for (const auto& [o, l] : std::vector<std::pair<uint64_t, uint64_t>>{{offset + page(), length},
                                                                       {offset, length + page()},
                                                                       {offset, 2 * length},
                                                                       {0, page()}}) {
    EXPECT_EQ(ReasonOf(kernel().RegionForVmm(vm.context.get(), o, l).status()), Reason::kNotFound)
        << o << " " << l;
  }
}

// main.c, iommufd_fops_vma_open() pins; driver.c, _iommufd_destroy_mmap() takes the offer back.
TEST_P(MappedRegionSuite, RegionAloneDoesNotPinTheViommu) {
  BERTH_NEEDS(Need::kHwQueues);
  const Vm vm = NewVm();
  const Offer offer = NewOffer(vm);
  VmmProcess vmm;
  ASSERT_EQ(vmm.TakeFd(offer.region.fd.get()), 0);
  EXPECT_EQ(Destroy(vm.context, offer.viommu), 0);
  EXPECT_LT(vmm.Map(offer.region), 0) << "there is nothing to map any more";
}

// tegra241-cmdqv.c, tegra241_cmdqv_init_vintf_user(): the mapping is the registers;
// tegra241_vcmdq_hw_init_user().
TEST_P(MappedRegionSuite, HardwareSeesStoresAndItsAnswersAreSeen) {
  BERTH_NEEDS(Need::kCmdqv);
  const Vm vm = NewVm();
  const Offer offer = NewOffer(vm);
  VmmProcess vmm;
  GiveAndMap(vmm, offer.region);
  // A CMD_SYNC in each queue; the guest enables the queue, rings, and waits.
  const uint64_t sync[2] = {uapi::kCmdSync, 0};
  for (uint32_t index = 0; index < 2; ++index) {
    ASSERT_EQ(::pwrite(vm.memory.get(), sync, sizeof(sync), static_cast<off_t>(index * page())),
              static_cast<ssize_t>(sizeof(sync)));
    NewHwQueue(vm, offer.viommu, index);
    const uint64_t base = index * kLvcmdqStride;
    EXPECT_EQ(vmm.Load(base + uapi::kVcmdqProd), 0);
    EXPECT_EQ(vmm.Store(base + uapi::kVcmdqConfig, uapi::kVcmdqConfigEnable), 0);
    EXPECT_TRUE(ReadsInTime(vmm, base + uapi::kVcmdqStatus, uapi::kVcmdqStatusEnableOk));
    EXPECT_EQ(vmm.Store(base + uapi::kVcmdqProd, 1), 0);
    EXPECT_TRUE(ReadsInTime(vmm, base + uapi::kVcmdqCons, 1));
    EXPECT_EQ(vmm.Load(base + uapi::kVcmdqGerror), 0);
  }
}

// tegra241-cmdqv.c, tegra241_cmdqv_init_vintf_user(): page0 of the vIOMMU's own VINTF.
TEST_P(MappedRegionSuite, EveryViommuHasAPageOfItsOwn) {
  BERTH_NEEDS(Need::kCmdqv);
  const Vm vm = NewVm();
  const Offer a = NewOffer(vm);
  const Offer b = NewOffer(vm);
  VmmProcess vmm_a;
  VmmProcess vmm_b;
  GiveAndMap(vmm_a, a.region);
  GiveAndMap(vmm_b, b.region);
  NewHwQueue(vm, a.viommu, 0);
  EXPECT_EQ(vmm_a.Store(uapi::kVcmdqConfig, uapi::kVcmdqConfigEnable), 0);
  EXPECT_TRUE(ReadsInTime(vmm_a, uapi::kVcmdqStatus, uapi::kVcmdqStatusEnableOk));
  EXPECT_EQ(vmm_b.Load(uapi::kVcmdqStatus), 0);
}

// main.c, iommufd_fops_mmap(), iommufd_fops_vma_close(): a VMA holds a reference.
TEST_P(MappedRegionSuite, MappedViommuIsEbusy) {
  BERTH_NEEDS(Need::kHwQueues);
  const Vm vm = NewVm();
  const Offer offer = NewOffer(vm);
  VmmProcess vmm;
  GiveAndMap(vmm, offer.region);
  EXPECT_EQ(Destroy(vm.context, offer.viommu), -EBUSY);
  EXPECT_EQ(vmm.CloseFd(), 0);
  EXPECT_EQ(Destroy(vm.context, offer.viommu), -EBUSY) << "a mapping needs no fd";
  EXPECT_GE(vmm.Load(uapi::kVcmdqStatus), 0);
  EXPECT_EQ(vmm.Unmap(offer.region.length), 0);
  EXPECT_EQ(Destroy(vm.context, offer.viommu), 0);
}

// main.c, iommufd_object_remove(): EBUSY changes nothing.
TEST_P(MappedRegionSuite, RefusedDestroyDoesNotDisturb) {
  BERTH_NEEDS(Need::kCmdqv);
  const Vm vm = NewVm();
  const Offer offer = NewOffer(vm);
  VmmProcess vmm;
  GiveAndMap(vmm, offer.region);
  const uint32_t queue = NewHwQueue(vm, offer.viommu, 0);
  EXPECT_EQ(Destroy(vm.context, offer.viommu), -EBUSY);
  EXPECT_EQ(vmm.Store(uapi::kVcmdqConfig, uapi::kVcmdqConfigEnable), 0);
  EXPECT_TRUE(ReadsInTime(vmm, uapi::kVcmdqStatus, uapi::kVcmdqStatusEnableOk));
  EXPECT_EQ(Destroy(vm.context, queue), 0);
  EXPECT_EQ(Destroy(vm.context, offer.viommu), -EBUSY);
  NewHwQueue(vm, offer.viommu, 0);
  EXPECT_EQ(vmm.Store(uapi::kVcmdqConfig, uapi::kVcmdqConfigEnable), 0);
  EXPECT_TRUE(ReadsInTime(vmm, uapi::kVcmdqStatus, uapi::kVcmdqStatusEnableOk));
}

// main.c, iommufd_fops_vma_open(), iommufd_fops_vma_close(): a split VMA is two.
TEST_P(MappedRegionSuite, PartOfAMappingStillPins) {
  BERTH_NEEDS(Need::kHwQueues);
  const Vm vm = NewVm();
  const Offer offer = NewOffer(vm);
  VmmProcess vmm;
  GiveAndMap(vmm, offer.region);
  if (offer.region.length == page()) GTEST_SKIP() << "needs a region of several pages";
  EXPECT_EQ(vmm.Unmap(page()), 0);
  EXPECT_EQ(Destroy(vm.context, offer.viommu), -EBUSY);
  EXPECT_EQ(vmm.Unmap(offer.region.length - page()), 0);
  EXPECT_EQ(Destroy(vm.context, offer.viommu), 0);
}

// main.c, iommufd_fops_mmap().
TEST_P(MappedRegionSuite, EveryProcessThatMapsCounts) {
  BERTH_NEEDS(Need::kHwQueues);
  const Vm vm = NewVm();
  const Offer offer = NewOffer(vm);
  VmmProcess a;
  VmmProcess b;
  GiveAndMap(a, offer.region);
  GiveAndMap(b, offer.region);
  EXPECT_EQ(a.Unmap(offer.region.length), 0);
  EXPECT_EQ(Destroy(vm.context, offer.viommu), -EBUSY);
  EXPECT_EQ(b.Unmap(offer.region.length), 0);
  EXPECT_EQ(Destroy(vm.context, offer.viommu), 0);
}

// main.c, iommufd_fops_vma_open(): fork(2) copies the VMA.
TEST_P(MappedRegionSuite, ForkedChildCounts) {
  BERTH_NEEDS(Need::kHwQueues);
  const Vm vm = NewVm();
  const Offer offer = NewOffer(vm);
  VmmProcess vmm;
  GiveAndMap(vmm, offer.region);
  ASSERT_EQ(vmm.Fork(), 0);
  EXPECT_EQ(vmm.Unmap(offer.region.length), 0);
  EXPECT_EQ(Destroy(vm.context, offer.viommu), -EBUSY);
  EXPECT_EQ(vmm.KillChild(), 0);
  EXPECT_EQ(Destroy(vm.context, offer.viommu), 0);
}

// main.c, iommufd_fops_vma_close().
TEST_P(MappedRegionSuite, KilledVmmLetsGo) {
  BERTH_NEEDS(Need::kHwQueues);
  const Vm vm = NewVm();
  const Offer offer = NewOffer(vm);
  VmmProcess vmm;
  GiveAndMap(vmm, offer.region);
  vmm.Kill();
  EXPECT_EQ(Destroy(vm.context, offer.viommu), 0);
}

// main.c, iommufd_fops_mmap(): a VMA has the file open.
TEST_P(MappedRegionSuite, MappingKeepsTheContext) {
  BERTH_NEEDS(Need::kCmdqv);
  const int all = FreeVintfs();
  VmmProcess vmm;
  uint64_t length = 0;
  {
    const Vm vm = NewVm();
    const Offer offer = NewOffer(vm);
    length = offer.region.length;
    GiveAndMap(vmm, offer.region);
    NewHwQueue(vm, offer.viommu, 0);
    ASSERT_EQ(vmm.CloseFd(), 0);
  }
  EXPECT_EQ(FreeVintfs(), all - 1) << "all fds are closed, but page0 is mapped";
  EXPECT_EQ(vmm.Store(uapi::kVcmdqConfig, uapi::kVcmdqConfigEnable), 0);
  EXPECT_TRUE(ReadsInTime(vmm, uapi::kVcmdqStatus, uapi::kVcmdqStatusEnableOk))
      << "the hardware still serves it";
  EXPECT_EQ(vmm.Unmap(length), 0);
  EXPECT_TRUE(FreeVintfsInTime(all));
}

// drivers/vfio/vfio_main.c, vfio_device_fops_mmap(), vfio_device_fops_release(): a VMA has the
// cdev's file open, and the device stays bound until the file's last user has gone.
TEST_P(MappedRegionSuite, MappedBarKeepsTheDevice) {
  BERTH_NEEDS(Need::kCdevs);
  const UniqueFd context = NewContext();
  for (const std::string& name : machine().devices) {
    Device device = AddDevice(context, name);
    const auto bar = MappableBar(device);
    if (!bar) continue;
    absl::StatusOr<MappedRegion> region =
        kernel().RegionForVmm(device.cdev.get(), bar->offset, bar->size);
    ASSERT_TRUE(region.ok()) << region.status();
    VmmProcess vmm;
    GiveAndMap(vmm, *region);
    ASSERT_EQ(vmm.CloseFd(), 0);
    region->fd.Reset();
    device.cdev.Reset();
    const UniqueFd other = NewContext();
    const UniqueFd cdev = OpenCdev(name);
    auto bind = Sized<uapi::VfioDeviceBindIommufd>();
    bind.iommufd = other.get();
    EXPECT_EQ(Call(cdev, uapi::kVfioDeviceBindIommufd, bind), -EINVAL);
    EXPECT_EQ(Destroy(context, device.id), -EBUSY);
    EXPECT_EQ(vmm.Unmap(bar->size), 0);
    EXPECT_TRUE(InTime([&] { return Call(cdev, uapi::kVfioDeviceBindIommufd, bind) == 0; }));
    EXPECT_EQ(Destroy(context, device.id), -ENOENT) << "it went with the file";
    return;
  }
  GTEST_SKIP() << "needs a device with a BAR that can be mapped";
}

}  // namespace berth::conformance
