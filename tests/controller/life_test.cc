// SPDX-License-Identifier: Apache-2.0
//
// The controller's own life: it starts and stops whatever is going on, and leaves nothing behind.
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/controller/controller_fixture.h"

namespace berth::controller_test {
namespace {

using v1::Assignment;

class LifeTest : public ControllerTest {
 protected:
  LifeTest() : ControllerTest(Kind::kSqlite) {}
};

TEST_F(LifeTest, StopsAndStartsAgainAndAgainUnderLoad) {
  for (int round = 0; round < 5; ++round) {
    auto agent = AddHost({.inventory = MakeInventory({.devices_per_unit = 8, .vintfs = 8})});
    const auto watch = client().Watch({});
    const auto hosts = client().WatchHosts({});
    ASSERT_THAT(watch->Next(), IsOk());
    std::atomic<bool> stop = false;
    Client other(daemon->api_address());
    std::thread caller([&] {
      while (!stop) {
        const auto created = other.Create(CreateOf(""));
        if (created.ok()) (void)other.Delete(created->name());
      }
    });
    for (int i = 0; i < 5; ++i) ASSERT_THAT(watch->Next(), IsOk());
    Stop();
    EXPECT_THAT(agent->AwaitEnd(), FailsWith(Reason::kShuttingDown));
    absl::Status end;
    while (end.ok()) end = watch->Next().status();
    EXPECT_THAT(end, FailsWith(Reason::kShuttingDown));
    stop = true;
    caller.join();
    Start();
    // Everything that was begun goes on, and ends.
    agent = AddHost();
    const auto list = client().Call<v1::ListAssignmentsResponse>(
        "AssignmentService/ListAssignments", v1::ListAssignmentsRequest());
    ASSERT_THAT(list, IsOk());
    for (const Assignment& left : list->assignments()) {
      const auto deleted = client().Delete(left.name());
      if (!deleted.ok()) {
        EXPECT_THAT(deleted, FailsWith(Reason::kNotFound));
      }
      client().AwaitGone(left.name());
    }
    agent.reset();
    Restart();
  }
}

TEST_F(LifeTest, AStreamThatNobodyReadsDoesNotHoldUpTheEnd) {
  const auto stuck = client().Watch({}, AssignmentWatch::Reading::kWhenTold);
  client().AwaitGone("assignments/none");
  auto request = CreateOf("");
  request.mutable_assignment()->mutable_spec()->set_when_unavailable(v1::AssignmentSpec::QUEUE);
  (*request.mutable_assignment()->mutable_annotations())["note"] = std::string(60'000, 'x');
  for (int i = 0; i < 30; ++i) ASSERT_THAT(client().Create(request), IsOk());
  Stop();
}

TEST_F(LifeTest, CallsAreCounted) {
  const auto agent = AddHost();
  EXPECT_THAT(client().Get("assignments/none"), FailsWith(Reason::kNotFound));
  EXPECT_THAT(client().Get("assignments/none"), FailsWith(Reason::kNotFound));
  // The last word on a call is said when it is over for the server.
  Stop();
  const std::string text = metrics.Text();
  const std::string get =
      "{grpc_code=\"NotFound\",grpc_method=\"GetAssignment\","
      "grpc_service=\"berth.v1.AssignmentService\",grpc_type=\"unary\"} 2";
  EXPECT_THAT(text, testing::HasSubstr("grpc_server_handled_total" + get));
  EXPECT_THAT(text, testing::HasSubstr("grpc_server_started_total{grpc_method=\"Session\""));
  EXPECT_THAT(text, testing::HasSubstr("grpc_server_handling_seconds_bucket"));
}

TEST_F(LifeTest, ASecondControllerCannotHaveTheSameStore) {
  Logger log("second", LogLevel::kError, Logger::Format::kPlain, &std::cerr);
  const auto second = ControllerDaemon::Start(
      {.config = config, .clock = &clock, .log = &log, .on_fatal = nullptr});
  EXPECT_THAT(second, FailsWith(Reason::kStoreLocked));
}

TEST_F(LifeTest, AnAddressThatIsTakenIsSaidAndTheStoreLetGo) {
  const std::string taken = daemon->api_address();
  auto other = config;
  other.mutable_store()->mutable_sqlite()->set_path(folder + "/other.db");
  other.mutable_api()->set_address(taken);
  Logger log("second", LogLevel::kError, Logger::Format::kPlain, &std::cerr);
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(ControllerDaemon::Start(
                    {.config = other, .clock = &clock, .log = &log, .on_fatal = nullptr}),
                FailsWith(Reason::kStateConflict));
  }
}

}  // namespace
}  // namespace berth::controller_test
