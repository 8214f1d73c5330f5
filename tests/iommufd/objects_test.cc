// SPDX-License-Identifier: Apache-2.0
//
// That the owners of kernel objects leak nothing, whatever fails, and destroy in the kernel's
// order.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/status.h"
#include "lib/iommufd/device.h"
#include "lib/iommufd/hwpt.h"
#include "lib/iommufd/ioas.h"
#include "lib/iommufd/uapi/smmuv3.h"
#include "lib/iommufd/veventq.h"
#include "lib/iommufd/viommu.h"
#include "tests/iommufd/fake_kernel.h"

namespace berth {
namespace {

using ::testing::ElementsAre;
using testing::FakeKernel;
using ::testing::IsEmpty;

// Everything that a VM with one device has, declared in the order that context.h asks for.
struct Grant {
  Context context;
  Device device;
  Ioas ioas;
  Hwpt parent;
  Viommu viommu;
  Veventq veventq;
  Vdevice vdevice;
  Hwpt nested;
  HwQueue queue0;
  HwQueue queue1;
};

absl::StatusOr<Grant> BuildGrant(FakeKernel& kernel, Context::LeakReporter on_leak = {}) {
  BERTH_ASSIGN_OR_RETURN(Context context, Context::Open(&kernel, std::move(on_leak)));
  BERTH_ASSIGN_OR_RETURN(Device device, Device::Open(context, "vfio0"));
  BERTH_ASSIGN_OR_RETURN(Ioas ioas, Ioas::Create(context));
  BERTH_ASSIGN_OR_RETURN(Hwpt parent, Hwpt::CreateNestingParent(device, ioas));
  BERTH_ASSIGN_OR_RETURN(Viommu viommu,
                         Viommu::Create(device, parent, Viommu::Type::kTegra241Cmdqv));
  BERTH_ASSIGN_OR_RETURN(Veventq veventq, Veventq::Create(viommu, Veventq::Type::kArmSmmuv3, 16));
  BERTH_ASSIGN_OR_RETURN(Vdevice vdevice, Vdevice::Create(viommu, device, 0x10));
  BERTH_ASSIGN_OR_RETURN(Hwpt nested, Hwpt::CreateNested(device, viommu, uapi::kSteAbort));
  BERTH_ASSIGN_OR_RETURN(HwQueue queue0, HwQueue::Create(viommu, 0, 0x100000, 4096));
  BERTH_ASSIGN_OR_RETURN(HwQueue queue1, HwQueue::Create(viommu, 1, 0x200000, 4096));
  return Grant{std::move(context), std::move(device),  std::move(ioas),    std::move(parent),
               std::move(viommu),  std::move(veventq), std::move(vdevice), std::move(nested),
               std::move(queue0),  std::move(queue1)};
}

size_t OpenFds() {
  return static_cast<size_t>(
      std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}));
}

constexpr int kCallsOfAGrant = 9;

TEST(Objects, GrantGoesInTheOrderThatTheKernelWants) {
  FakeKernel kernel;
  std::vector<absl::Status> leaks;
  const size_t fds = OpenFds();
  {
    absl::StatusOr<Grant> grant =
        BuildGrant(kernel, [&](const absl::Status& status) { leaks.push_back(status); });
    ASSERT_TRUE(grant.ok()) << grant.status();
    EXPECT_EQ(kernel.calls.size(), kCallsOfAGrant);
    kernel.calls.clear();
  }
  EXPECT_THAT(kernel.calls,
              ElementsAre("DESTROY HW_QUEUE_ALLOC", "DESTROY HW_QUEUE_ALLOC", "DESTROY HWPT_ALLOC",
                          "DESTROY VDEVICE_ALLOC", "DESTROY VEVENTQ_ALLOC", "DESTROY VIOMMU_ALLOC",
                          "DESTROY HWPT_ALLOC", "DESTROY IOAS_ALLOC"));
  EXPECT_THAT(kernel.Alive(), IsEmpty());
  EXPECT_THAT(leaks, IsEmpty());
  EXPECT_EQ(OpenFds(), fds);
}

// Whatever step fails, with whatever errno, what came before is undone and no fd is left.
class AnyStepFails : public ::testing::TestWithParam<int> {};

TEST_P(AnyStepFails, NothingIsLeft) {
  for (int step = 0; step < kCallsOfAGrant; ++step) {
    SCOPED_TRACE(step);
    FakeKernel kernel;
    std::vector<absl::Status> leaks;
    const size_t fds = OpenFds();
    kernel.FailAnyCall(step, GetParam());
    const absl::Status status =
        BuildGrant(kernel, [&](const absl::Status& leak) { leaks.push_back(leak); }).status();
    EXPECT_EQ(ErrnoOf(status), GetParam());
    EXPECT_EQ(MetadataOf(status)["call"], kernel.calls[static_cast<size_t>(step)]);
    EXPECT_THAT(kernel.Alive(), IsEmpty());
    EXPECT_THAT(leaks, IsEmpty());
    EXPECT_EQ(OpenFds(), fds);
  }
}

INSTANTIATE_TEST_SUITE_P(Errno, AnyStepFails,
                         ::testing::Values(EINVAL, ENOENT, EBUSY, ENOSPC, ENOMEM, EOPNOTSUPP,
                                           EEXIST, EIO, ETIMEDOUT, EFAULT, ESHUTDOWN),
                         [](const auto& p) { return ErrnoName(p.param); });

TEST(Objects, BusyObjectCanBeDestroyedAgain) {
  FakeKernel kernel;
  absl::StatusOr<Grant> grant = BuildGrant(kernel);
  ASSERT_TRUE(grant.ok());
  const uint32_t id = grant->queue1.id();
  kernel.FailCall(uapi::kIommuDestroy, EBUSY);
  EXPECT_EQ(ReasonOf(grant->queue1.Destroy()), Reason::kQueueOrder);
  EXPECT_EQ(grant->queue1.id(), id);
  EXPECT_TRUE(grant->queue1.Destroy().ok());
  EXPECT_FALSE(grant->queue1.valid());
  EXPECT_TRUE(grant->queue1.Destroy().ok()) << "nothing left to do";
}

TEST(Objects, BusyViommuIsStillMapped) {
  FakeKernel kernel;
  std::optional<std::vector<absl::Status>> leaks{std::in_place};
  {
    absl::StatusOr<Grant> grant =
        BuildGrant(kernel, [&](const absl::Status& leak) { leaks->push_back(leak); });
    ASSERT_TRUE(grant.ok());
    const absl::Status busy = grant->viommu.Destroy();
    EXPECT_EQ(ReasonOf(busy), Reason::kStillMapped);
    EXPECT_EQ(MetadataOf(busy)["object"], "vIOMMU");
    EXPECT_EQ(MetadataOf(busy)["id"], std::to_string(grant->viommu.id()));
    EXPECT_EQ(ReasonOf(grant->parent.Destroy()), Reason::kStateConflict);
  }
  EXPECT_THAT(*leaks, IsEmpty());
}

TEST(Objects, WhatTheKernelHasNoMoreIsNotTriedAgain) {
  FakeKernel kernel;
  absl::StatusOr<Grant> grant = BuildGrant(kernel);
  ASSERT_TRUE(grant.ok());
  kernel.FailCall(uapi::kIommuDestroy, ENOENT);
  EXPECT_EQ(ReasonOf(grant->vdevice.Destroy()), Reason::kNotFound);
  EXPECT_FALSE(grant->vdevice.valid());
}

TEST(Objects, DestructorReportsWhatItCouldNotDestroy) {
  FakeKernel kernel;
  std::vector<absl::Status> leaks;
  const absl::StatusOr<Context> context =
      Context::Open(&kernel, [&](const absl::Status& leak) { leaks.push_back(leak); });
  ASSERT_TRUE(context.ok());
  kernel.FailCall(uapi::kIommuDestroy, EBUSY);
  { const auto ioas = Ioas::Create(*context); }
  ASSERT_EQ(leaks.size(), 1U);
  EXPECT_EQ(MetadataOf(leaks[0])["object"], "IOAS");
  kernel.FailCall(uapi::kIommuDestroy, ESHUTDOWN);
  { const auto ioas = Ioas::Create(*context); }
  EXPECT_EQ(leaks.size(), 1U) << "an emulator that ended holds nothing";
}

TEST(Objects, AssignmentDestroysWhatWasThere) {
  FakeKernel kernel;
  const absl::StatusOr<Context> context = Context::Open(&kernel);
  ASSERT_TRUE(context.ok());
  Ioas first = *Ioas::Create(*context);
  Ioas second = *Ioas::Create(*context);
  const uint32_t id = second.id();
  first = std::move(second);
  EXPECT_EQ(first.id(), id);
  EXPECT_THAT(kernel.Alive(), ElementsAre("IOAS_ALLOC"));
}

TEST(Objects, ReplacedEventQueueClosesItsFdFirst) {
  FakeKernel kernel;
  std::vector<absl::Status> leaks;
  absl::StatusOr<Grant> grant =
      BuildGrant(kernel, [&](const absl::Status& leak) { leaks.push_back(leak); });
  ASSERT_TRUE(grant.ok());
  absl::StatusOr<Veventq> other = Veventq::Create(grant->viommu, Veventq::Type::kTegra241Cmdqv, 16);
  ASSERT_TRUE(other.ok());
  grant->veventq = *std::move(other);
  EXPECT_EQ(grant->veventq.type(), Veventq::Type::kTegra241Cmdqv);
  EXPECT_EQ(kernel.calls.back(), "DESTROY VEVENTQ_ALLOC");
  EXPECT_THAT(leaks, IsEmpty());
}

TEST(Objects, ForgottenObjectsOutliveTheirOwner) {
  FakeKernel kernel;
  uint32_t id = 0;
  {
    const absl::StatusOr<Context> context = Context::Open(&kernel);
    ASSERT_TRUE(context.ok());
    absl::StatusOr<Ioas> ioas = Ioas::Create(*context);
    ASSERT_TRUE(ioas.ok());
    id = ioas->Forget();
  }
  EXPECT_THAT(kernel.Alive(), ElementsAre("IOAS_ALLOC"));
  {
    absl::StatusOr<Context> again = Context::Open(&kernel);
    const Ioas adopted = Ioas::Adopt(*again, id);
  }
  EXPECT_THAT(kernel.Alive(), IsEmpty());
}

TEST(Objects, ContextLivesUntilItsLastObjectIsGone) {
  FakeKernel kernel;
  const size_t fds = OpenFds();
  std::optional<Ioas> ioas;
  {
    const absl::StatusOr<Context> context = Context::Open(&kernel);
    ioas = *Ioas::Create(*context);
  }
  EXPECT_EQ(OpenFds(), fds + 1);
  ioas.reset();
  EXPECT_THAT(kernel.Alive(), IsEmpty());
  EXPECT_EQ(OpenFds(), fds);
}

TEST(Objects, ObjectsOfTwoContextsAreNeverMixed) {
  FakeKernel kernel;
  absl::StatusOr<Grant> a = BuildGrant(kernel);
  absl::StatusOr<Grant> b = BuildGrant(kernel);
  ASSERT_TRUE(a.ok() && b.ok());
  kernel.calls.clear();
  EXPECT_EQ(ReasonOf(a->device.Attach(b->ioas).status()), Reason::kInternal);
  EXPECT_EQ(ReasonOf(Hwpt::CreateNestingParent(a->device, b->ioas).status()), Reason::kInternal);
  EXPECT_EQ(ReasonOf(Hwpt::CreateNested(a->device, b->viommu, uapi::kSteAbort).status()),
            Reason::kInternal);
  EXPECT_EQ(ReasonOf(Viommu::Create(a->device, b->parent, Viommu::Type::kArmSmmuv3).status()),
            Reason::kInternal);
  EXPECT_EQ(ReasonOf(Vdevice::Create(a->viommu, b->device, 1).status()), Reason::kInternal);
  EXPECT_THAT(kernel.calls, IsEmpty());
}

TEST(Objects, DeviceThatIsMissingIsNotBound) {
  FakeKernel kernel;
  const absl::StatusOr<Context> context = Context::Open(&kernel);
  EXPECT_EQ(ReasonOf(Device::Open(*context, "missing").status()), Reason::kNotFound);
  EXPECT_THAT(kernel.calls, IsEmpty());
}

}  // namespace
}  // namespace berth
