// SPDX-License-Identifier: Apache-2.0
//
// A controller in this process with a clock that stands still until told, and clients of it.
#ifndef BERTH_TESTS_CONTROLLER_CONTROLLER_FIXTURE_H_
#define BERTH_TESTS_CONTROLLER_CONTROLLER_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "berth/v1/assignment_service.pb.h"
#include "berth/v1/host_service.pb.h"
#include "ctl/controller/daemon/controller_daemon.h"
#include "lib/base/clock.h"
#include "lib/base/status.h"
#include "tests/controller/fake_agent.h"

namespace grpc {
class ByteBuffer;
class Channel;
class Status;
}  // namespace grpc

namespace berth::controller_test {

// Matches a status, or a StatusOr, that failed for `reason`.
MATCHER_P(FailsWith, reason, std::string(ReasonName(reason))) {
  const auto& status = [&]() -> const absl::Status& {
    if constexpr (requires { arg.status(); }) {
      return arg.status();
    } else {
      return arg;
    }
  }();
  *result_listener << status.ToString();
  return ReasonOf(status) == reason;
}
MATCHER(IsOk, "is OK") {
  if constexpr (requires { arg.status(); }) {
    *result_listener << arg.status().ToString();
  } else {
    *result_listener << arg.ToString();
  }
  return arg.ok();
}

// One watch, read by a thread of its own.
template <typename Response>
class WatchStream {
 public:
  class Impl;
  enum class Reading { kNow, kWhenTold };
  explicit WatchStream(std::unique_ptr<Impl> impl);
  ~WatchStream();
  // Waits for the next message; what ended the stream instead. The patience is half a minute.
  absl::StatusOr<Response> Next();
  // Begins to read, when it was made with kWhenTold.
  void StartReading();

 private:
  const std::unique_ptr<Impl> impl_;
};
using AssignmentWatch = WatchStream<v1::WatchAssignmentsResponse>;
using HostWatch = WatchStream<v1::WatchHostsResponse>;

// Calls over a channel of its own. Thread-safe.
class Client {
 public:
  explicit Client(const std::string& address);
  ~Client();

  // Calls "AssignmentService/GetAssignment".
  // As it comes, without what FromGrpcStatus() makes up for errors without details.
  grpc::Status CallForStatus(const std::string& method, const google::protobuf::Message& request,
                             grpc::ByteBuffer* response);
  absl::Status CallRaw(const std::string& method, const google::protobuf::Message& request,
                       google::protobuf::Message* response);
  template <typename Response>
  absl::StatusOr<Response> Call(const std::string& method,
                                const google::protobuf::Message& request) {
    Response response;
    BERTH_RETURN_IF_ERROR(CallRaw(method, request, &response));
    return response;
  }

  absl::StatusOr<v1::Assignment> Create(const v1::CreateAssignmentRequest& request);
  absl::StatusOr<v1::Assignment> Get(const std::string& name);
  absl::StatusOr<v1::Assignment> Delete(const std::string& name);
  absl::StatusOr<v1::Host> GetHost(const std::string& name);
  std::unique_ptr<AssignmentWatch> Watch(
      const v1::WatchAssignmentsRequest& request,
      AssignmentWatch::Reading reading = AssignmentWatch::Reading::kNow);
  std::unique_ptr<HostWatch> WatchHosts(const v1::WatchHostsRequest& request);

  // Follows a watch until the resource is as `is` wants it; fails the test if that never comes.
  v1::Assignment Await(const std::string& name,
                       const std::function<bool(const v1::Assignment&)>& is);
  v1::Assignment AwaitObserved(const std::string& name, v1::Assignment::Observed observed);
  v1::Assignment AwaitIntent(const std::string& name, v1::Assignment::Intent intent);
  v1::Host AwaitHost(const std::string& name, const std::function<bool(const v1::Host&)>& is);
  v1::Host AwaitHostState(const std::string& name, v1::Host::State state);
  // Follows a watch until Get would say NOT_FOUND.
  void AwaitGone(const std::string& name);

 private:
  const std::shared_ptr<grpc::Channel> channel_;
};

class ControllerTest : public ::testing::Test {
 protected:
  enum class Kind { kMemory, kSqlite };
  explicit ControllerTest(Kind kind = Kind::kMemory);
  ~ControllerTest() override;

  // Called by the constructor of the fixture's tests through SetUp(); a test that wants other
  // options changes `config` and restarts.
  void SetUp() override { Start(); }
  void Start();
  void Stop();
  void Restart() {
    Stop();
    Start();
  }

  std::unique_ptr<FakeAgent> Connect(FakeAgent::Options options = {});
  // An agent that has been welcomed and whose host is READY.
  std::unique_ptr<FakeAgent> AddHost(FakeAgent::Options options = {});
  Client& client() { return *client_; }
  // After Stop().
  std::string LogText() const { return log_text_.str(); }

  // What a test looks at, or changes before it restarts.
 public:
  FakeClock clock{absl::FromUnixSeconds(1'700'000'000)};
  internal::v1::ControllerConfig config;
  std::function<absl::StatusOr<std::unique_ptr<Store>>()> open_store;
  Metrics metrics;
  std::function<void(const absl::Status&)> on_fatal = [](const absl::Status& status) {
    ADD_FAILURE() << "the store has failed: " << status;
  };
  std::string folder;
  std::unique_ptr<ControllerDaemon> daemon;

 private:
  std::ostringstream log_text_;
  Logger log_{"controller", LogLevel::kDebug, Logger::Format::kPlain, &log_text_};
  std::unique_ptr<Client> client_;
};

// A create of `count` devices of `device_class` under the name assignments/<id>.
v1::CreateAssignmentRequest CreateOf(const std::string& id, int count = 1,
                                     const std::string& device_class = "gpu");

}  // namespace berth::controller_test

#endif  // BERTH_TESTS_CONTROLLER_CONTROLLER_FIXTURE_H_
