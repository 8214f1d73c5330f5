// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_IOMMUFD_REAL_KERNEL_H_
#define BERTH_LIB_IOMMUFD_REAL_KERNEL_H_

#include <string>

#include "lib/iommufd/kernel_api.h"

namespace berth {

// KernelApi by system calls on this machine's device nodes. Thread-safe.
class RealKernel : public KernelApi {
 public:
  // `dev_root` is where devtmpfs is mounted: contexts are <dev_root>/iommu, cdevs are
  // <dev_root>/vfio/devices/<name>.
  explicit RealKernel(std::string dev_root = "/dev") : dev_root_(std::move(dev_root)) {}

  absl::StatusOr<UniqueFd> OpenContext() override;
  absl::StatusOr<UniqueFd> OpenDevice(const std::string& name) override;
  int Ioctl(int fd, unsigned long request, void* arg) override;  // NOLINT(google-runtime-int)
  ssize_t ReadEvents(int fd, void* buffer, size_t size) override;
  ssize_t ReadRegion(int fd, void* buffer, size_t size, uint64_t offset) override;
  ssize_t WriteRegion(int fd, const void* buffer, size_t size, uint64_t offset) override;
  absl::StatusOr<MappedRegion> RegionForVmm(int context, uint64_t offset, uint64_t length) override;

 private:
  const std::string dev_root_;
};

}  // namespace berth

#endif  // BERTH_LIB_IOMMUFD_REAL_KERNEL_H_
