// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/clean_audit.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "absl/strings/str_cat.h"
#include "berth/v1/audit_service.grpc.pb.h"

namespace berth::testing {
namespace {

// What an audit finds; empty: nothing.
std::string Findings(Cluster& cluster) {
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  v1::AuditResponse response;
  const grpc::Status status =
      v1::AuditService::NewStub(cluster.api())->Audit(&context, v1::AuditRequest(), &response);
  if (!status.ok()) return status.error_message();
  if (response.hosts().empty()) return "no host was asked";
  std::string text;
  for (const v1::HostAudit& audit : response.hosts()) {
    if (audit.outcome() != v1::HostAudit::ANSWERED) return audit.ShortDebugString();
    for (const v1::AuditDifference& difference : audit.differences()) {
      absl::StrAppend(&text, audit.host(), ": ", difference.ShortDebugString(), ". ");
    }
  }
  return text;
}

}  // namespace

void ExpectCleanAudit(Cluster& cluster) {
  std::string findings;
  WaitFor("an audit finds nothing", [&] {
    findings = Findings(cluster);
    return findings.empty();
  });
  EXPECT_EQ(findings, "");
}

}  // namespace berth::testing
