// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_AUDIT_COMPARE_H_
#define BERTH_CTL_CONTROLLER_AUDIT_COMPARE_H_

#include <string>
#include <vector>

#include "berth/agent/v1/audit.pb.h"
#include "berth/v1/audit_service.pb.h"

namespace berth {

// What the book has on one host.
struct BookRow {
  std::string uid;
  std::string assignment;  // its name; empty: no assignment claims it
  v1::AuditBook book;
  // VMMs make their own ioctls: neither kernel objects nor their fds are the agent's.
  bool hand_off = false;
  // The host could not prepare it: it is on its way elsewhere, and nothing is to be there.
  bool failed = false;
};

inline constexpr int kMaxAuditRows = 512;
inline constexpr int kMaxDifferences = 256;

// The rows that a host has when it did not answer; not ANSWERED.
v1::HostAudit RowsOf(const std::string& host, const std::vector<BookRow>& book);

// Both side by side, and where they differ. `host`: "hosts/h1". Differences that a fresh exchange
// with the agent mends are PLANNED; times and `drift` are not set.
v1::HostAudit Compare(const std::string& host, const std::vector<BookRow>& book,
                      const agent::v1::AuditReport& report);

// Differences of the same identity are the same one in two audits.
std::string IdentityOf(const v1::AuditDifference& difference);

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_AUDIT_COMPARE_H_
