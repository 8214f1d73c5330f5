// SPDX-License-Identifier: Apache-2.0
#include "lib/placement/gang.h"

#include <algorithm>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "lib/base/status.h"

namespace berth::placement {
namespace {

absl::Status Bad(Reason reason, const std::string& field, std::string_view what) {
  return Error(reason, absl::StrCat(field, ": ", std::string(what)), {{"field", field}});
}

uint64_t MostDevices(const Request& request) {
  uint64_t devices = 0;
  for (const DeviceRequest& device : request.devices) {
    uint32_t most = 0;
    for (const DeviceSpec& spec : device.alternatives) most = std::max(most, spec.count);
    devices += most;
  }
  return devices;
}

absl::Status CheckConstraint(const GangConstraint& constraint, size_t members,
                             const std::string& at) {
  if (constraint.members.size() > members ||
      std::any_of(constraint.members.begin(), constraint.members.end(),
                  [&](size_t member) { return member >= members; })) {
    return Bad(Reason::kInvalidField, at + ".members",
               absl::StrCat("names a member that is not there; there are ", members));
  }
  if (constraint.kind != GangConstraint::Kind::kSameLabel) return absl::OkStatus();
  if (constraint.label.empty()) return Bad(Reason::kMissingField, at + ".label", "is empty");
  if (constraint.label.size() > kMaxText) {
    return Bad(Reason::kInvalidField, at + ".label", "is too long");
  }
  return absl::OkStatus();
}

}  // namespace

bool GangConstraint::Binds(size_t member) const {
  return members.empty() || std::find(members.begin(), members.end(), member) != members.end();
}

absl::Status AboutMember(const absl::Status& status, size_t member) {
  if (status.ok()) return status;
  ErrorMetadata metadata = MetadataOf(status);
  metadata["member"] = std::to_string(member);
  return Error(ReasonOf(status), absl::StrCat("member ", member, ": ", status.message()), metadata);
}

absl::Status ValidateGang(const GangRequest& request) {
  const size_t members = request.members.size();
  if (members == 0) return Bad(Reason::kMissingField, "members", "is empty");
  if (members > kMaxMembers) {
    return Bad(Reason::kInvalidField, "members",
               absl::StrCat(members, " entries; at most ", kMaxMembers));
  }
  uint64_t devices = 0;
  for (size_t i = 0; i < members; ++i) {
    BERTH_RETURN_IF_ERROR(AboutMember(ValidateRequest(request.members[i]), i));
    devices += MostDevices(request.members[i]);
  }
  if (devices > kMaxGangDevices) {
    return Bad(Reason::kInvalidField, "members",
               absl::StrCat(devices, " devices in all; at most ", kMaxGangDevices));
  }
  if (request.constraints.size() > kMaxGangConstraints) {
    return Bad(Reason::kInvalidField, "constraints",
               absl::StrCat(request.constraints.size(), " entries; at most ", kMaxGangConstraints));
  }
  for (size_t i = 0; i < request.constraints.size(); ++i) {
    BERTH_RETURN_IF_ERROR(
        CheckConstraint(request.constraints[i], members, absl::StrCat("constraints[", i, "]")));
  }
  return absl::OkStatus();
}

absl::Status GangExplanation::ToStatus() const {
  Explanation shown = explanation;
  shown.complete = complete;
  const absl::Status status = shown.ToStatus();
  ErrorMetadata metadata = MetadataOf(status);
  metadata["member"] = std::to_string(member);
  metadata["members"] = std::to_string(members);
  metadata["members_placed"] = std::to_string(placed);
  return Error(
      ReasonOf(status),
      absl::StrCat("the gang does not fit: with ", placed, " of ", members,
                   " members placed, member ", member, " found no place: ", status.message()),
      metadata);
}

}  // namespace berth::placement
