// SPDX-License-Identifier: Apache-2.0
//
// Gangs that wait while their leaders die.
#include <gmock/gmock.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ctl/cli/client.h"
#include "tests/integration/failover_fixture.h"

namespace berth::testing {
namespace {

using v1::Assignment;

class WaitingGangTest : public FailoverTest {
 protected:
  // Gangs of three that one host with four GPUs takes one after the other.
  static constexpr int kMembers = 3;

  static std::string Member(const std::string& gang, int i) { return absl::StrCat(gang, i); }
  static v1::BatchCreateAssignmentsRequest GangOf(const std::string& name, int priority) {
    v1::BatchCreateAssignmentsRequest request;
    request.set_request_id("gang-" + name);
    for (int i = 0; i < kMembers; ++i) {
      *request.add_requests() = MakeRequest(
          Member(name, i),
          absl::StrCat(OneOf("gpu"), " when_unavailable: QUEUE", " priority: ", priority));
    }
    return request;
  }
  // Follows whoever leads.
  std::unique_ptr<cli::Client> Calls() {
    auto client = cli::Client::Make({.addresses = controllers_.apis(),
                                     .deadline = absl::Now() + kPatience,
                                     .first_backoff = absl::Milliseconds(50),
                                     .clock = &Clock::Real()});
    EXPECT_TRUE(client.ok()) << client.status();
    return *std::move(client);
  }
  std::vector<Assignment> Ask(const v1::BatchCreateAssignmentsRequest& request) {
    const auto response = Calls()->BatchCreateAssignments(request);
    EXPECT_TRUE(response.ok()) << response.status();
    std::vector<Assignment> members;
    if (!response.ok()) return members;
    for (const auto& result : response->results()) members.push_back(result.assignment());
    return members;
  }
  void Release(const std::string& id) {
    v1::DeleteAssignmentRequest request;
    request.set_name("assignments/" + id);
    request.set_request_id("delete-" + id);
    const auto deleted = Calls()->DeleteAssignment(request);
    EXPECT_TRUE(deleted.ok()) << deleted.status();
  }
  size_t KillLeader(size_t leader) {
    controllers_.process(leader).Kill();
    const size_t next = FollowLeader(leader);
    controllers_.Start(leader);
    controllers_.AwaitStandingBy(leader);
    return next;
  }
  // All members are what they were when they were created, and wait.
  void ExpectWaiting(const std::vector<Assignment>& gang) {
    for (const Assignment& member : gang) {
      const auto now = cluster_.Get(member.name().substr(sizeof("assignments/") - 1));
      ASSERT_TRUE(now.ok()) << now.status();
      EXPECT_EQ(now->uid(), member.uid());
      EXPECT_EQ(now->gang().uid(), member.gang().uid());
      EXPECT_EQ(now->intent(), Assignment::PENDING) << member.name();
      EXPECT_TRUE(now->gang().waiting());
      EXPECT_FALSE(now->has_placement());
    }
  }
  // All members are prepared, each placed once, each with a device of its own.
  void ExpectPlacedOnce(const std::string& name, const std::vector<Assignment>& gang) {
    std::set<std::string> devices;
    for (int i = 0; i < kMembers; ++i) {
      ASSERT_TRUE(cluster_.AwaitObserved(Member(name, i), Assignment::PREPARED));
      const auto now = cluster_.Get(Member(name, i));
      ASSERT_TRUE(now.ok()) << now.status();
      EXPECT_EQ(now->uid(), gang.at(static_cast<size_t>(i)).uid());
      EXPECT_EQ(now->generation(), 1);
      EXPECT_FALSE(now->gang().waiting());
      ASSERT_EQ(now->placement().units_size(), 1);
      devices.insert(now->placement().units(0).devices(0).device());
    }
    EXPECT_EQ(devices.size(), static_cast<size_t>(kMembers));
  }
};

TEST_F(WaitingGangTest, OutliveTheirLeadersAndArePlacedOnceOrCancelledAsAWhole) {
  AddHost("gh200", controllers_.links());
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(cluster_.Create(Member("held", i), OneOf("gpu")).ok());
    ASSERT_TRUE(cluster_.AwaitObserved(Member("held", i), Assignment::PREPARED));
  }
  const auto low = Ask(GangOf("low", 0));
  const auto urgent = Ask(GangOf("urgent", 5));
  const auto cancelled = Ask(GangOf("cancelled", 9));
  size_t leader = KillLeader(controllers_.AwaitLeader());
  for (const auto& gang : {low, urgent, cancelled}) ExpectWaiting(gang);
  // The same request has the same answer.
  const auto again = Ask(GangOf("urgent", 5));
  ASSERT_EQ(again.size(), urgent.size());
  for (size_t i = 0; i < again.size(); ++i) {
    EXPECT_EQ(again[i].uid(), urgent[i].uid());
    EXPECT_EQ(again[i].attach_token(), urgent[i].attach_token());
  }

  Release(Member("cancelled", 1));
  leader = KillLeader(leader);
  for (int i = 0; i < kMembers; ++i) {
    EXPECT_TRUE(absl::IsNotFound(cluster_.Get(Member("cancelled", i)).status()));
  }
  for (const auto& gang : {low, urgent}) ExpectWaiting(gang);

  // Whether the leader that dies has placed them or not, and has told the agent or not.
  cluster_.AwaitReady("gh200");
  for (int i = 0; i < kMembers; ++i) Release(Member("held", i));
  KillLeader(leader);
  cluster_.AwaitReady("gh200");
  ExpectPlacedOnce("urgent", urgent);
  ExpectWaiting(low);
  cluster_.ExpectRecordsAgree(4);

  Release(Member("held", 3));
  for (int i = 0; i < kMembers - 1; ++i) Release(Member("urgent", i));
  ExpectPlacedOnce("low", low);
  cluster_.ExpectRecordsAgree(4);
}

}  // namespace
}  // namespace berth::testing
