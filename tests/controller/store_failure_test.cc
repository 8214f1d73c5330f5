// SPDX-License-Identifier: Apache-2.0
//
// A store that fails: nobody is told that something happened which perhaps did not.
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "lib/store/memory_store.h"
#include "tests/controller/controller_fixture.h"
#include "tests/controller/scripted_store.h"

namespace berth::controller_test {
namespace {

using v1::Assignment;

class StoreFailureTest : public ControllerTest {
 protected:
  void SetUp() override {
    open_store = [this] {
      return std::make_unique<ScriptedStore>(&script, *OpenMemoryStore(medium));
    };
    on_fatal = [this](const absl::Status&) { ++fatal; };
    Start();
  }

 public:
  std::shared_ptr<MemoryMedium> medium = std::make_shared<MemoryMedium>();
  StoreScript script;
  std::atomic<int> fatal = 0;
};

TEST_F(StoreFailureTest, EndsTheControllerAndAnswersThatTheOutcomeIsUnknown) {
  auto agent = AddHost();
  ASSERT_THAT(client().Create(CreateOf("before")), IsOk());
  script.Set(StoreScript::Commits::kAreHeld);
  auto request = CreateOf("vm");
  request.set_request_id("r1");
  // One does the work, the other waits for its answer.
  std::vector<absl::StatusOr<Assignment>> answers(2);
  std::vector<std::thread> callers;
  for (auto& answer : answers) callers.emplace_back([&] { answer = client().Create(request); });
  script.AwaitHeld();
  script.Let(StoreScript::Commits::kFail);
  for (std::thread& caller : callers) caller.join();
  for (const auto& answer : answers) {
    EXPECT_THAT(answer, FailsWith(Reason::kStoreFailed));
    EXPECT_EQ(answer.status().code(), absl::StatusCode::kUnavailable) << "to be repeated";
  }
  EXPECT_EQ(fatal, 1);
  EXPECT_THAT(client().Get("assignments/vm"), FailsWith(Reason::kNotFound));
  EXPECT_THAT(client().Create(CreateOf("other")), FailsWith(Reason::kStoreFailed));
  agent->Heartbeat();
  EXPECT_FALSE(agent->HasHeardOf("assignments/vm"));
  EXPECT_EQ(fatal, 1) << "said once";

  agent.reset();
  script.Set(StoreScript::Commits::kPass);
  Restart();
  agent = AddHost();
  EXPECT_THAT(client().Get("assignments/before"), IsOk());
  EXPECT_THAT(client().Create(request), IsOk()) << "the repetition does it";
}

TEST_F(StoreFailureTest, AStoreThatIsBehindChangesNothing) {
  const auto agent = AddHost();
  script.Set(StoreScript::Commits::kAreRefused);
  EXPECT_THAT(client().Create(CreateOf("vm", 2)), FailsWith(Reason::kOverloaded));
  script.Set(StoreScript::Commits::kPass);
  EXPECT_THAT(client().Create(CreateOf("vm", 2)), IsOk()) << "what was reserved is free again";
  EXPECT_EQ(fatal, 0);
}

TEST_F(StoreFailureTest, AReleaseWhoseEndWasRefusedEndsLater) {
  const auto agent = AddHost({.manner = FakeAgent::Manner::kSilent});
  ASSERT_THAT(client().Create(CreateOf("vm")), IsOk());
  ASSERT_THAT(client().Delete("assignments/vm"), IsOk());
  const auto releasing = agent->AwaitDesired("assignments/vm", Assignment::RELEASING);
  script.Set(StoreScript::Commits::kAreRefused);
  agent->Report(StatusOf(releasing, Assignment::GONE));
  client().AwaitObserved("assignments/vm", Assignment::GONE);
  script.Set(StoreScript::Commits::kPass);
  absl::StatusOr<Assignment> seen = client().Get("assignments/vm");
  for (int i = 0; i < 10'000 && seen.ok(); ++i) {
    clock.Advance(absl::Seconds(1));
    seen = client().Get("assignments/vm");
  }
  EXPECT_THAT(seen, FailsWith(Reason::kNotFound));
}

// The store of one that was paused refuses its commits, because another leads. What the other has
// created since is not there for this one.
TEST_F(StoreFailureTest, WhatIsMissingOrThereIsSaidOnlyByOneThatStillCommits) {
  const auto remove = [this](bool allow_missing) {
    v1::DeleteAssignmentRequest request;
    request.set_name("assignments/vm");
    request.set_allow_missing(allow_missing);
    return client().Call<Assignment>("AssignmentService/DeleteAssignment", request);
  };
  ASSERT_THAT(remove(false), FailsWith(Reason::kNotFound));
  ASSERT_THAT(remove(true), IsOk());
  script.Set(StoreScript::Commits::kFail);
  EXPECT_THAT(remove(false), FailsWith(Reason::kStoreFailed));
  script.Set(StoreScript::Commits::kPass);
  Restart();
  script.Set(StoreScript::Commits::kFail);
  EXPECT_THAT(remove(true), FailsWith(Reason::kStoreFailed));
  EXPECT_EQ(fatal, 2) << "it ends, to read back";

  script.Set(StoreScript::Commits::kPass);
  Restart();
  const auto agent = AddHost();
  ASSERT_THAT(client().Create(CreateOf("vm")), IsOk());
  ASSERT_THAT(client().Create(CreateOf("vm")), FailsWith(Reason::kAlreadyExists));
  script.Set(StoreScript::Commits::kFail);
  EXPECT_THAT(client().Create(CreateOf("vm")), FailsWith(Reason::kStoreFailed));
}

}  // namespace
}  // namespace berth::controller_test
