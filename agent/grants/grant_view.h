// SPDX-License-Identifier: Apache-2.0
//
// Grants in the words of the protos.
#ifndef BERTH_AGENT_GRANTS_GRANT_VIEW_H_
#define BERTH_AGENT_GRANTS_GRANT_VIEW_H_

#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "agent/grants/guest.h"
#include "agent/grants/prepared_context.h"
#include "berth/agent/v1/agent_local.pb.h"
#include "berth/v1/assignment.pb.h"
#include "berth/v1/host.pb.h"

namespace berth {

v1::Failure ToFailure(const absl::Status& status, absl::Time now);
// `type` holds or not, and `status` says why.
v1::Condition ToCondition(std::string_view type, bool holds, const absl::Status& status,
                          absl::Time now);

// All objects, in order of creation.
std::vector<agent::v1::KernelObject> ListObjects(const PreparedContext& context,
                                                 const Guest& guest);

}  // namespace berth

#endif  // BERTH_AGENT_GRANTS_GRANT_VIEW_H_
