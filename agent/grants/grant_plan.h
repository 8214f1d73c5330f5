// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_GRANTS_GRANT_PLAN_H_
#define BERTH_AGENT_GRANTS_GRANT_PLAN_H_

#include <vector>

#include "absl/status/statusor.h"
#include "agent/grants/device_lookup.h"
#include "agent/grants/grant_limits.h"
#include "berth/agent/v1/grant.pb.h"

namespace berth {

// A desired grant in terms of this host: what is to be bound, and what is to be built over it.
struct GrantPlan {
  struct Unit {
    GrantUnit facts;
    uint32_t vcmdqs = 0;          // 0: a plain vIOMMU
    std::vector<size_t> devices;  // indices into the plan's devices; at least one
  };
  std::vector<Unit> units;  // the order in which VMMs number them
  std::vector<GrantDevice> devices;
};

// Checks form and bounds of what a controller sent. Errors: MISSING_FIELD, INVALID_FIELD,
// TOO_LARGE.
absl::Status CheckDesired(const agent::v1::DesiredGrant& desired, const GrantLimits& limits);

// Errors: UNSUPPORTED (CONFINED, BROKERED and an IOMMU without vIOMMUs), DEVICE_GONE, UNIT_UNKNOWN,
// KERNEL_FEATURE_MISSING (queues of a unit that has none), SID_SLOTS_EXHAUSTED; and those that pass
// by themselves: DEVICE_BUSY (the unit is there and could not be asked), KERNEL_GONE (the host
// could not be looked at).
absl::StatusOr<GrantPlan> MakePlan(const agent::v1::DesiredGrant& desired,
                                   const DeviceLookup& lookup);

// The devices of `desired` that are still there: what a release has to prove free. Errors: those of
// DeviceLookup::CheckKnown(), when one may be there and cannot be named.
absl::StatusOr<std::vector<GrantDevice>> FindDevices(const agent::v1::DesiredGrant& desired,
                                                     const DeviceLookup& lookup);

}  // namespace berth

#endif  // BERTH_AGENT_GRANTS_GRANT_PLAN_H_
