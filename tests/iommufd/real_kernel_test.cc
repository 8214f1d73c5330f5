// SPDX-License-Identifier: Apache-2.0
//
// RealKernel on a machine without iommufd: a folder in place of /dev, plain files in place of
// nodes. What it does with a real kernel is tests/conformance's business.
#include "lib/iommufd/real_kernel.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "lib/base/status.h"
#include "lib/iommufd/uapi/vfio.h"

namespace berth {
namespace {

class RealKernelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "/berth-dev-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    kernel_.emplace(root_.string());
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void AddNode(const std::string& name, const std::string& content = "") {
    std::filesystem::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << content;
  }

  std::filesystem::path root_;
  std::optional<RealKernel> kernel_;
};

TEST_F(RealKernelTest, WithoutANodeTheKernelLacksIommufd) {
  const absl::Status status = kernel_->OpenContext().status();
  EXPECT_EQ(ReasonOf(status), Reason::kKernelFeatureMissing);
  EXPECT_EQ(MetadataOf(status)["path"], (root_ / "iommu").string());
  EXPECT_EQ(ErrnoOf(status), ENOENT);
}

TEST_F(RealKernelTest, FdsAreClosedOnExec) {
  AddNode("iommu");
  AddNode("vfio/devices/vfio3");
  const absl::StatusOr<UniqueFd> context = kernel_->OpenContext();
  const absl::StatusOr<UniqueFd> device = kernel_->OpenDevice("vfio3");
  ASSERT_TRUE(context.ok() && device.ok());
  EXPECT_EQ(::fcntl(context->get(), F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(::fcntl(device->get(), F_GETFD), FD_CLOEXEC);
}

TEST_F(RealKernelTest, DeviceNamesDoNotLeaveTheFolder) {
  AddNode("vfio/secret");
  AddNode("vfio/devices/vfio0");
  for (const char* name : {"", ".", "..", "../secret", "vfio1"}) {
    EXPECT_EQ(ReasonOf(kernel_->OpenDevice(name).status()), Reason::kNotFound) << name;
  }
}

TEST_F(RealKernelTest, CallsReturnNegativeErrnos) {
  AddNode("iommu");
  const UniqueFd context = *kernel_->OpenContext();
  uapi::IommuDestroy arg = {sizeof(arg), 1};
  EXPECT_EQ(kernel_->Ioctl(context.get(), uapi::kIommuDestroy, &arg), -ENOTTY);
  EXPECT_EQ(kernel_->Ioctl(-1, uapi::kIommuDestroy, &arg), -EBADF);
  char byte = 0;
  EXPECT_EQ(kernel_->ReadEvents(-1, &byte, 1), -EBADF);
  EXPECT_EQ(kernel_->ReadRegion(-1, &byte, 1, 0), -EBADF);
  EXPECT_EQ(kernel_->WriteRegion(-1, &byte, 1, 0), -EBADF);
}

TEST_F(RealKernelTest, RegionsAreReadAndWrittenAtTheirOffset) {
  AddNode("vfio/devices/vfio0", "0123456789");
  const UniqueFd device = *kernel_->OpenDevice("vfio0");
  EXPECT_EQ(kernel_->WriteRegion(device.get(), "ab", 2, 4), 2);
  char buffer[4] = {};
  EXPECT_EQ(kernel_->ReadRegion(device.get(), buffer, sizeof(buffer), 3), 4);
  EXPECT_EQ(std::string(buffer, 4), "3ab6");
}

TEST_F(RealKernelTest, RegionForVmmIsTheContextItself) {
  AddNode("iommu", std::string(kPage0Size + 4096, 'x'));
  const UniqueFd context = *kernel_->OpenContext();
  const absl::StatusOr<MappedRegion> region =
      kernel_->RegionForVmm(context.get(), 4096, kPage0Size);
  ASSERT_TRUE(region.ok()) << region.status();
  EXPECT_EQ(region->kind, MappedRegion::Kind::kIommufd);
  EXPECT_EQ(region->offset, 4096U);
  EXPECT_EQ(region->length, kPage0Size);
  EXPECT_NE(region->fd.get(), context.get());
  EXPECT_EQ(::fcntl(region->fd.get(), F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(ErrnoOf(kernel_->RegionForVmm(context.get(), 1, kPage0Size).status()), EINVAL);
}

}  // namespace
}  // namespace berth
