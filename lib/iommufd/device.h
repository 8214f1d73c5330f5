// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_IOMMUFD_DEVICE_H_
#define BERTH_LIB_IOMMUFD_DEVICE_H_

#include <cstdint>
#include <string>

#include "lib/iommufd/context.h"
#include "lib/iommufd/uapi/iommufd.h"
#include "lib/iommufd/uapi/vfio.h"

namespace berth {

class Hwpt;
class Ioas;

// A VFIO cdev that is bound to a context. Closing the last fd of the cdev, in any process, detaches
// and unbinds it; there is no other way to unbind, and no DESTROY. Move-only. Not thread-safe.
// A device goes after everything that was made with it: a vDEVICE that outlives it leaves an id
// that is never free again.
class Device {
 public:
  // Opens and binds. Errors: NOT_FOUND, AGENT_PRIVILEGE, DEVICE_GONE; DEVICE_BUSY when it is bound
  // already, through this cdev or another open of it.
  static absl::StatusOr<Device> Open(const Context& context, const std::string& name);
  // Binds an open cdev. `name` is for errors.
  static absl::StatusOr<Device> Bind(const Context& context, UniqueFd cdev, std::string name);
  // Takes over a cdev that is bound to `context` as `id`, e.g. from the fd store.
  static Device Adopt(const Context& context, UniqueFd cdev, uint32_t id, std::string name);

  Device(Device&&) = default;
  Device& operator=(Device&&) = default;

  [[nodiscard]] int fd() const { return fd_.get(); }
  // The dev_id inside the context. Several devices of one kernel group have an id each.
  [[nodiscard]] uint32_t id() const { return id_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const Context& context() const { return context_; }

  // Attaches, or atomically replaces what is attached. Attaching an IOAS makes the kernel allocate
  // an HWPT, which is no nesting parent. Returns the id of the HWPT. Errors: NOT_FOUND (a
  // translating nested HWPT needs a vDEVICE first), MEMORY_RESERVED (a mapping of the IOAS meets a
  // reserved region of the device), KERNEL_REFUSED (another unit).
  // A replace that fails takes the reserved regions out of the target's IOAS until the device is
  // detached and attached again (Linux drivers/iommu/iommufd/device.c).
  absl::StatusOr<uint32_t> Attach(const Hwpt& hwpt);
  absl::StatusOr<uint32_t> Attach(const Ioas& ioas);
  absl::Status Detach();
  // Function-level or bus reset. KERNEL_FEATURE_MISSING when the device has no method of reset.
  absl::Status Reset();

  struct SmmuInfo {
    uapi::IommuHwInfoArmSmmuv3 smmu = {};
    uint64_t capabilities = 0;  // uapi::kHwCap*
    uint8_t max_pasid_log2 = 0;
  };
  // KERNEL_FEATURE_MISSING when another kind of IOMMU, or none, is in front of the device.
  [[nodiscard]] absl::StatusOr<SmmuInfo> GetSmmuInfo() const;
  // KERNEL_FEATURE_MISSING when the unit has no CMDQV: this is the probe for it.
  [[nodiscard]] absl::StatusOr<uapi::IommuHwInfoTegra241Cmdqv> GetCmdqvInfo() const;

  [[nodiscard]] absl::StatusOr<uapi::VfioDeviceInfo> GetInfo() const;
  [[nodiscard]] absl::StatusOr<uapi::VfioRegionInfo> GetRegionInfo(uint32_t index) const;
  [[nodiscard]] absl::StatusOr<uapi::VfioIrqInfo> GetIrqInfo(uint32_t index) const;

 private:
  Device(Context context, UniqueFd fd, uint32_t id, std::string name)
      : context_(std::move(context)), fd_(std::move(fd)), id_(id), name_(std::move(name)) {}
  absl::StatusOr<uint32_t> AttachTo(const KernelObject& target);
  absl::Status Call(uapi::Request request, void* arg) const;
  absl::StatusOr<uapi::IommuHwInfo> GetHwInfo(uint32_t type, void* data, uint32_t size) const;

  Context context_;
  UniqueFd fd_;
  uint32_t id_;
  std::string name_;
};

}  // namespace berth

#endif  // BERTH_LIB_IOMMUFD_DEVICE_H_
