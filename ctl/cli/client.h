// SPDX-License-Identifier: Apache-2.0
//
// The calls that commands make, with deadlines, over several controllers.
#ifndef BERTH_CTL_CLI_CLIENT_H_
#define BERTH_CTL_CLI_CLIENT_H_

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "berth/v1/assignment_service.pb.h"
#include "berth/v1/audit_service.pb.h"
#include "berth/v1/capacity_service.pb.h"
#include "berth/v1/host_service.pb.h"
#include "lib/base/clock.h"
#include "lib/rpc/credentials.h"

namespace berth::cli {

struct ClientOptions {
  std::vector<std::string> addresses;  // at least one; tried in turn
  TlsOptions tls = {};
  // Nothing goes on after this; a call by itself ends after kMaxCall at the latest.
  absl::Time deadline = absl::InfiniteFuture();
  absl::Duration first_backoff = absl::Milliseconds(300);
  Clock* clock = nullptr;
  // Gets a line for each call; may be null.
  std::ostream* trace = nullptr;
};

inline constexpr absl::Duration kMaxCall = absl::Seconds(30);

enum class Next { kContinue, kStop };
template <typename Response>
using OnMessage = std::function<Next(const Response&)>;

// Calls that fail with UNAVAILABLE are made again, at the next address, up to three rounds over all
// addresses, or some more while none of them leads; at the leader's, when a controller that stands
// by names it (NOT_LEADER). So every mutation must carry a request_id: then the repetition has no
// second effect. Errors are those of the server (lib/rpc/error.h); kUnavailable and
// kDeadlineExceeded of gRPC's own say which server did not answer. Not thread-safe.
class Client {
 public:
  // Does not connect yet. Errors: those of MakeChannel().
  static absl::StatusOr<std::unique_ptr<Client>> Make(ClientOptions options);
  ~Client();

  absl::StatusOr<v1::Assignment> CreateAssignment(const v1::CreateAssignmentRequest& request);
  absl::StatusOr<v1::BatchCreateAssignmentsResponse> BatchCreateAssignments(
      const v1::BatchCreateAssignmentsRequest& request);
  absl::StatusOr<v1::Assignment> GetAssignment(const v1::GetAssignmentRequest& request);
  absl::StatusOr<v1::ListAssignmentsResponse> ListAssignments(
      const v1::ListAssignmentsRequest& request);
  absl::StatusOr<v1::Assignment> DeleteAssignment(const v1::DeleteAssignmentRequest& request);
  absl::StatusOr<v1::Assignment> RenewAssignment(const v1::RenewAssignmentRequest& request);
  absl::StatusOr<v1::Assignment> RotateToken(const v1::RotateTokenRequest& request);
  absl::StatusOr<v1::ExplainPlacementResponse> ExplainPlacement(
      const v1::ExplainPlacementRequest& request);

  absl::StatusOr<v1::Host> GetHost(const v1::GetHostRequest& request);
  absl::StatusOr<v1::ListHostsResponse> ListHosts(const v1::ListHostsRequest& request);
  absl::StatusOr<v1::Host> CordonHost(const v1::CordonHostRequest& request);
  absl::StatusOr<v1::Host> UncordonHost(const v1::UncordonHostRequest& request);
  absl::StatusOr<v1::Host> DrainHost(const v1::DrainHostRequest& request);
  absl::StatusOr<v1::Host> DeleteHost(const v1::DeleteHostRequest& request);

  absl::StatusOr<v1::Capacity> GetCapacity(const v1::GetCapacityRequest& request);
  absl::StatusOr<v1::AuditResponse> Audit(const v1::AuditRequest& request);

  // One stream, until the server ends it or `on_message` says kStop (OK then). Not made again: see
  // watcher.h. After UNAVAILABLE the next call goes to the next address.
  absl::Status WatchAssignments(const v1::WatchAssignmentsRequest& request,
                                const OnMessage<v1::WatchAssignmentsResponse>& on_message);
  absl::Status WatchHosts(const v1::WatchHostsRequest& request,
                          const OnMessage<v1::WatchHostsResponse>& on_message);

  // Where the next call goes.
  const std::string& address() const;
  absl::Duration first_backoff() const { return options_.first_backoff; }
  // Waits, but not beyond the deadline.
  void Pause(absl::Duration duration);

 private:
  struct Endpoint;

  explicit Client(ClientOptions options);

  absl::Duration CallTimeout() const;
  absl::Status AddEndpoint(const std::string& address);
  // `failure`, UNAVAILABLE, came from the endpoint whose turn it is: whose is next?
  void MoveOn(const absl::Status& failure);
  template <typename Response, typename Stub, typename Method, typename Request>
  absl::StatusOr<Response> Call(const char* name, std::unique_ptr<Stub> Endpoint::*stub,
                                Method method, const Request& request);
  template <typename Response, typename Stub, typename Method, typename Request>
  absl::Status Stream(const char* name, std::unique_ptr<Stub> Endpoint::*stub, Method method,
                      const Request& request, const OnMessage<Response>& on_message);

  const ClientOptions options_;
  std::vector<std::unique_ptr<Endpoint>> endpoints_;
  size_t current_ = 0;
};

}  // namespace berth::cli

#endif  // BERTH_CTL_CLI_CLIENT_H_
