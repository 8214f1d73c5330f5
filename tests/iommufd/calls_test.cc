// SPDX-License-Identifier: Apache-2.0
//
// What the objects ask the kernel, and what its answers and errors become.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "lib/base/status.h"
#include "lib/iommufd/device.h"
#include "lib/iommufd/hwpt.h"
#include "lib/iommufd/ioas.h"
#include "lib/iommufd/uapi/ops.h"
#include "lib/iommufd/uapi/smmuv3.h"
#include "lib/iommufd/viommu.h"
#include "tests/iommufd/fake_kernel.h"

namespace berth {
namespace {

using testing::FakeKernel;
using ::testing::SizeIs;

struct ReasonCase {
  uapi::Request request;
  ObjectKind kind;
  int error;
  Reason reason;
};

class ErrnoHasAReason : public ::testing::TestWithParam<ReasonCase> {};

TEST_P(ErrnoHasAReason, InMetadataAndCode) {
  FakeKernel kernel;
  const ReasonCase& c = GetParam();
  kernel.FailCall(c.request, c.error);
  uint64_t arg[8] = {};
  const absl::Status status = CallKernel(kernel, -1, c.request, arg, {{"id", "7"}}, c.kind);
  EXPECT_EQ(ReasonOf(status), c.reason) << status;
  EXPECT_EQ(status.code(), ReasonCode(c.reason));
  EXPECT_EQ(MetadataOf(status)["call"], uapi::RequestName(c.request));
  EXPECT_EQ(MetadataOf(status)["errno"], ErrnoName(c.error));
  EXPECT_EQ(MetadataOf(status)["id"], "7");
  EXPECT_EQ(ErrnoOf(status), c.error);
}

INSTANTIATE_TEST_SUITE_P(
    Table, ErrnoHasAReason,
    ::testing::Values(
        ReasonCase{uapi::kIommuViommuAlloc, ObjectKind::kNone, ENOSPC, Reason::kVintfExhausted},
        ReasonCase{uapi::kIommuViommuAlloc, ObjectKind::kNone, ETIMEDOUT, Reason::kHardwareTimeout},
        ReasonCase{uapi::kIommuViommuAlloc, ObjectKind::kNone, EOPNOTSUPP,
                   Reason::kKernelFeatureMissing},
        ReasonCase{uapi::kIommuVdeviceAlloc, ObjectKind::kNone, ENOSPC, Reason::kSidSlotsExhausted},
        ReasonCase{uapi::kIommuVdeviceAlloc, ObjectKind::kNone, EEXIST, Reason::kVsidInUse},
        ReasonCase{uapi::kIommuHwQueueAlloc, ObjectKind::kNone, EIO, Reason::kQueueOrder},
        ReasonCase{uapi::kIommuHwQueueAlloc, ObjectKind::kNone, EEXIST, Reason::kQueueExists},
        ReasonCase{uapi::kIommuHwQueueAlloc, ObjectKind::kNone, EFAULT,
                   Reason::kQueueNotContiguous},
        ReasonCase{uapi::kIommuHwQueueAlloc, ObjectKind::kNone, EINVAL, Reason::kQueueSize},
        ReasonCase{uapi::kIommuHwQueueAlloc, ObjectKind::kNone, EOVERFLOW, Reason::kQueueSize},
        ReasonCase{uapi::kIommuHwQueueAlloc, ObjectKind::kNone, ERANGE, Reason::kQueueSize},
        ReasonCase{uapi::kIommuHwQueueAlloc, ObjectKind::kNone, ENOENT, Reason::kMemoryUnknown},
        ReasonCase{uapi::kIommuHwQueueAlloc, ObjectKind::kNone, EPERM, Reason::kMemoryUnknown},
        ReasonCase{uapi::kIommuHwQueueAlloc, ObjectKind::kNone, EADDRINUSE, Reason::kAlignment},
        ReasonCase{uapi::kIommuIoasMapFile, ObjectKind::kNone, EEXIST, Reason::kMemoryOverlap},
        ReasonCase{uapi::kIommuIoasMapFile, ObjectKind::kNone, EOVERFLOW, Reason::kMemoryReserved},
        ReasonCase{uapi::kIommuIoasUnmap, ObjectKind::kNone, EBUSY, Reason::kMemoryInUse},
        ReasonCase{uapi::kIommuIoasUnmap, ObjectKind::kNone, ENOENT, Reason::kMemoryUnknown},
        ReasonCase{uapi::kIommuHwptAlloc, ObjectKind::kNone, EIO, Reason::kBadStreamTableEntry},
        ReasonCase{uapi::kIommuHwptInvalidate, ObjectKind::kNone, EIO, Reason::kBadCommand},
        ReasonCase{uapi::kVfioDeviceBindIommufd, ObjectKind::kNone, EINVAL, Reason::kDeviceBusy},
        ReasonCase{uapi::kVfioDeviceBindIommufd, ObjectKind::kNone, ENODEV, Reason::kDeviceGone},
        ReasonCase{uapi::kVfioDeviceAttachIommufdPt, ObjectKind::kNone, EADDRINUSE,
                   Reason::kMemoryReserved},
        ReasonCase{uapi::kVfioDeviceReset, ObjectKind::kNone, ENOTTY,
                   Reason::kKernelFeatureMissing},
        ReasonCase{uapi::kIommuDestroy, ObjectKind::kViommu, EBUSY, Reason::kStillMapped},
        ReasonCase{uapi::kIommuDestroy, ObjectKind::kHwQueue, EBUSY, Reason::kQueueOrder},
        ReasonCase{uapi::kIommuDestroy, ObjectKind::kHwpt, EBUSY, Reason::kStateConflict},
        ReasonCase{uapi::kIommuIoasAlloc, ObjectKind::kNone, ESHUTDOWN, Reason::kKernelGone}),
    [](const auto& p) {
      return std::string(uapi::RequestName(p.param.request)) + "_" + ErrnoName(p.param.error) +
             (p.param.kind == ObjectKind::kNone ? "" : "_" + std::string(ToString(p.param.kind)));
    });

class Calls : public ::testing::Test {
 protected:
  FakeKernel kernel_;
  Context context_ = *Context::Open(&kernel_);
  Device device_ = *Device::Open(context_, "vfio0");
  Ioas ioas_ = *Ioas::Create(context_);
  Hwpt parent_ = *Hwpt::CreateNestingParent(device_, ioas_);
  Viommu viommu_ = *Viommu::Create(device_, parent_, Viommu::Type::kTegra241Cmdqv);

  UniqueFd Memory(off_t size) {
    UniqueFd fd(::memfd_create("guest", MFD_CLOEXEC));
    EXPECT_EQ(::ftruncate(fd.get(), size), 0);
    return fd;
  }
  // The kernel says EINVAL to `mapping`, of an IOAS whose hole is the MSI window.
  Reason WhyInvalid(const Ioas::FileMapping& mapping) {
    kernel_.FailCall(uapi::kIommuIoasMapFile, EINVAL);
    kernel_.Answer(uapi::kIommuIoasIovaRanges, [](void* arg) {
      auto* ranges = static_cast<uapi::IommuIoasIovaRanges*>(arg);
      auto* out = reinterpret_cast<uapi::IommuIovaRange*>(ranges->allowed_iovas);
      out[0] = {0, uapi::kSwMsiBase - 1};
      out[1] = {uapi::kSwMsiBase + uapi::kSwMsiLength, UINT64_MAX};
      ranges->num_iovas = 2;
      ranges->out_iova_alignment = 4096;
    });
    return ReasonOf(ioas_.MapFile(mapping));
  }
};

TEST_F(Calls, EinvalOfMapFileIsTakenApart) {
  const UniqueFd memory = Memory(1 << 20);
  const int fd = memory.get();
  EXPECT_EQ(WhyInvalid({.fd = kernel_.OpenContext()->get(), .length = 4096}),
            Reason::kMemoryNotMemfd);
  EXPECT_EQ(WhyInvalid({.fd = fd, .length = 0}), Reason::kInvalidField);
  EXPECT_EQ(WhyInvalid({.fd = fd, .length = 4096, .iova = 0x800}), Reason::kAlignment);
  EXPECT_EQ(WhyInvalid({.fd = fd, .length = 100}), Reason::kAlignment);
  EXPECT_EQ(WhyInvalid({.fd = fd, .length = 4096, .iova = uapi::kSwMsiBase}),
            Reason::kMemoryReserved);
  EXPECT_EQ(WhyInvalid({.fd = fd, .length = 8192, .iova = uapi::kSwMsiBase - 4096}),
            Reason::kMemoryReserved);
  EXPECT_EQ(WhyInvalid({.fd = fd, .start = 1 << 20, .length = 4096}), Reason::kMemoryTooShort);
  EXPECT_EQ(WhyInvalid({.fd = fd, .length = 2 << 20}), Reason::kMemoryTooShort);
  EXPECT_EQ(WhyInvalid({.fd = fd, .length = 4096}), Reason::kKernelRefused);
}

TEST_F(Calls, MapFileAsksForReadAndWriteAtAFixedIova) {
  uapi::IommuIoasMapFile seen = {};
  for (const auto access : {Ioas::Access::kRead, Ioas::Access::kReadWrite}) {
    kernel_.Answer(uapi::kIommuIoasMapFile,
                   [&](void* arg) { seen = *static_cast<uapi::IommuIoasMapFile*>(arg); });
    ASSERT_TRUE(
        ioas_
            .MapFile({.fd = 3, .start = 4096, .length = 8192, .iova = 0x40000000, .access = access})
            .ok());
    EXPECT_EQ(seen.size, sizeof(seen));
    EXPECT_EQ(seen.flags, uapi::kIoasMapFixedIova | uapi::kIoasMapReadable |
                              (access == Ioas::Access::kRead ? 0 : uapi::kIoasMapWriteable));
    EXPECT_EQ(seen.ioas_id, ioas_.id());
    EXPECT_EQ(seen.fd, 3);
    EXPECT_EQ(seen.start, 4096U);
    EXPECT_EQ(seen.length, 8192U);
    EXPECT_EQ(seen.iova, 0x40000000U);
  }
}

TEST_F(Calls, UnmapReturnsTheBytes) {
  kernel_.Answer(uapi::kIommuIoasUnmap, [](void* arg) {
    auto* unmap = static_cast<uapi::IommuIoasUnmap*>(arg);
    EXPECT_EQ(unmap->iova, 0U);
    EXPECT_EQ(unmap->length, UINT64_MAX);
    unmap->length = 12288;
  });
  EXPECT_EQ(ioas_.UnmapAll().value(), 12288U);
}

TEST_F(Calls, IovaRangesAreAskedForAgainWhenThereAreMore) {
  static constexpr uint32_t kRanges = 40;
  kernel_.FailCall(uapi::kIommuIoasIovaRanges, EMSGSIZE);
  kernel_.Answer(uapi::kIommuIoasIovaRanges, [&](void* first) {
    static_cast<uapi::IommuIoasIovaRanges*>(first)->num_iovas = kRanges;
    kernel_.Answer(uapi::kIommuIoasIovaRanges, [](void* second) {
      auto* arg = static_cast<uapi::IommuIoasIovaRanges*>(second);
      EXPECT_EQ(arg->num_iovas, kRanges);
      auto* out = reinterpret_cast<uapi::IommuIovaRange*>(arg->allowed_iovas);
      for (uint32_t i = 0; i < kRanges; ++i) out[i] = {i * 8192UL, i * 8192UL + 4095};
      arg->out_iova_alignment = 4096;
    });
  });
  const absl::StatusOr<Ioas::IovaRanges> ranges = ioas_.GetIovaRanges();
  ASSERT_TRUE(ranges.ok()) << ranges.status();
  EXPECT_THAT(ranges->ranges, SizeIs(kRanges));
  EXPECT_EQ(ranges->ranges.back().last, 39 * 8192 + 4095U);
  EXPECT_EQ(ranges->alignment, 4096U);
}

TEST_F(Calls, ImpossibleIovaRangesAreAnError) {
  for (const uint32_t count : {0U, 1U << 30}) {
    kernel_.FailCall(uapi::kIommuIoasIovaRanges, EMSGSIZE);
    kernel_.Answer(uapi::kIommuIoasIovaRanges, [&](void* arg) {
      static_cast<uapi::IommuIoasIovaRanges*>(arg)->num_iovas = count;
    });
    EXPECT_EQ(ErrnoOf(ioas_.GetIovaRanges().status()), EMSGSIZE);
  }
  // Success, but an alignment of zero.
  EXPECT_EQ(ReasonOf(ioas_.GetIovaRanges().status()), Reason::kSystemError);
}

TEST_F(Calls, NestedHwptCarriesTheStreamTableEntry) {
  uint64_t ste[2] = {};
  kernel_.Answer(uapi::kIommuHwptAlloc, [&](void* arg) {
    auto* alloc = static_cast<uapi::IommuHwptAlloc*>(arg);
    EXPECT_EQ(alloc->pt_id, viommu_.id());
    EXPECT_EQ(alloc->data_type, uapi::kHwptDataArmSmmuv3);
    ASSERT_EQ(alloc->data_len, 16U);
    std::memcpy(ste, reinterpret_cast<void*>(alloc->data_uptr), sizeof(ste));
  });
  ASSERT_TRUE(Hwpt::CreateNested(device_, viommu_, uapi::kSteBypass).ok());
  EXPECT_EQ(ste[0], 1U | 4U << 1);
  EXPECT_EQ(ste[1], 0U);
}

TEST_F(Calls, OnlyCmdqvHasPage0) {
  EXPECT_EQ(viommu_.page0().length, kPage0Size);
  EXPECT_TRUE(viommu_.RegionForVmm().ok());
  const absl::StatusOr<Viommu> plain = Viommu::Create(device_, parent_, Viommu::Type::kArmSmmuv3);
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(plain->page0().length, 0U);
  EXPECT_EQ(ReasonOf(plain->RegionForVmm().status()), Reason::kNotFound);
}

TEST_F(Calls, EinvalOfVdeviceIsTheRangeOnlyForALargeVsid) {
  kernel_.FailCall(uapi::kIommuVdeviceAlloc, EINVAL);
  EXPECT_EQ(ReasonOf(Vdevice::Create(viommu_, device_, 1 << 20).status()), Reason::kVsidRange);
  kernel_.FailCall(uapi::kIommuVdeviceAlloc, EINVAL);
  EXPECT_EQ(ReasonOf(Vdevice::Create(viommu_, device_, 5).status()), Reason::kKernelRefused);
}

TEST_F(Calls, InvalidateSaysHowManyCommandsWereHandled) {
  std::vector<uapi::IommuViommuArmSmmuv3Invalidate> commands(10000);
  std::vector<uint32_t> slices;
  const auto record = [&](void* arg) {
    slices.push_back(static_cast<uapi::IommuHwptInvalidate*>(arg)->entry_num);
  };
  kernel_.Answer(uapi::kIommuHwptInvalidate, [&](void* arg) {
    record(arg);
    kernel_.Answer(uapi::kIommuHwptInvalidate, record);
  });
  const Viommu::Invalidated all = viommu_.Invalidate(commands);
  EXPECT_TRUE(all.status.ok());
  EXPECT_EQ(all.handled, 10000U);
  EXPECT_THAT(slices, ::testing::ElementsAre(4096, 4096));

  kernel_.FailCall(uapi::kIommuHwptInvalidate, EIO, 1);
  kernel_.Answer(uapi::kIommuHwptInvalidate, [&](void*) {
    kernel_.Answer(uapi::kIommuHwptInvalidate,
                   [](void* arg) { static_cast<uapi::IommuHwptInvalidate*>(arg)->entry_num = 7; });
  });
  const Viommu::Invalidated some = viommu_.Invalidate(commands);
  EXPECT_EQ(ReasonOf(some.status), Reason::kBadCommand);
  EXPECT_EQ(some.handled, 4096U + 7);
  EXPECT_EQ(MetadataOf(some.status)["command"], "4103");
}

TEST_F(Calls, InvalidateWithoutMemoryHandlesNothing) {
  kernel_.FailCall(uapi::kIommuHwptInvalidate, ENOMEM);
  const std::vector<uapi::IommuViommuArmSmmuv3Invalidate> commands(3);
  const Viommu::Invalidated none = viommu_.Invalidate(commands);
  EXPECT_EQ(ReasonOf(none.status), Reason::kOutOfMemory);
  EXPECT_EQ(none.handled, 0U) << "the kernel leaves the count as it was";
  EXPECT_TRUE(viommu_.Invalidate({}).status.ok());
}

TEST_F(Calls, AttachReturnsTheHwptThatTheKernelMade) {
  kernel_.Answer(uapi::kVfioDeviceAttachIommufdPt, [&](void* arg) {
    auto* attach = static_cast<uapi::VfioDeviceAttachIommufdPt*>(arg);
    EXPECT_EQ(attach->pt_id, ioas_.id());
    attach->pt_id = 77;
  });
  EXPECT_EQ(device_.Attach(ioas_).value(), 77U);
  EXPECT_TRUE(device_.Detach().ok());
  EXPECT_TRUE(device_.Reset().ok());
}

TEST_F(Calls, HwInfoIsAskedForByType) {
  kernel_.Answer(uapi::kIommuGetHwInfo, [&](void* arg) {
    auto* info = static_cast<uapi::IommuHwInfo*>(arg);
    EXPECT_EQ(info->flags, uapi::kHwInfoInputType);
    EXPECT_EQ(info->data_type, uapi::kHwInfoTegra241Cmdqv);
    const uapi::IommuHwInfoTegra241Cmdqv data = {0, 1, 1, 4, 0};
    std::memcpy(reinterpret_cast<void*>(info->data_uptr), &data, sizeof(data));
  });
  EXPECT_EQ(device_.GetCmdqvInfo()->log2vsids, 4);
  kernel_.Answer(uapi::kIommuGetHwInfo, [](void* arg) {
    static_cast<uapi::IommuHwInfo*>(arg)->out_capabilities = uapi::kHwCapPciAtsNotSupported;
  });
  EXPECT_EQ(device_.GetSmmuInfo()->capabilities, uapi::kHwCapPciAtsNotSupported);
  kernel_.FailCall(uapi::kIommuGetHwInfo, EOPNOTSUPP);
  EXPECT_EQ(ReasonOf(device_.GetCmdqvInfo().status()), Reason::kKernelFeatureMissing);
}

}  // namespace
}  // namespace berth
