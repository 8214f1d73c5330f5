// SPDX-License-Identifier: Apache-2.0
//
// Everything that can differ between the book and a host, one at a time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "ctl/controller/audit/compare.h"

namespace berth {
namespace {

using agent::v1::AuditReport;
using agent::v1::GrantAudit;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using v1::Assignment;
using v1::AuditDifference;
using v1::HostAudit;

constexpr char kHost[] = "hosts/h1";

class CompareTest : public ::testing::Test {
 protected:
  // One assignment, attached, of which everybody says the same.
  CompareTest() {
    BookRow& row = book_.emplace_back();
    row.uid = "u1";
    row.assignment = "assignments/vm";
    row.book.set_intent(Assignment::PLACED);
    row.book.set_observed(Assignment::ATTACHED);
    row.book.set_generation(2);
    row.book.add_devices("gpu0");
    row.book.add_devices("nic0");

    report_.set_journal_readable(true);
    report_.set_fd_store_present(true);
    AddGrant("u1", "assignments/vm", Assignment::ATTACHED);
    grant().mutable_status()->set_generation(2);
    grant().mutable_journal()->set_generation(2);
    grant().add_kept_fds("context");
    // In another order than the book's.
    v1::UnitPlacement* unit = grant().mutable_status()->add_units();
    unit->add_devices()->set_device("nic0");
    unit->add_devices()->set_device("gpu0");
    for (const char* device : {"nic0", "gpu0"}) grant().add_bound_devices(device);
    grant().set_kernel_objects(5);
  }

  GrantAudit& AddGrant(const std::string& uid, const std::string& assignment,
                       Assignment::Observed observed) {
    GrantAudit* added = report_.add_grants();
    added->mutable_status()->set_assignment_uid(uid);
    added->mutable_status()->set_observed(observed);
    added->set_assignment(assignment);
    added->set_intent(Assignment::PLACED);
    return *added;
  }
  BookRow& row() { return book_[0]; }
  GrantAudit& grant() { return *report_.mutable_grants(0); }
  void SetBoth(Assignment::Observed observed) {
    row().book.set_observed(observed);
    grant().mutable_status()->set_observed(observed);
  }
  // The book charges "u2" to nobody.
  void AddUnclaimed(Assignment::Observed observed) {
    BookRow& unclaimed = book_.emplace_back();
    unclaimed.uid = "u2";
    unclaimed.book.set_unclaimed(true);
    unclaimed.book.set_observed(observed);
  }

  HostAudit Audit() { return Compare(kHost, book_, report_); }
  // "KIND subject"; with a '*' what is to be healed.
  std::vector<std::string> Differences() {
    std::vector<std::string> texts;
    const HostAudit audit = Audit();
    for (const AuditDifference& difference : audit.differences()) {
      EXPECT_EQ(difference.host(), kHost);
      EXPECT_NE(difference.message(), "");
      texts.push_back(AuditDifference::Kind_Name(difference.kind()) + " " +
                      difference.assignment_uid() + difference.device() +
                      (difference.healing() == AuditDifference::PLANNED ? "*" : ""));
    }
    return texts;
  }

  std::vector<BookRow> book_;
  AuditReport report_;
};

TEST_F(CompareTest, WhatAllSayTheSameOfDoesNotDiffer) {
  EXPECT_THAT(Differences(), IsEmpty());
  const HostAudit audit = Audit();
  EXPECT_EQ(audit.outcome(), HostAudit::ANSWERED);
  ASSERT_EQ(audit.rows_size(), 1);
  const v1::AuditRow& side_by_side = audit.rows(0);
  EXPECT_EQ(side_by_side.assignment(), "assignments/vm");
  EXPECT_EQ(side_by_side.book().generation(), 2);
  EXPECT_EQ(side_by_side.agent().observed(), Assignment::ATTACHED);
  EXPECT_THAT(side_by_side.agent().devices(), ElementsAre("gpu0", "nic0"));
  EXPECT_EQ(side_by_side.journal().generation(), 2);
  EXPECT_THAT(side_by_side.fd_store().kept_fds(), ElementsAre("context"));
  EXPECT_THAT(side_by_side.kernel().bound_devices(), ElementsAre("gpu0", "nic0"));
  EXPECT_EQ(side_by_side.kernel().objects(), 5);
}

TEST_F(CompareTest, OnlyTheBookHasIt) {
  report_.clear_grants();
  EXPECT_THAT(Differences(), ElementsAre("NOT_ON_HOST u1*"));
  EXPECT_FALSE(Audit().rows(0).has_agent());
}

TEST_F(CompareTest, WhatCouldNotBePreparedIsNotMissed) {
  report_.clear_grants();
  row().failed = true;
  EXPECT_THAT(Differences(), IsEmpty());
}

TEST_F(CompareTest, NothingFollowsFromWhatAnIncompleteReportDoesNotName) {
  report_.clear_grants();
  AddUnclaimed(Assignment::ORPHANED);
  report_.set_left_out(1);
  EXPECT_THAT(Differences(), IsEmpty());
  EXPECT_EQ(Audit().left_out(), 1);
}

TEST_F(CompareTest, OnlyTheAgentHasIt) {
  for (const auto observed : {Assignment::PREPARED, Assignment::GONE, Assignment::ATTACHED}) {
    report_.clear_grants();
    book_.clear();
    AddGrant("u2", "assignments/other", observed);
    if (observed == Assignment::ATTACHED) report_.set_journal_readable(false);
    EXPECT_THAT(Differences(), ElementsAre("NOT_IN_BOOK u2*"));
  }
}

TEST_F(CompareTest, WhatAVmmHasAndNoAssignmentClaimsIsListedOnceItIsCharged) {
  AddUnclaimed(Assignment::ATTACHED);
  AddGrant("u2", "", Assignment::ATTACHED).mutable_journal();
  EXPECT_THAT(Differences(), ElementsAre("ORPHANED u2"));
  report_.mutable_grants(1)->mutable_status()->set_observed(Assignment::ORPHANED);
  EXPECT_THAT(Differences(), ElementsAre("ORPHANED u2"));
  report_.mutable_grants(1)->mutable_status()->set_observed(Assignment::PREPARED);
  EXPECT_THAT(Differences(), ElementsAre("NOT_IN_BOOK u2*"));
}

TEST_F(CompareTest, TheBookChargesForWhatTheAgentHasLetGoOf) {
  AddUnclaimed(Assignment::ORPHANED);
  EXPECT_THAT(Differences(), ElementsAre("CHARGED_FOR_NOTHING u2*"));
}

TEST_F(CompareTest, PlacementsOfTwoTimes) {
  grant().mutable_status()->set_generation(1);
  grant().mutable_journal()->set_generation(1);
  EXPECT_THAT(Differences(), ElementsAre("GENERATION u1*"));
  grant().mutable_status()->set_generation(3);
  grant().mutable_journal()->set_generation(3);
  EXPECT_THAT(Differences(), ElementsAre("GENERATION u1")) << "a book that is older cannot be told";
}

TEST_F(CompareTest, AnIntentThatTheAgentHasNotHeard) {
  row().book.set_intent(Assignment::RELEASING);
  EXPECT_THAT(Differences(), ElementsAre("INTENT u1*"));
}

TEST_F(CompareTest, AStateThatTheControllerHasNotHeard) {
  row().book.set_observed(Assignment::PREPARED);
  EXPECT_THAT(Differences(), ElementsAre("STATE u1*"));
}

TEST_F(CompareTest, OtherDevicesThanTheBookCharges) {
  row().book.set_devices(0, "gpu7");
  EXPECT_THAT(Differences(), ElementsAre("DEVICES u1"));
  SetBoth(Assignment::GONE);
  EXPECT_THAT(Differences(), IsEmpty()) << "nothing is held";
}

TEST_F(CompareTest, OrphanedAndDegradedAreNamedWithWhatTheAgentSays) {
  grant().mutable_status()->add_conditions()->set_message("process 7 maps page0");
  SetBoth(Assignment::ORPHANED);
  EXPECT_THAT(Differences(), ElementsAre("ORPHANED u1"));
  EXPECT_THAT(Audit().differences(0).message(), HasSubstr("process 7 maps page0"));
  SetBoth(Assignment::DEGRADED);
  EXPECT_THAT(Differences(), ElementsAre("DEGRADED u1"));
}

TEST_F(CompareTest, AnAttachedGrantThatTheJournalDoesNotHave) {
  grant().clear_journal();
  EXPECT_THAT(Differences(), ElementsAre("NOT_IN_JOURNAL u1"));
  grant().mutable_journal()->set_generation(1);
  EXPECT_THAT(Differences(), ElementsAre("NOT_IN_JOURNAL u1"));
  report_.set_journal_readable(false);
  EXPECT_THAT(Differences(), IsEmpty()) << "nothing is known of it";
  report_.set_journal_readable(true);
  SetBoth(Assignment::PREPARED);
  EXPECT_THAT(Differences(), IsEmpty()) << "only what a VMM has is kept";
}

TEST_F(CompareTest, AnAttachedGrantOfWhichNoFdIsKept) {
  grant().clear_kept_fds();
  EXPECT_THAT(Differences(), ElementsAre("NOT_IN_FD_STORE u1"));
  row().hand_off = true;
  EXPECT_THAT(Differences(), IsEmpty()) << "the fds are the VMM's";
  row().hand_off = false;
  report_.set_fd_store_present(false);
  EXPECT_THAT(Differences(), IsEmpty()) << "nobody keeps fds";
  report_.set_fd_store_present(true);
  SetBoth(Assignment::PREPARED);
  EXPECT_THAT(Differences(), IsEmpty());
}

TEST_F(CompareTest, WhatIsKeptOfAGrantThatTheAgentDoesNotHold) {
  agent::v1::StrayRecord* stray = report_.add_strays();
  stray->set_assignment_uid("u0");
  stray->set_assignment("assignments/old");
  stray->mutable_journal()->set_generation(1);
  EXPECT_THAT(Differences(), ElementsAre("ONLY_IN_JOURNAL u0"));
  EXPECT_EQ(Audit().rows(0).assignment(), "assignments/old");
  EXPECT_EQ(Audit().rows(0).journal().generation(), 1);
  stray->clear_journal();
  stray->add_kept_fds("context");
  EXPECT_THAT(Differences(), ElementsAre("ONLY_IN_FD_STORE u0"));
}

TEST_F(CompareTest, ADeviceThatIsNotBoundToTheContextOfItsGrant) {
  grant().clear_bound_devices();
  grant().add_bound_devices("gpu0");
  EXPECT_THAT(Differences(), ElementsAre("NOT_BOUND u1"));
  EXPECT_THAT(Audit().differences(0).message(), HasSubstr("nic0"));
  SetBoth(Assignment::PREPARED);
  EXPECT_THAT(Differences(), ElementsAre("NOT_BOUND u1"));
  SetBoth(Assignment::PREPARING);
  EXPECT_THAT(Differences(), IsEmpty()) << "not yet";
  SetBoth(Assignment::ATTACHED);
  row().hand_off = true;
  EXPECT_THAT(Differences(), IsEmpty()) << "its VMM binds them";
}

TEST_F(CompareTest, ADeviceThatSomebodyHolds) {
  agent::v1::HeldDevice* held = report_.add_held_devices();
  held->set_device("gpu9");
  held->set_message("EBUSY");
  EXPECT_THAT(Differences(), ElementsAre("DEVICE_HELD gpu9"));
  EXPECT_THAT(Audit().differences(0).message(), HasSubstr("EBUSY"));
}

TEST_F(CompareTest, RowsAndDifferencesAreSortedAndBounded) {
  report_.clear_grants();
  book_.clear();
  for (int i = 0; i < 600; ++i) {
    const std::string id = std::to_string(1000 + i);
    AddGrant("u" + id, i % 2 == 0 ? "" : "assignments/a" + id, Assignment::PREPARED);
  }
  const HostAudit audit = Audit();
  EXPECT_EQ(audit.rows_size(), kMaxAuditRows);
  EXPECT_EQ(audit.differences_size(), kMaxDifferences);
  EXPECT_EQ(audit.left_out(), 600 - kMaxAuditRows + 600 - kMaxDifferences);
  EXPECT_EQ(audit.rows(0).assignment(), "assignments/a1001");
  EXPECT_EQ(audit.rows(300).assignment_uid(), "u1000") << "those without a name come last";
}

TEST_F(CompareTest, AHostThatDidNotAnswerHasTheBookAlone) {
  const HostAudit audit = RowsOf(kHost, book_);
  EXPECT_EQ(audit.host(), kHost);
  ASSERT_EQ(audit.rows_size(), 1);
  EXPECT_TRUE(audit.rows(0).has_book());
  EXPECT_FALSE(audit.rows(0).has_agent());
  EXPECT_EQ(audit.differences_size(), 0);
}

TEST_F(CompareTest, TheSameDifferenceHasTheSameIdentity) {
  const auto identities = [this] {
    std::vector<std::string> all;
    const HostAudit audit = Audit();
    for (const AuditDifference& difference : audit.differences()) {
      all.push_back(IdentityOf(difference));
    }
    return all;
  };
  row().book.set_observed(Assignment::PREPARED);
  grant().clear_journal();
  const std::vector<std::string> before = identities();
  ASSERT_EQ(before.size(), 2);
  EXPECT_NE(before[0], before[1]);
  row().book.set_observed(Assignment::RECYCLING);
  EXPECT_EQ(identities(), before);
}

}  // namespace
}  // namespace berth
