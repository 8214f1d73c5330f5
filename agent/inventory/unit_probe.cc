// SPDX-License-Identifier: Apache-2.0
#include "agent/inventory/unit_probe.h"

#include <algorithm>
#include <initializer_list>
#include <utility>
#include <vector>

#include "lib/base/status.h"
#include "lib/capacity/unit_capacity.h"
#include "lib/iommufd/device.h"
#include "lib/iommufd/uapi/smmuv3.h"
#include "lib/iommufd/vintf_count.h"

namespace berth {
namespace {

// Far more than hardware has (64), so that counting ends.
constexpr size_t kMostVintfs = 4096;

// IDR1.CMDQS, bits 25:21 (Linux drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.h).
int QueueLog2(const uapi::IommuHwInfoArmSmmuv3& smmu) {
  return static_cast<int>(smmu.idr[1] >> 21 & 0x1f);
}

// Of an IOMMU that is no SMMUv3. One that says nothing of itself counts as one without a vIOMMU:
// devices get a plain page table there.
absl::StatusOr<v1::Unit::Profile> OtherProfile(const Device& device) {
  auto info = Sized<uapi::IommuHwInfo>();
  info.dev_id = device.id();
  BERTH_RETURN_IF_ERROR(device.context().Call(uapi::kIommuGetHwInfo, &info));
  return info.data_type == uapi::kHwInfoAmd ? v1::Unit::AMD_IOMMU : v1::Unit::VTD;
}

absl::StatusOr<std::vector<Device>> OpenAll(const Context& context,
                                            std::span<const std::string> names) {
  std::vector<Device> devices;
  for (const std::string& name : names) {
    BERTH_ASSIGN_OR_RETURN(Device device, Device::Open(context, name));
    devices.push_back(std::move(device));
  }
  return devices;
}

}  // namespace

// IDR5 says which granules; the blocks of each are those of Linux
// drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.c, arm_smmu_device_hw_probe().
std::vector<int64_t> PageSizes(const UnitFacts& facts) {
  if (!facts.smmu.has_value()) return {};
  const uint32_t idr5 = facts.smmu->idr[5];
  constexpr int64_t kKib = 1024;
  std::vector<int64_t> sizes;
  const auto add = [&sizes](uint64_t offered, std::initializer_list<int64_t> more) {
    if (offered != 0) sizes.insert(sizes.end(), more);
  };
  add(uapi::kIdr5Gran4k.Get(idr5), {4 * kKib, 2 * kKib * kKib, kKib * kKib * kKib});
  add(uapi::kIdr5Gran16k.Get(idr5), {16 * kKib, 32 * kKib * kKib});
  add(uapi::kIdr5Gran64k.Get(idr5), {64 * kKib, 512 * kKib * kKib});
  std::sort(sizes.begin(), sizes.end());
  return sizes;
}

absl::StatusOr<UnitFacts> ProbeUnit(KernelApi* kernel, const std::string& name, VintfCount count,
                                    std::span<const std::string> others) {
  BERTH_ASSIGN_OR_RETURN(Context context, Context::Open(kernel));
  BERTH_ASSIGN_OR_RETURN(Device device, Device::Open(context, name));
  UnitFacts facts;
  absl::StatusOr<Device::SmmuInfo> smmu = device.GetSmmuInfo();
  if (ReasonOf(smmu.status()) == Reason::kKernelFeatureMissing) {
    BERTH_ASSIGN_OR_RETURN(facts.profile, OtherProfile(device));
    return facts;
  }
  BERTH_RETURN_IF_ERROR(smmu.status());
  facts.profile = v1::Unit::ARM_SMMUV3;
  facts.smmu = smmu->smmu;
  facts.sids_per_vintf = static_cast<int>(DefaultCapacity(UnitProfile::kArmSmmuV3).sids_per_vintf);
  absl::StatusOr<uapi::IommuHwInfoTegra241Cmdqv> cmdqv = device.GetCmdqvInfo();
  if (ReasonOf(cmdqv.status()) == Reason::kKernelFeatureMissing) return facts;
  BERTH_RETURN_IF_ERROR(cmdqv.status());
  facts.profile = v1::Unit::TEGRA241_CMDQV;
  facts.cmdqv_version = cmdqv->version;
  facts.vcmdqs_per_vintf = 1 << (cmdqv->log2vcmdqs & 0xf);
  facts.sids_per_vintf = 1 << (cmdqv->log2vsids & 0xf);
  facts.max_queue_log2 = QueueLog2(smmu->smmu);
  if (count == VintfCount::kObserve) {
    // Bound for as long as it is counted: nobody allocates meanwhile.
    const absl::StatusOr<std::vector<Device>> idle = OpenAll(context, others);
    if (ReasonOf(idle.status()) == Reason::kKernelGone) return idle.status();
    if (!idle.ok()) return facts;
    BERTH_ASSIGN_OR_RETURN(facts.observed_vintfs, CountVintfs(context, device, kMostVintfs));
  }
  return facts;
}

absl::Status CheckVintf(KernelApi* kernel, const std::string& name) {
  BERTH_ASSIGN_OR_RETURN(const Context context, Context::Open(kernel));
  BERTH_ASSIGN_OR_RETURN(const Device device, Device::Open(context, name));
  BERTH_ASSIGN_OR_RETURN(const int count, CountVintfs(context, device, 1));
  return count == 1 ? absl::OkStatus()
                    : Error(Reason::kVintfExhausted, "all VINTFs of the unit are in use");
}

}  // namespace berth
