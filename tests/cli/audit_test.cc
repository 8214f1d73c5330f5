// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include "lib/base/reason.h"
#include "lib/base/status.h"
#include "tests/cli/cli_test_base.h"

namespace berth::cli {
namespace {

using testing::HasSubstr;

constexpr char kAgreeing[] = R"(
hosts:
- host: hosts/a
  outcome: ANSWERED
  journal_readable: true
  fd_store_present: true
  rows:
  - assignment: assignments/vm
    assignment_uid: u1
    book: {intent: PLACED, observed: ATTACHED, generation: 2, devices: [gpu0, nic0]}
    agent: {intent: PLACED, observed: ATTACHED, generation: 2, devices: [gpu0, nic0]}
    journal: {generation: 2}
    fd_store: {kept_fds: [context, process]}
    kernel: {bound_devices: [gpu0, nic0], objects: 9}
  - assignment: assignments/web
    assignment_uid: u2
    book: {intent: PLACED, observed: PREPARED, generation: 1, devices: [gpu1]}
    agent: {intent: PLACED, observed: PREPARED, generation: 1, devices: [gpu1]}
    kernel: {bound_devices: [gpu1], objects: 4}
)";

constexpr char kDiffering[] = R"(
hosts:
- host: hosts/b
  outcome: ANSWERED
  rows:
  - assignment_uid: u3
    book: {observed: ORPHANED, devices: [gpu0], unclaimed: true}
    agent: {intent: PLACED, observed: ORPHANED, generation: 1, devices: [gpu0]}
  differences:
  - kind: ORPHANED
    assignment_uid: u3
    host: hosts/b
    message: "something holds a part\nof it"
    first_seen_time: "2026-01-02T11:57:00Z"
    drift: true
  - {kind: STATE, assignment: assignments/db, assignment_uid: u4, host: hosts/b, healing: PLANNED, message: m}
  - {kind: DEVICE_HELD, device: gpu9, host: hosts/b, message: held}
- host: hosts/c
  outcome: NO_ANSWER
  rows: [{assignment: assignments/x, assignment_uid: u5, book: {intent: PLACED, observed: PREPARED, generation: 1}}]
- {host: hosts/d, outcome: NOT_CONNECTED}
)";

class AuditTest : public CliTest {};

TEST_F(AuditTest, ShowsWhatAllKnowSideBySide) {
  server_.Set({FromYaml<v1::AuditResponse>(kAgreeing)});
  const CliResult result = Run({"audit", "a"});
  EXPECT_EQ(result.exit_code, kExitOk) << result.err;
  EXPECT_EQ(result.out,
            "HOST  ASSIGNMENT  BOOK               AGENT              JOURNAL  FD-STORE  KERNEL\n"
            "a     vm          PLACED/ATTACHED@2  PLACED/ATTACHED@2  @2       2-fds     2/2\n"
            "a     web         PLACED/PREPARED@1  PLACED/PREPARED@1  <none>   <none>    1/1\n");
  EXPECT_EQ(result.err, "0 differences on 1 host\n");
  const auto request = server_.Received<v1::AuditRequest>().at(0);
  EXPECT_EQ(request.host(), "hosts/a");
  EXPECT_FALSE(request.try_devices());
}

TEST_F(AuditTest, NamesDifferencesAndExitsWithACodeOfItsOwn) {
  server_.Set({FromYaml<v1::AuditResponse>(kDiffering)});
  const CliResult result = Run({"audit", "--try-devices"});
  EXPECT_EQ(result.exit_code, kExitDiffers);
  EXPECT_EQ(
      result.out,
      "HOST  ASSIGNMENT  BOOK                AGENT              JOURNAL    FD-STORE   KERNEL\n"
      "b     u3          unclaimed/ORPHANED  PLACED/ORPHANED@1  <unknown>  <none>     <none>\n"
      "c     x           PLACED/PREPARED@1   <unknown>          <unknown>  <unknown>  <unknown>\n"
      "\n"
      "HOST  SUBJECT  DIFFERENCE   SINCE  HEALING  WHAT\n"
      "b     u3       ORPHANED     3m     <none>   something holds a part of it\n"
      "b     db       STATE        new    planned  m\n"
      "b     gpu9     DEVICE_HELD  new    <none>   held\n");
  EXPECT_EQ(result.err,
            "host/c: its agent does not answer audits: it hangs, or is of a release before them\n"
            "host/d: its agent is not connected\n"
            "3 differences on 1 host\n");
  const auto request = server_.Received<v1::AuditRequest>().at(0);
  EXPECT_EQ(request.host(), "");
  EXPECT_TRUE(request.try_devices());
}

TEST_F(AuditTest, AHostThatCouldNotBeLookedAtDoesNotAgree) {
  v1::AuditResponse response;
  response.add_hosts()->set_outcome(v1::HostAudit::NOT_CONNECTED);
  server_.Set({response});
  EXPECT_EQ(Run({"audit"}).exit_code, kExitDiffers);
  response.mutable_hosts(0)->set_outcome(v1::HostAudit::ANSWERED);
  server_.Set({response});
  EXPECT_EQ(Run({"audit"}).exit_code, kExitOk);
  response.mutable_hosts(0)->set_left_out(1);
  server_.Set({response});
  const CliResult result = Run({"audit"});
  EXPECT_EQ(result.exit_code, kExitDiffers);
  EXPECT_THAT(result.err, HasSubstr("1 more entries are not shown"));
}

TEST_F(AuditTest, PutsAllPagesTogether) {
  auto first = FromYaml<v1::AuditResponse>(kAgreeing);
  first.set_next_page_token("more");
  server_.Set({first, FromYaml<v1::AuditResponse>(kDiffering)});
  const std::string out = Run({"audit", "-o", "json"}).out;
  const auto all = FromYaml<v1::AuditResponse>(out);
  EXPECT_EQ(all.hosts_size(), 4);
  EXPECT_EQ(all.next_page_token(), "");
  EXPECT_EQ(server_.Received<v1::AuditRequest>().at(1).page_token(), "more");
}

TEST_F(AuditTest, AnErrorOfTheServerKeepsItsCode) {
  server_.FailNext("Audit", Error(Reason::kNotFound, "hosts/z does not exist"));
  EXPECT_EQ(Run({"audit", "z"}).exit_code, kExitNotFound);
  EXPECT_EQ(Run({"audit", "asg/z"}).exit_code, kExitUsage);
}

}  // namespace
}  // namespace berth::cli
