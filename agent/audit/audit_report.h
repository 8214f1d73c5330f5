// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_AUDIT_AUDIT_REPORT_H_
#define BERTH_AGENT_AUDIT_AUDIT_REPORT_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/grants/grant_manager.h"
#include "agent/journal/keeper.h"
#include "berth/agent/v1/agent_local.pb.h"
#include "berth/agent/v1/audit.pb.h"
#include "berth/internal/v1/journal.pb.h"
#include "lib/base/ids.h"

namespace berth {

// What everybody on this host knows, each by itself.
struct AuditFacts {
  std::vector<agent::v1::LocalGrant> grants;
  // By uid: what each grant's context has in the kernel.
  std::map<std::string, std::vector<agent::v1::KernelObject>> objects;
  absl::StatusOr<std::vector<internal::v1::JournaledGrant>> journal =
      std::vector<internal::v1::JournaledGrant>();
  bool fd_store_present = false;
  // By uid: roles of fds that the service manager keeps.
  std::map<AssignmentUid, std::vector<std::string>> kept_fds;
  std::vector<std::pair<DeviceId, absl::Status>> held_devices;
};

// Asks them. Reads the journal, and does not wait for the kernel: `held_devices` stays empty.
AuditFacts GatherAuditFacts(const GrantManager& grants, Keeper& keeper);

// Puts them side by side. What has no room is counted.
agent::v1::AuditReport MakeAuditReport(const AuditFacts& facts, int64_t sequence);

}  // namespace berth

#endif  // BERTH_AGENT_AUDIT_AUDIT_REPORT_H_
