// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/history.h"

#include <gmock/gmock.h>

#include "absl/strings/str_cat.h"

namespace berth::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;
using v1::Assignment;

v1::CreateAssignmentRequest Request(const std::string& id) {
  v1::CreateAssignmentRequest request;
  request.set_assignment_id(id);
  request.set_request_id("create-" + id);
  return request;
}

// Placed on the host gh200 with these devices.
Assignment Placed(const std::string& uid, const std::vector<std::string>& devices) {
  Assignment assignment;
  assignment.set_uid(uid);
  assignment.set_attach_token("token of " + uid);
  assignment.set_intent(Assignment::PLACED);
  assignment.mutable_placement()->set_host("gh200");
  v1::UnitPlacement* unit = assignment.mutable_placement()->add_units();
  for (const std::string& device : devices) unit->add_devices()->set_device(device);
  return assignment;
}

agent::v1::LocalGrant Grant(const std::string& assignment, const std::string& unit,
                            const std::vector<std::string>& devices) {
  agent::v1::LocalGrant grant;
  grant.set_assignment(assignment);
  v1::UnitPlacement* placement = grant.mutable_status()->add_units();
  placement->set_unit(unit);
  for (const std::string& device : devices) placement->add_devices()->set_device(device);
  return grant;
}

agent::v1::Epoch Epoch(const std::string& store, int64_t restores, int64_t term) {
  agent::v1::Epoch epoch;
  epoch.set_store_uid(store);
  epoch.set_restore_count(restores);
  epoch.set_term(term);
  return epoch;
}

class HistoryTest : public ::testing::Test {
 protected:
  History history_{History::Hold::kUntilDeleted};
};

TEST_F(HistoryTest, ADeviceThatIsHandedOnWhenItsOwnerHasAskedForTheEndIsNoViolation) {
  history_.Created(Request("a"), Placed("1", {"gpu0"}));
  history_.DeleteAsked("a");
  history_.Created(Request("b"), Placed("2", {"gpu0"}));
  history_.Deleted("a");
  history_.DeleteAsked("b");
  history_.Created(Request("c"), Placed("3", {"gpu0"}));
  EXPECT_THAT(history_.Violations(), IsEmpty());
  EXPECT_EQ(history_.created(), 3U);
  EXPECT_THAT(history_.Gone(), ElementsAre("a"));
  EXPECT_THAT(history_.Kept(), SizeIs(2));
}

TEST_F(HistoryTest, TheSameNameOnAnotherHostIsAnotherDevice) {
  history_.Created(Request("a"), Placed("1", {"gpu0"}));
  Assignment elsewhere = Placed("2", {"gpu0"});
  elsewhere.mutable_placement()->set_host("gb300");
  history_.Created(Request("b"), elsewhere);
  history_.Found({{"a", Placed("1", {"gpu0"})}, {"b", elsewhere}});
  EXPECT_THAT(history_.Violations(), IsEmpty());
}

TEST_F(HistoryTest, ADeviceOfSomebodyWhoHasNotAskedForTheEnd) {
  history_.Created(Request("a"), Placed("1", {"gpu0", "gpu1"}));
  history_.Created(Request("b"), Placed("2", {"gpu1"}));
  EXPECT_THAT(history_.Violations(), ElementsAre("gpu1 of gh200 was given to b while a had it"));
}

TEST_F(HistoryTest, ADeviceWhoseLastOwnerButOneHasIt) {
  history_.Created(Request("a"), Placed("1", {"gpu0"}));
  history_.DeleteAsked("a");
  history_.Created(Request("b"), Placed("2", {"gpu0"}));
  history_.Created(Request("c"), Placed("3", {"gpu0"}));
  EXPECT_THAT(history_.Violations(), ElementsAre("gpu0 of gh200 was given to c while b had it"));
}

TEST(HistoryWherePlacementsFailTest, OnlyWhatIsSeenAtOneMomentCounts) {
  History history(History::Hold::kWhilePlaced);
  history.Created(Request("a"), Placed("1", {"gpu0"}));
  history.Created(Request("b"), Placed("2", {"gpu0"}));
  Assignment failed = Placed("1", {"gpu0"});
  failed.set_intent(Assignment::FAILED);
  history.Found({{"a", failed}, {"b", Placed("2", {"gpu0"})}});
  EXPECT_THAT(history.Violations(), IsEmpty());
  history.Found({{"a", Placed("1", {"gpu0"})}, {"b", Placed("2", {"gpu0"})}});
  EXPECT_THAT(history.Violations(), ElementsAre("the book gives gpu0 of gh200 to two: a and b"));
}

TEST_F(HistoryTest, ADeviceInTwoGrantsOfAHost) {
  history_.Saw("gh200", {Grant("a", "smmu0", {"gpu0"}), Grant("b", "smmu1", {"gpu0"})},
               Epoch("store", 0, 1));
  EXPECT_THAT(history_.Violations(), ElementsAre("gh200 has gpu0 in two grants: a and b"));
}

TEST_F(HistoryTest, MoreVintfsThanAUnitHas) {
  history_.HasVintfs("gh200", "smmu0", 1);
  const std::vector<agent::v1::LocalGrant> full = {
      Grant("a", "smmu0", {"gpu0"}), Grant("b", "smmu1", {"gpu1"}), Grant("c", "smmu1", {"gpu2"})};
  history_.Saw("gh200", full, Epoch("store", 0, 1));
  EXPECT_THAT(history_.Violations(), IsEmpty());
  std::vector<agent::v1::LocalGrant> more = full;
  more.push_back(Grant("d", "smmu0", {"gpu3"}));
  history_.Saw("gh200", more, Epoch("store", 0, 1));
  EXPECT_THAT(history_.Violations(), ElementsAre("smmu0 of gh200 has 1 VINTFs, and 2 are in use"));
  EXPECT_EQ(history_.looks(), 2U);
}

TEST_F(HistoryTest, EpochsGoForwardEachHostForItself) {
  history_.Saw("gh200", {}, Epoch("", 0, 0));
  history_.Saw("gh200", {}, Epoch("store", 0, 5));
  history_.Saw("gb300", {}, Epoch("store", 0, 4));
  history_.Saw("gh200", {}, Epoch("store", 0, 5));
  // A book that was restored from a backup may begin again with its terms.
  history_.Saw("gh200", {}, Epoch("store", 1, 2));
  EXPECT_THAT(history_.Violations(), IsEmpty());
}

TEST_F(HistoryTest, AStaleEpoch) {
  history_.Saw("gh200", {}, Epoch("store", 0, 5));
  history_.Saw("gh200", {}, Epoch("store", 0, 4));
  history_.Saw("gh200", {}, Epoch("store", 0, 5));
  history_.Saw("gb300", {}, Epoch("store", 2, 1));
  history_.Saw("gb300", {}, Epoch("store", 1, 9));
  EXPECT_THAT(history_.Violations(), UnorderedElementsAre("gh200 went back from term 0.5 to 0.4",
                                                          "gb300 went back from term 2.1 to 1.9"));
}

TEST_F(HistoryTest, AnotherStore) {
  history_.Saw("gh200", {}, Epoch("store", 0, 5));
  history_.Saw("gh200", {}, Epoch("other", 0, 6));
  EXPECT_THAT(history_.Violations(), ElementsAre("gh200 obeys another store: other, not store"));
}

TEST_F(HistoryTest, TheSameRequestHasTheSameAnswer) {
  history_.Created(Request("a"), Placed("1", {"gpu0"}));
  history_.Created(Request("a"), Placed("1", {"gpu0"}));
  EXPECT_THAT(history_.Violations(), IsEmpty());
  history_.Created(Request("a"), Placed("2", {"gpu0"}));
  EXPECT_THAT(history_.Violations(), ElementsAre("a has two uids for one request: 1 and 2"));
}

TEST_F(HistoryTest, ATokenThatHasChanged) {
  Assignment answer = Placed("1", {"gpu0"});
  history_.Created(Request("a"), answer);
  answer.set_attach_token("another");
  history_.Created(Request("a"), answer);
  EXPECT_THAT(history_.Violations(), ElementsAre("a has two tokens for one request"));
}

TEST_F(HistoryTest, WhatWasAcknowledgedAndIsLost) {
  for (const std::string id : {"kept", "asked", "lost"}) {
    history_.Created(Request(id), Placed("uid of " + id, {id}));
  }
  // It is not known yet whether this Delete has been done.
  history_.DeleteAsked("asked");
  history_.Found({{"kept", Placed("uid of kept", {"kept"})}, {"asked", {}}, {"lost", {}}});
  EXPECT_THAT(history_.Violations(), ElementsAre("lost was acknowledged, and is lost"));
}

TEST_F(HistoryTest, WhatWasDeletedAndIsThereAgain) {
  history_.Created(Request("a"), Placed("1", {"gpu0"}));
  history_.DeleteAsked("a");
  history_.Deleted("a");
  history_.Found({{"a", {}}});
  EXPECT_THAT(history_.Violations(), IsEmpty());
  history_.Found({{"a", Placed("1", {"gpu0"})}});
  EXPECT_THAT(history_.Violations(), ElementsAre("a was deleted, and is there again"));
}

TEST_F(HistoryTest, AnotherAssignmentUnderTheSameName) {
  history_.Created(Request("a"), Placed("1", {"gpu0"}));
  history_.Found({{"a", Placed("2", {"gpu0"})}});
  EXPECT_THAT(history_.Violations(), ElementsAre("a is another one: 2, not 1"));
}

}  // namespace
}  // namespace berth::testing
