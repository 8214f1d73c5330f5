// SPDX-License-Identifier: Apache-2.0
//
// The same request_id gets the same answer, whatever happens in between.
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ctl/controller/book/request_table.h"
#include "lib/store/memory_store.h"
#include "tests/controller/controller_fixture.h"
#include "tests/controller/scripted_store.h"

namespace berth::controller_test {
namespace {

using v1::Assignment;

class RequestIdTest : public ControllerTest {
 protected:
  RequestIdTest() : ControllerTest(Kind::kSqlite) {}

  static v1::CreateAssignmentRequest Request(const std::string& id, const std::string& request_id) {
    auto request = CreateOf(id);
    request.set_request_id(request_id);
    // Maps have no order: the payload is still the same.
    for (int i = 0; i < 8; ++i) {
      (*request.mutable_assignment()->mutable_labels())[absl::StrCat("label", i)] = "x";
    }
    return request;
  }
};

void ExpectSame(const absl::StatusOr<Assignment>& answer, const Assignment& first) {
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(answer->uid(), first.uid());
  EXPECT_EQ(answer->etag(), first.etag());
  EXPECT_EQ(answer->attach_token(), first.attach_token());
  EXPECT_EQ(answer->placement().DebugString(), first.placement().DebugString());
}

TEST_F(RequestIdTest, RepeatsTheAnswerAlsoAfterARestart) {
  auto agent = AddHost();
  const auto first = client().Create(Request("", "r1"));
  ASSERT_THAT(first, IsOk());
  ExpectSame(client().Create(Request("", "r1")), *first);
  agent.reset();
  Restart();
  ExpectSame(client().Create(Request("", "r1")), *first);
  v1::ListAssignmentsRequest list;
  EXPECT_EQ(client()
                .Call<v1::ListAssignmentsResponse>("AssignmentService/ListAssignments", list)
                ->assignments_size(),
            1);
}

TEST_F(RequestIdTest, RefusesAnotherPayload) {
  const auto agent = AddHost();
  ASSERT_THAT(client().Create(Request("a", "r1")), IsOk());
  const auto reused = client().Create(Request("b", "r1"));
  EXPECT_THAT(reused, FailsWith(Reason::kRequestIdReused));
  EXPECT_EQ(reused.status().code(), absl::StatusCode::kAlreadyExists);
  v1::DeleteAssignmentRequest other_method;
  other_method.set_name("assignments/a");
  other_method.set_request_id("r1");
  EXPECT_THAT(client().Call<Assignment>("AssignmentService/DeleteAssignment", other_method), IsOk())
      << "ids of different methods are different ids";
}

TEST_F(RequestIdTest, CallsAtTheSameTimeGetOneAnswer) {
  const auto agent = AddHost({.inventory = MakeInventory({.devices_per_unit = 16, .vintfs = 16})});
  std::vector<absl::StatusOr<Assignment>> answers(8);
  std::vector<std::thread> callers;
  for (auto& answer : answers) {
    callers.emplace_back([&] { answer = client().Create(Request("", "r1")); });
  }
  for (std::thread& caller : callers) caller.join();
  ASSERT_THAT(answers[0], IsOk());
  for (const auto& answer : answers) ExpectSame(answer, *answers[0]);
  EXPECT_EQ(client().GetHost("hosts/h1")->free_device_count(), 15);
}

TEST_F(RequestIdTest, FailuresAreNotRemembered) {
  EXPECT_THAT(client().Create(Request("a", "r1")), FailsWith(Reason::kNoCapacity));
  const auto agent = AddHost();
  EXPECT_THAT(client().Create(Request("a", "r1")), IsOk());
}

TEST_F(RequestIdTest, WhatChangedNothingIsRememberedToo) {
  const auto agent = AddHost();
  v1::DeleteAssignmentRequest request;
  request.set_name("assignments/a");
  request.set_allow_missing(true);
  request.set_request_id("d1");
  const auto remove = [&] {
    return client().Call<Assignment>("AssignmentService/DeleteAssignment", request);
  };
  ASSERT_THAT(remove(), IsOk());
  ASSERT_THAT(client().Create(Request("a", "r1")), IsOk());
  const auto repeated = remove();
  ASSERT_THAT(repeated, IsOk());
  EXPECT_EQ(repeated->ByteSizeLong(), 0);
  EXPECT_EQ(client().Get("assignments/a")->intent(), Assignment::PLACED)
      << "the repetition must not delete what came later";
}

TEST_F(RequestIdTest, DeletesAndRotationsRepeatTheirAnswersAfterTheEnd) {
  const auto agent = AddHost();
  ASSERT_THAT(client().Create(Request("a", "r1")), IsOk());
  v1::RotateTokenRequest rotate;
  rotate.set_name("assignments/a");
  rotate.set_request_id("t1");
  const auto rotated = client().Call<Assignment>("AssignmentService/RotateToken", rotate);
  ASSERT_THAT(rotated, IsOk());
  v1::DeleteAssignmentRequest request;
  request.set_name("assignments/a");
  request.set_request_id("d1");
  const auto deleted = client().Call<Assignment>("AssignmentService/DeleteAssignment", request);
  ASSERT_THAT(deleted, IsOk());
  client().AwaitGone("assignments/a");
  ExpectSame(client().Call<Assignment>("AssignmentService/DeleteAssignment", request), *deleted);
  ExpectSame(client().Call<Assignment>("AssignmentService/RotateToken", rotate), *rotated);
}

TEST_F(RequestIdTest, AreForgottenAfterADay) {
  const auto agent = AddHost();
  ASSERT_THAT(client().Create(Request("a", "r1")), IsOk());
  ASSERT_THAT(client().Delete("assignments/a"), IsOk());
  client().AwaitGone("assignments/a");
  clock.Advance(absl::Hours(24));
  agent->Heartbeat();
  client().AwaitHostState("hosts/h1", v1::Host::READY);
  EXPECT_THAT(client().Create(Request("b", "r1")), FailsWith(Reason::kRequestIdReused));
  clock.Advance(absl::Seconds(2));
  EXPECT_THAT(client().Create(Request("b", "r1")), IsOk());
  EXPECT_THAT(client().Create(Request("c", "r1")), FailsWith(Reason::kRequestIdReused))
      << "the new use counts from now";
}

TEST_F(RequestIdTest, ABatchIsRepeatedAsAWhole) {
  const auto agent = AddHost();
  v1::BatchCreateAssignmentsRequest request;
  request.set_request_id("b1");
  *request.add_requests() = CreateOf("");
  *request.add_requests() = CreateOf("");
  const auto batch = [&] {
    return client().Call<v1::BatchCreateAssignmentsResponse>(
        "AssignmentService/BatchCreateAssignments", request);
  };
  const auto first = batch();
  ASSERT_THAT(first, IsOk());
  const auto second = batch();
  ASSERT_THAT(second, IsOk());
  for (int i = 0; i < 2; ++i) {
    ExpectSame(second->results(i).assignment(), first->results(i).assignment());
  }
}

TEST_F(RequestIdTest, MustBePrintableAndShort) {
  EXPECT_THAT(client().Create(Request("a", "a\tb")), FailsWith(Reason::kInvalidField));
  EXPECT_THAT(client().Create(Request("a", std::string(129, 'x'))), FailsWith(Reason::kTooLarge));
  v1::BatchCreateAssignmentsRequest batch;
  batch.set_mode(v1::BatchCreateAssignmentsRequest::INDEPENDENT);
  *batch.add_requests() = Request("a", "a\tb");
  EXPECT_THAT(client().Call<v1::BatchCreateAssignmentsResponse>(
                  "AssignmentService/BatchCreateAssignments", batch),
              FailsWith(Reason::kInvalidField));
}

// Owners that a record id cannot hold as they are must not be taken for one another.
TEST(RequestTableTest, KeepsOwnersApart) {
  const v1::CreateAssignmentRequest request;
  const auto key = [&](const std::string& owner) {
    return RequestTable::MakeKey(owner, "CreateAssignment", "r1", request).id;
  };
  EXPECT_EQ(key("alice"), "alice/CreateAssignment/r1");
  EXPECT_NE(key("a/b"), key("a_b"));
  EXPECT_NE(key("a/b"), key("a b"));
  EXPECT_NE(key(std::string(200, 'x')), key(std::string(201, 'x')));
  EXPECT_LT(key(std::string(2000, '/')).size(), kMaxIdBytes);
}

}  // namespace
}  // namespace berth::controller_test
