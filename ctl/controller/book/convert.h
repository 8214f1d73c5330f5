// SPDX-License-Identifier: Apache-2.0
//
// Between the API's messages and the plain values of lib/placement.
#ifndef BERTH_CTL_CONTROLLER_BOOK_CONVERT_H_
#define BERTH_CTL_CONTROLLER_BOOK_CONVERT_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "berth/agent/v1/inventory.pb.h"
#include "berth/internal/v1/records.pb.h"
#include "berth/v1/assignment.pb.h"
#include "berth/v1/assignment_service.pb.h"
#include "lib/placement/gang.h"
#include "lib/placement/model.h"
#include "lib/placement/request.h"

namespace berth {

// Decides between hosts that are equally good; any fixed number will do, and the same one lets
// assignments fill one host before the next.
inline constexpr uint64_t kSeed = 0;

// INVALID_FIELD and MISSING_FIELD name the field of the spec. `seed` decides between equal hosts.
absl::StatusOr<placement::Request> ToPlacementRequest(const v1::AssignmentSpec& spec,
                                                      uint64_t seed);

// The host's inventory with what operators set on it. Does not validate (ValidateSnapshot()).
placement::HostSnapshot ToSnapshot(const std::string& host_id,
                                   const internal::v1::HostRecord& record);

// INVALID_FIELD.
absl::StatusOr<std::vector<placement::GangConstraint>> ToGangConstraints(
    const google::protobuf::RepeatedPtrField<v1::GangConstraint>& constraints);

v1::Failure ToFailure(const absl::Status& status, absl::Time now);

placement::Taint ToTaint(const v1::Taint& from);
bool Tolerates(const v1::AssignmentSpec& spec, const v1::Taint& taint);

// Labels of the inventory, and over them those that were set by UpdateHost.
std::map<std::string, std::string> EffectiveLabels(const internal::v1::HostRecord& record);

// `inventory` is that of the placement's host; attach_endpoint comes from it too.
v1::Placement ToProto(const placement::Placement& placement, const agent::v1::Inventory& inventory);

// Back, for assignments that were read from the store.
placement::Placement FromProto(const v1::Placement& placement, const v1::AssignmentSpec& spec);

// "hosts/h1" <-> "h1". An empty result: not of this collection.
std::string HostName(const std::string& host_id);
std::string HostIdOf(const std::string& name);
std::string AssignmentName(const std::string& assignment_id);
std::string AssignmentIdOf(const std::string& name);

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_BOOK_CONVERT_H_
