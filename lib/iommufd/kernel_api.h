// SPDX-License-Identifier: Apache-2.0
//
// The agent's seam: the system calls of iommufd and VFIO cdevs, and nothing above them. Two
// implementations, no third: RealKernel (real_kernel.h) and EmulatorClient
// (lib/emulator/emulator_client.h). One suite, tests/conformance, holds both to this contract;
// where they differ, the emulator is wrong.
#ifndef BERTH_LIB_IOMMUFD_KERNEL_API_H_
#define BERTH_LIB_IOMMUFD_KERNEL_API_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "lib/base/unique_fd.h"
#include "lib/iommufd/mapped_region.h"

namespace berth {

// Thread-safe: any method may be called from any thread, also on the same fd. The fds are ordinary
// fds of the process: dup(2), SCM_RIGHTS, poll(2) for POLLIN (event fds) and close(2) act on them
// as they do on the kernel's own, and the last close, in any process, is what ends a context, a
// cdev or an event queue.
//
// Errors of the calls that stand for ioctl(2) and read(2) are negative errno values, because the
// exact errno and the order of the checks behind it are the contract (Linux 7.3,
// drivers/iommu/iommufd). -EINTR is never returned. One value is Berth's own: -ESHUTDOWN means that
// the emulator behind the fd has ended; everything it held is gone and the fd is only good for
// close(). RealKernel never returns it.
class KernelApi {
 public:
  virtual ~KernelApi() = default;

  // A new, empty context: open("/dev/iommu"). Errors: ErrnoToStatus() of open(2), with reason
  // AGENT_PRIVILEGE or KERNEL_FEATURE_MISSING; KERNEL_GONE when no emulator listens.
  virtual absl::StatusOr<UniqueFd> OpenContext() = 0;

  // Opens the VFIO cdev `name` ("vfio3", as under /sys/bus/pci/devices/*/vfio-dev/), unbound. A
  // second open of a cdev succeeds; what it may do then is decided at BIND. Errors: NOT_FOUND,
  // AGENT_PRIVILEGE, DEVICE_GONE, KERNEL_GONE.
  virtual absl::StatusOr<UniqueFd> OpenDevice(const std::string& name) = 0;

  // ioctl(2) on a context or a cdev. `request` is one of uapi::kIommu* / uapi::kVfio*; `arg` points
  // to its struct, whose first u32 is its size (argsz), and may be read and written as the uapi
  // says, through the pointers inside it too. fds inside structs (BIND, MAP_FILE) are fds of the
  // caller; fds written into structs (VEVENTQ_ALLOC, FAULT_QUEUE_ALLOC) are the caller's to close,
  // and O_CLOEXEC. Returns what ioctl(2) returns (0 or, for a few VFIO calls, a positive number),
  // or a negative errno; -ENOTTY for an unknown request. What the emulator knows but does not do
  // yet is -EOPNOTSUPP (berth-emulator --list-unsupported).
  virtual int Ioctl(int fd, unsigned long request, void* arg) = 0;  // NOLINT(google-runtime-int)

  // read(2) of an event fd: as many whole records as fit. Never blocks: 0 when the queue is empty.
  // Readiness: poll(2) the fd for POLLIN.
  virtual ssize_t ReadEvents(int fd, void* buffer, size_t size) = 0;

  // pread(2)/pwrite(2) of a device region of a bound cdev; `offset` is the region's offset from
  // VFIO_DEVICE_GET_REGION_INFO plus the place inside it. Returns the bytes done, or a negative
  // errno.
  virtual ssize_t ReadRegion(int fd, void* buffer, size_t size, uint64_t offset) = 0;
  virtual ssize_t WriteRegion(int fd, const void* buffer, size_t size, uint64_t offset) = 0;

  // What a VMM is to be given so that it can map the region that `fd` offers at `offset`, `length`
  // (bytes). `fd` is a context, and the two are the pair that VIOMMU_ALLOC returned, exactly; or a
  // bound cdev, and they are those of a region that VFIO_DEVICE_GET_REGION_INFO says can be mapped.
  // The real kernel: a dup of `fd` itself, kind kIommufd. Emulated: the memfd of that region alone,
  // kind kMemfd, offset 0. The result does not pin the vIOMMU; a mapping made from it does.
  // Errors: NOT_FOUND when the context offers no such region (ENXIO of mmap(2)), INVALID_ARGUMENT
  // when the cdev does not (EINVAL); KERNEL_GONE.
  virtual absl::StatusOr<MappedRegion> RegionForVmm(int fd, uint64_t offset, uint64_t length) = 0;
};

}  // namespace berth

#endif  // BERTH_LIB_IOMMUFD_KERNEL_API_H_
