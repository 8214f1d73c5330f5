// SPDX-License-Identifier: Apache-2.0
#include "lib/iommufd/device.h"

#include "lib/iommufd/hwpt.h"
#include "lib/iommufd/ioas.h"

namespace berth {

absl::StatusOr<Device> Device::Open(const Context& context, const std::string& name) {
  BERTH_ASSIGN_OR_RETURN(UniqueFd cdev, context.kernel().OpenDevice(name));
  return Bind(context, std::move(cdev), name);
}

absl::StatusOr<Device> Device::Bind(const Context& context, UniqueFd cdev, std::string name) {
  auto arg = Sized<uapi::VfioDeviceBindIommufd>();
  arg.iommufd = context.fd();
  BERTH_RETURN_IF_ERROR(CallKernel(context.kernel(), cdev.get(), uapi::kVfioDeviceBindIommufd, &arg,
                                   {{"device", name}}));
  return Adopt(context, std::move(cdev), arg.out_devid, std::move(name));
}

Device Device::Adopt(const Context& context, UniqueFd cdev, uint32_t id, std::string name) {
  return {context, std::move(cdev), id, std::move(name)};
}

absl::Status Device::Call(uapi::Request request, void* arg) const {
  return CallKernel(context_.kernel(), fd_.get(), request, arg, {{"device", name_}});
}

absl::StatusOr<uint32_t> Device::AttachTo(const KernelObject& target) {
  BERTH_RETURN_IF_ERROR(context_.CheckSame(target.context()));
  auto arg = Sized<uapi::VfioDeviceAttachIommufdPt>();
  arg.pt_id = target.id();
  BERTH_RETURN_IF_ERROR(Call(uapi::kVfioDeviceAttachIommufdPt, &arg));
  return arg.pt_id;
}

absl::StatusOr<uint32_t> Device::Attach(const Hwpt& hwpt) { return AttachTo(hwpt); }
absl::StatusOr<uint32_t> Device::Attach(const Ioas& ioas) { return AttachTo(ioas); }

absl::Status Device::Detach() {
  auto arg = Sized<uapi::VfioDeviceDetachIommufdPt>();
  return Call(uapi::kVfioDeviceDetachIommufdPt, &arg);
}

absl::Status Device::Reset() { return Call(uapi::kVfioDeviceReset, nullptr); }

absl::StatusOr<uapi::IommuHwInfo> Device::GetHwInfo(uint32_t type, void* data,
                                                    uint32_t size) const {
  auto arg = Sized<uapi::IommuHwInfo>();
  arg.flags = uapi::kHwInfoInputType;
  arg.dev_id = id_;
  arg.data_len = size;
  arg.data_uptr = reinterpret_cast<uint64_t>(data);
  arg.data_type = type;
  BERTH_RETURN_IF_ERROR(context_.Call(uapi::kIommuGetHwInfo, &arg, {{"device", name_}}));
  return arg;
}

absl::StatusOr<Device::SmmuInfo> Device::GetSmmuInfo() const {
  SmmuInfo info;
  BERTH_ASSIGN_OR_RETURN(const uapi::IommuHwInfo arg,
                         GetHwInfo(uapi::kHwInfoArmSmmuv3, &info.smmu, sizeof(info.smmu)));
  info.capabilities = arg.out_capabilities;
  info.max_pasid_log2 = arg.out_max_pasid_log2;
  return info;
}

absl::StatusOr<uapi::IommuHwInfoTegra241Cmdqv> Device::GetCmdqvInfo() const {
  uapi::IommuHwInfoTegra241Cmdqv info = {};
  BERTH_RETURN_IF_ERROR(GetHwInfo(uapi::kHwInfoTegra241Cmdqv, &info, sizeof(info)).status());
  return info;
}

absl::StatusOr<uapi::VfioDeviceInfo> Device::GetInfo() const {
  auto arg = Sized<uapi::VfioDeviceInfo>();
  BERTH_RETURN_IF_ERROR(Call(uapi::kVfioDeviceGetInfo, &arg));
  return arg;
}

absl::StatusOr<uapi::VfioRegionInfo> Device::GetRegionInfo(uint32_t index) const {
  auto arg = Sized<uapi::VfioRegionInfo>();
  arg.index = index;
  BERTH_RETURN_IF_ERROR(Call(uapi::kVfioDeviceGetRegionInfo, &arg));
  return arg;
}

absl::StatusOr<uapi::VfioIrqInfo> Device::GetIrqInfo(uint32_t index) const {
  auto arg = Sized<uapi::VfioIrqInfo>();
  arg.index = index;
  BERTH_RETURN_IF_ERROR(Call(uapi::kVfioDeviceGetIrqInfo, &arg));
  return arg;
}

}  // namespace berth
