// SPDX-License-Identifier: Apache-2.0
//
// Facts of devices and units as the journal has them.
#ifndef BERTH_AGENT_GRANTS_GRANT_RECORD_H_
#define BERTH_AGENT_GRANTS_GRANT_RECORD_H_

#include <vector>

#include "agent/grants/device_lookup.h"
#include "agent/grants/grant_plan.h"
#include "berth/internal/v1/journal.pb.h"

namespace berth {

void WriteDevice(const GrantDevice& device, internal::v1::JournaledDevice* record);
GrantDevice ReadDevice(const internal::v1::JournaledDevice& record);
void WriteUnit(const GrantUnit& unit, internal::v1::JournaledUnit* record);

// What the grant of `record` was built from. Errors: STORE_CORRUPT (a unit without devices, or a
// device of no unit).
absl::StatusOr<GrantPlan> ReadPlan(const internal::v1::JournaledGrant& record);

}  // namespace berth

#endif  // BERTH_AGENT_GRANTS_GRANT_RECORD_H_
