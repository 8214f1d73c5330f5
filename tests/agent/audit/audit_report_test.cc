// SPDX-License-Identifier: Apache-2.0
#include "agent/audit/audit_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "lib/base/status.h"

namespace berth {
namespace {

using agent::v1::AuditReport;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using v1::Assignment;

class AuditReportTest : public ::testing::Test {
 protected:
  // One grant of which everybody knows.
  AuditReportTest() {
    AddGrant("u1");
    facts_.grants[0].set_assignment("assignments/vm");
    facts_.grants[0].set_intent(Assignment::PLACED);
    facts_.grants[0].mutable_status()->set_generation(3);
    AddObject("u1", "device", "gpu0");
    AddObject("u1", "ioas", "");
    AddObject("u1", "viommu", "smmu0");
    AddRecord("u1", 3);
    facts_.fd_store_present = true;
    facts_.kept_fds[AssignmentUid("u1")] = {"context", "process"};
  }

  void AddGrant(const std::string& uid) {
    facts_.grants.emplace_back().mutable_status()->set_assignment_uid(uid);
  }
  void AddObject(const std::string& uid, const std::string& type, const std::string& owner) {
    agent::v1::KernelObject& object = facts_.objects[uid].emplace_back();
    object.set_type(type);
    object.set_owner(owner);
  }
  void AddRecord(const std::string& uid, int64_t generation) {
    internal::v1::JournaledGrant& record = facts_.journal->emplace_back();
    record.mutable_desired()->set_assignment_uid(uid);
    record.mutable_desired()->set_assignment("assignments/of-" + uid);
    record.mutable_desired()->set_generation(generation);
  }
  AuditReport Report() { return MakeAuditReport(facts_, 7); }

  AuditFacts facts_;
};

TEST_F(AuditReportTest, PutsSideBySideWhatIsKnownOfAGrant) {
  facts_.journal->at(0).mutable_begun()->set_id(1);
  const AuditReport report = Report();
  EXPECT_EQ(report.sequence(), 7);
  EXPECT_TRUE(report.journal_readable());
  EXPECT_TRUE(report.fd_store_present());
  EXPECT_THAT(report.strays(), IsEmpty());
  EXPECT_EQ(report.left_out(), 0);
  ASSERT_THAT(report.grants(), SizeIs(1));
  const agent::v1::GrantAudit& grant = report.grants(0);
  EXPECT_EQ(grant.status().generation(), 3);
  EXPECT_EQ(grant.assignment(), "assignments/vm");
  EXPECT_EQ(grant.intent(), Assignment::PLACED);
  EXPECT_EQ(grant.journal().generation(), 3);
  EXPECT_TRUE(grant.journal().call_begun());
  EXPECT_THAT(grant.kept_fds(), ElementsAre("context", "process"));
  EXPECT_THAT(grant.bound_devices(), ElementsAre("gpu0"));
  EXPECT_EQ(grant.kernel_objects(), 2);
}

TEST_F(AuditReportTest, WhatNobodyHasIsAbsent) {
  AddGrant("u2");
  const agent::v1::GrantAudit grant = Report().grants(1);
  EXPECT_FALSE(grant.has_journal());
  EXPECT_THAT(grant.kept_fds(), IsEmpty());
  EXPECT_THAT(grant.bound_devices(), IsEmpty());
}

TEST_F(AuditReportTest, NamesWhatIsKeptOfNoGrant) {
  AddRecord("u0", 1);
  facts_.kept_fds[AssignmentUid("u9")] = {"context"};
  facts_.kept_fds[AssignmentUid("u8")] = {};
  const AuditReport report = Report();
  ASSERT_THAT(report.strays(), SizeIs(2));
  EXPECT_EQ(report.strays(0).assignment_uid(), "u0");
  EXPECT_EQ(report.strays(0).assignment(), "assignments/of-u0");
  EXPECT_TRUE(report.strays(0).has_journal());
  EXPECT_THAT(report.strays(0).kept_fds(), IsEmpty());
  EXPECT_EQ(report.strays(1).assignment_uid(), "u9");
  EXPECT_FALSE(report.strays(1).has_journal());
  EXPECT_THAT(report.strays(1).kept_fds(), ElementsAre("context"));
}

TEST_F(AuditReportTest, WithoutAManagerNothingIsKept) {
  facts_.fd_store_present = false;
  facts_.kept_fds[AssignmentUid("u9")] = {"context"};
  const AuditReport report = Report();
  EXPECT_FALSE(report.fd_store_present());
  EXPECT_THAT(report.grants(0).kept_fds(), IsEmpty());
  EXPECT_THAT(report.strays(), IsEmpty());
}

TEST_F(AuditReportTest, SaysWhenTheJournalCannotBeRead) {
  facts_.journal = Error(Reason::kStoreFailed, "no such file");
  const AuditReport report = Report();
  EXPECT_FALSE(report.journal_readable());
  EXPECT_FALSE(report.grants(0).has_journal());
}

TEST_F(AuditReportTest, NamesDevicesThatSomebodyHolds) {
  facts_.held_devices.emplace_back(DeviceId("gpu1"), Error(Reason::kDeviceBusy, "EBUSY"));
  const AuditReport report = Report();
  ASSERT_THAT(report.held_devices(), SizeIs(1));
  EXPECT_EQ(report.held_devices(0).device(), "gpu1");
  EXPECT_EQ(report.held_devices(0).message(), "EBUSY");
}

TEST_F(AuditReportTest, WhatHasNoRoomIsCounted) {
  for (int i = 0; i < 300; ++i) {
    AddRecord("stray" + std::to_string(i), 1);
    facts_.held_devices.emplace_back(DeviceId("gpu" + std::to_string(i)),
                                     Error(Reason::kDeviceBusy, std::string(1000, 'x')));
  }
  AuditReport report = Report();
  EXPECT_THAT(report.strays(), SizeIs(256));
  EXPECT_THAT(report.held_devices(), SizeIs(256));
  EXPECT_EQ(report.left_out(), 2 * (300 - 256));

  for (int i = 0; i < 4096; ++i) {
    AddGrant("grant" + std::to_string(i));
    facts_.grants.back().mutable_status()->add_conditions()->set_message(std::string(1000, 'x'));
  }
  report = Report();
  EXPECT_LT(report.ByteSizeLong(), size_t{4} << 20);
  EXPECT_EQ(report.left_out(), 2 * (300 - 256) + 4097 - report.grants_size());
}

}  // namespace
}  // namespace berth
