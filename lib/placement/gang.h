// SPDX-License-Identifier: Apache-2.0
//
// Assignments that are placed together or not at all, and why they cannot be.
#ifndef BERTH_LIB_PLACEMENT_GANG_H_
#define BERTH_LIB_PLACEMENT_GANG_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "lib/placement/explain.h"
#include "lib/placement/request.h"

namespace berth::placement {

// A condition on the hosts of some members.
struct GangConstraint {
  enum class Kind : uint8_t {
    kSameHost,
    kDistinctHosts,  // no two on one host
    kSameLabel,      // all hosts have the label, with equal values
  };
  Kind kind = Kind::kSameHost;
  std::vector<size_t> members;  // places in GangRequest::members; empty: all
  std::string label;            // kSameLabel only

  [[nodiscard]] bool Binds(size_t member) const;
};

struct GangRequest {
  std::vector<Request> members;             // 1-64
  std::vector<GangConstraint> constraints;  // at most 16
};

inline constexpr size_t kMaxMembers = 64;
inline constexpr size_t kMaxGangConstraints = 16;
// Of all members together, of the largest alternatives: the search is that deep.
inline constexpr uint64_t kMaxGangDevices = 4096;

// INVALID_FIELD or MISSING_FIELD, with metadata "field" ("constraints[0].members"). What is wrong
// with a member is as ValidateRequest() says it, with metadata "member" too.
absl::Status ValidateGang(const GangRequest& request);

// `status` as an error about one member: "member 3: ...", with metadata "member".
absl::Status AboutMember(const absl::Status& status, size_t member);

// Why there is no place for a gang.
struct GangExplanation {
  size_t members = 0;
  size_t placed = 0;  // most that were placed together
  size_t member = 0;  // that found no place then
  // Of that member, with those `placed` where they were. Alone: `placed` is 0.
  Explanation explanation;
  // False when a budget ended the search: there may be a way after all.
  bool complete = true;

  // As Explanation::ToStatus(), with metadata "member", "members" and "members_placed".
  // UNSATISFIABLE only when that member is so by itself.
  [[nodiscard]] absl::Status ToStatus() const;
};

}  // namespace berth::placement

#endif  // BERTH_LIB_PLACEMENT_GANG_H_
