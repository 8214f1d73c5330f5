// SPDX-License-Identifier: Apache-2.0
//
// Grants that agents hold and no assignment claims: what they hold is charged until it is let go.
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ctl/controller/book/convert.h"
#include "ctl/controller/book/fleet.h"
#include "lib/base/status.h"

namespace berth {
namespace {

// Limits of what a host may say.
constexpr size_t kMaxUid = 64;
constexpr size_t kMaxGrantBytes = size_t{1} << 16;
constexpr size_t kMaxUnclaimed = 1024;

// Under which the engine charges a grant that no assignment claims.
AssignmentUid ChargeOf(const std::string& host_id, const std::string& uid) {
  return AssignmentUid(absl::StrCat("unclaimed/", host_id, "/", uid));
}

}  // namespace

void Fleet::ForgetUnclaimed(const std::string& host_id, HostEntry* host) {
  for (const auto& [uid, grant] : host->unclaimed) (void)engine.Release(ChargeOf(host_id, uid));
  host->unclaimed.clear();
}

absl::Status Fleet::SetUnclaimed(const std::string& host_id, const agent::v1::GrantStatus& status) {
  const std::string& uid = status.assignment_uid();
  HostEntry& host = hosts.at(host_id);
  if (status.observed() == v1::Assignment::GONE ||
      status.observed() == v1::Assignment::OBSERVED_UNSPECIFIED) {
    if (host.unclaimed.erase(uid) == 0) return absl::OkStatus();
    (void)engine.Release(ChargeOf(host_id, uid));
    PublishObserved(host_id, &host);
    return absl::OkStatus();
  }
  agent::v1::GrantStatus grant;
  grant.set_assignment_uid(uid);
  grant.set_observed(status.observed());
  *grant.mutable_units() = status.units();
  if (uid.empty() || uid.size() > kMaxUid || grant.ByteSizeLong() > kMaxGrantBytes ||
      (host.unclaimed.size() >= kMaxUnclaimed && host.unclaimed.count(uid) == 0)) {
    return Error(Reason::kInvalidField,
                 absl::StrCat(HostName(host_id), " holds what cannot be a grant, or too many"));
  }
  if (host.unclaimed.empty()) host.unclaimed_since = clock().Now();
  v1::Placement held;
  held.set_host(HostName(host_id));
  *held.mutable_units() = status.units();
  // What it says last is what it holds.
  (void)engine.Release(ChargeOf(host_id, uid));
  BERTH_RETURN_IF_ERROR(engine.Restore(ChargeOf(host_id, uid), FromProto(held, {})));
  host.unclaimed[uid] = std::move(grant);
  PublishObserved(host_id, &host);
  return absl::OkStatus();
}

}  // namespace berth
