// SPDX-License-Identifier: Apache-2.0
#include "lib/iommufd/real_kernel.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "lib/base/mapping.h"
#include "lib/base/status.h"
#include "lib/iommufd/kernel_call.h"

namespace berth {
namespace {

// The result of a system call as KernelApi reports it: its value, or a negative errno.
template <typename Call>
auto WithoutEintr(Call call) {
  for (;;) {
    const auto result = call();
    if (result >= 0) return result;
    if (errno != EINTR) return static_cast<decltype(result)>(-errno);
  }
}

absl::StatusOr<UniqueFd> Open(const std::string& path) {
  const int fd = WithoutEintr([&] { return ::open(path.c_str(), O_RDWR | O_CLOEXEC); });
  if (fd >= 0) return UniqueFd(fd);
  return WithMetadata(ErrnoToStatus(-fd, "open"), "path", path);
}

}  // namespace

absl::StatusOr<UniqueFd> RealKernel::OpenContext() {
  absl::StatusOr<UniqueFd> fd = Open(absl::StrCat(dev_root_, "/iommu"));
  if (fd.ok()) return fd;
  // No node, or a node without a driver: a kernel without CONFIG_IOMMUFD.
  const int error = ErrnoOf(fd.status());
  if (error != ENOENT && error != ENXIO && error != ENODEV) return fd;
  return CallError(Reason::kKernelFeatureMissing, error, "open", MetadataOf(fd.status()));
}

absl::StatusOr<UniqueFd> RealKernel::OpenDevice(const std::string& name) {
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos) {
    return Error(Reason::kNotFound, "not the name of a VFIO device", {{"device", name}});
  }
  return Open(absl::StrCat(dev_root_, "/vfio/devices/", name));
}

int RealKernel::Ioctl(int fd, unsigned long request, void* arg) {  // NOLINT(google-runtime-int)
  return WithoutEintr([&] { return ::ioctl(fd, request, arg); });
}

ssize_t RealKernel::ReadEvents(int fd, void* buffer, size_t size) {
  return WithoutEintr([&] { return ::read(fd, buffer, size); });
}

ssize_t RealKernel::ReadRegion(int fd, void* buffer, size_t size, uint64_t offset) {
  return WithoutEintr([&] { return ::pread(fd, buffer, size, static_cast<off_t>(offset)); });
}

ssize_t RealKernel::WriteRegion(int fd, const void* buffer, size_t size, uint64_t offset) {
  return WithoutEintr([&] { return ::pwrite(fd, buffer, size, static_cast<off_t>(offset)); });
}

absl::StatusOr<MappedRegion> RealKernel::RegionForVmm(int context, uint64_t offset,
                                                      uint64_t length) {
  // The kernel alone knows which pairs it has handed out (Linux drivers/iommu/iommufd/main.c,
  // iommufd_fops_mmap): ask it.
  const absl::StatusOr<Mapping> probe =
      Mapping::Map(context, offset, length, Mapping::Access::kReadWrite);
  if (!probe.ok()) {
    const int error = ErrnoOf(probe.status());
    return CallError(error == ENXIO ? Reason::kNotFound : ReasonOf(probe.status()), error, "mmap",
                     MetadataOf(probe.status()));
  }
  const int fd = ::fcntl(context, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return ErrnoToStatus(errno, "dup");
  return MappedRegion{UniqueFd(fd), MappedRegion::Kind::kIommufd, offset, length};
}

}  // namespace berth
