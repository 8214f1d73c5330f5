// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_CLI_FAKE_SERVER_H_
#define BERTH_TESTS_CLI_FAKE_SERVER_H_

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "berth/v1/assignment_service.grpc.pb.h"
#include "berth/v1/audit_service.grpc.pb.h"
#include "berth/v1/capacity_service.grpc.pb.h"
#include "berth/v1/host_service.grpc.pb.h"
#include "lib/rpc/server.h"

namespace berth::cli {

// What one watch stream is told, in order; then it ends with `end`, or stays silent.
template <typename Response>
struct Script {
  std::vector<Response> messages;
  std::optional<absl::Status> end;
};

// A controller with canned state on a free port. It does not place anything; it answers with what
// the test has put there, and remembers what it was asked. Thread-safe.
class FakeServer {
 public:
  FakeServer();
  ~FakeServer();

  const std::string& address() const { return server_->address(); }
  // Nobody answers at address() any more.
  void Stop() { server_.reset(); }

  void Put(const v1::Assignment& assignment);
  void Put(const v1::Host& host);
  void Set(const v1::Capacity& capacity);
  // Answers of Audit: one page after the other.
  void Set(std::vector<v1::AuditResponse> pages);
  void Set(const v1::ExplainPlacementResponse& explanation);
  void LimitPages(int size);

  // The next call of a method fails so; several are taken in order.
  void FailNext(const std::string& method, const absl::Status& failure);
  // The next watch goes so. Without a script it stays silent.
  void Expect(Script<v1::WatchAssignmentsResponse> script);
  void Expect(Script<v1::WatchHostsResponse> script);

  // All requests of a method so far, in order.
  template <typename Request>
  std::vector<Request> Received() const {
    std::vector<Request> requests;
    absl::MutexLock lock(&mu_);
    for (const auto& message : received_) {
      const auto* request = dynamic_cast<const Request*>(message.get());
      if (request != nullptr) requests.push_back(*request);
    }
    return requests;
  }

 private:
  class Assignments;
  class Hosts;
  class Capacities;
  class Audits;

  absl::Status Take(const std::string& method, const google::protobuf::Message& request)
      ABSL_LOCKS_EXCLUDED(mu_);

  mutable absl::Mutex mu_;
  std::map<std::string, v1::Assignment> assignments_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, v1::Host> hosts_ ABSL_GUARDED_BY(mu_);
  v1::Capacity capacity_ ABSL_GUARDED_BY(mu_);
  std::deque<v1::AuditResponse> audits_ ABSL_GUARDED_BY(mu_);
  v1::ExplainPlacementResponse explanation_ ABSL_GUARDED_BY(mu_);
  int page_limit_ ABSL_GUARDED_BY(mu_) = 1000;
  std::map<std::string, std::deque<absl::Status>> failures_ ABSL_GUARDED_BY(mu_);
  std::deque<Script<v1::WatchAssignmentsResponse>> assignment_scripts_ ABSL_GUARDED_BY(mu_);
  std::deque<Script<v1::WatchHostsResponse>> host_scripts_ ABSL_GUARDED_BY(mu_);
  std::vector<std::unique_ptr<google::protobuf::Message>> received_ ABSL_GUARDED_BY(mu_);

  std::unique_ptr<Assignments> assignment_service_;
  std::unique_ptr<Hosts> host_service_;
  std::unique_ptr<Capacities> capacity_service_;
  std::unique_ptr<Audits> audit_service_;
  std::unique_ptr<RpcServer> server_;
};

}  // namespace berth::cli

#endif  // BERTH_TESTS_CLI_FAKE_SERVER_H_
