// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_INVENTORY_UNIT_PROBE_H_
#define BERTH_AGENT_INVENTORY_UNIT_PROBE_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "berth/v1/device.pb.h"
#include "lib/iommufd/kernel_api.h"
#include "lib/iommufd/uapi/iommufd.h"

namespace berth {

// What the kernel says of a unit through one of its devices.
struct UnitFacts {
  v1::Unit::Profile profile = v1::Unit::PROFILE_UNSPECIFIED;
  int vcmdqs_per_vintf = 0;
  int sids_per_vintf = 0;
  int max_queue_log2 = 0;  // IDR1.CMDQS
  int cmdqv_version = 0;
  std::optional<uapi::IommuHwInfoArmSmmuv3> smmu;
  std::optional<int> observed_vintfs;  // nothing: not counted (yet)
};

// Bytes of the pages and blocks that the unit translates, ascending; empty where it does not say.
std::vector<int64_t> PageSizes(const UnitFacts& facts);

enum class VintfCount { kAssume, kObserve };

// Binds the cdev `name` to a scratch context, asks IOMMU_GET_HW_INFO, and unbinds it again. The
// profile is decided from what GET_HW_INFO says, never from the success of VIOMMU_ALLOC. With
// kObserve, VINTFs are also allocated until ENOSPC and freed one at a time; other processes may see
// the unit full meanwhile. `others` are the other cdevs behind the unit: while one of them cannot
// be bound, its holder may have a VINTF, and nothing is counted. Errors: those of Device::Open
// (DEVICE_BUSY: in use), KERNEL_GONE, KERNEL_FEATURE_MISSING.
absl::StatusOr<UnitFacts> ProbeUnit(KernelApi* kernel, const std::string& name, VintfCount count,
                                    std::span<const std::string> others = {});

// Whether the CMDQV behind which the cdev `name` is gives a VINTF, which goes back at once. Errors:
// those of ProbeUnit() and Viommu::Create(): HARDWARE_TIMEOUT, VINTF_EXHAUSTED.
absl::Status CheckVintf(KernelApi* kernel, const std::string& name);

}  // namespace berth

#endif  // BERTH_AGENT_INVENTORY_UNIT_PROBE_H_
