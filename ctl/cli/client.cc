// SPDX-License-Identifier: Apache-2.0
#include "ctl/cli/client.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "berth/v1/assignment_service.grpc.pb.h"
#include "berth/v1/audit_service.grpc.pb.h"
#include "berth/v1/capacity_service.grpc.pb.h"
#include "berth/v1/host_service.grpc.pb.h"
#include "lib/base/absl_view.h"
#include "lib/base/status.h"
#include "lib/rpc/channel.h"
#include "lib/rpc/error.h"
#include "lib/rpc/request.h"
#include "lib/rpc/why_not_connected.h"

namespace berth::cli {
namespace {

constexpr int kMaxRounds = 3;
// While controllers stand by and none leads yet: about ten seconds, more than a leader's place is
// kept.
constexpr int kMaxRoundsWithoutLeader = 12;
constexpr absl::Duration kMaxBackoff = absl::Seconds(1);
// Leaders that nobody has configured, and that are remembered.
constexpr size_t kMaxLearned = 8;

// Servers of Berth's say what is wrong; gRPC itself sends no details.
bool IsFromServer(const grpc::Status& status) { return !status.error_details().empty(); }

// For people to read; never 0.
absl::Duration Rounded(absl::Duration elapsed) {
  const absl::Duration unit =
      elapsed < absl::Seconds(1) ? absl::Milliseconds(1) : absl::Milliseconds(100);
  return std::max(absl::Floor(elapsed + unit / 2, unit), absl::Milliseconds(1));
}

}  // namespace

struct Client::Endpoint {
  std::string address;
  std::unique_ptr<v1::AssignmentService::Stub> assignments;
  std::unique_ptr<v1::HostService::Stub> hosts;
  std::unique_ptr<v1::CapacityService::Stub> capacity;
  std::unique_ptr<v1::AuditService::Stub> audits;

  absl::Status Failure(const grpc::Status& status, absl::Duration elapsed) const {
    if (IsFromServer(status)) return FromGrpcStatus(status);
    const ErrorMetadata metadata = {{"server", address}};
    const std::string_view cause = WhyNotConnected(status.error_message());
    switch (status.error_code()) {
      case grpc::StatusCode::UNAVAILABLE:
        return Error(Reason::kUnavailable,
                     absl::StrCat("cannot reach the controller at ", address,
                                  cause.empty() ? "" : ": ", AbslView(cause)),
                     metadata);
      // This side cancels no calls; a server that ends cancels those that it does not finish.
      case grpc::StatusCode::CANCELLED:
        return Error(Reason::kUnavailable,
                     absl::StrCat("the controller at ", address, " has ended the call"), metadata);
      case grpc::StatusCode::DEADLINE_EXCEEDED:
        return Error(Reason::kDeadlineExceeded,
                     absl::StrCat("no answer from the controller at ", address, " within ",
                                  absl::FormatDuration(Rounded(elapsed))),
                     metadata);
      case grpc::StatusCode::UNIMPLEMENTED:
        return Error(Reason::kUnsupported,
                     absl::StrCat("the server at ", address, " does not offer this call"),
                     metadata);
      default:
        return Annotate(FromGrpcStatus(status), absl::StrCat("the server at ", address));
    }
  }
};

Client::Client(ClientOptions options) : options_(std::move(options)) {}
Client::~Client() = default;

absl::StatusOr<std::unique_ptr<Client>> Client::Make(ClientOptions options) {
  std::unique_ptr<Client> client(new Client(std::move(options)));
  for (const std::string& address : client->options_.addresses) {
    BERTH_RETURN_IF_ERROR(client->AddEndpoint(address));
  }
  return client;
}

absl::Status Client::AddEndpoint(const std::string& address) {
  BERTH_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel,
                         MakeChannel({.address = address, .tls = options_.tls}));
  auto endpoint = std::make_unique<Endpoint>();
  endpoint->address = address;
  endpoint->assignments = v1::AssignmentService::NewStub(channel);
  endpoint->hosts = v1::HostService::NewStub(channel);
  endpoint->capacity = v1::CapacityService::NewStub(channel);
  endpoint->audits = v1::AuditService::NewStub(channel);
  endpoints_.push_back(std::move(endpoint));
  return absl::OkStatus();
}

void Client::MoveOn(const absl::Status& failure) {
  current_ = (current_ + 1) % endpoints_.size();
  if (ReasonOf(failure) != Reason::kNotLeader) return;
  const ErrorMetadata metadata = MetadataOf(failure);
  const auto leader = metadata.find("leader");
  if (leader == metadata.end()) return;
  for (size_t i = 0; i < endpoints_.size(); ++i) {
    if (endpoints_[i]->address == leader->second) {
      current_ = i;
      return;
    }
  }
  // One that cannot be dialled, for lack of certificates for example, leaves the others.
  if (endpoints_.size() < options_.addresses.size() + kMaxLearned &&
      AddEndpoint(leader->second).ok()) {
    current_ = endpoints_.size() - 1;
  }
}

const std::string& Client::address() const { return endpoints_[current_]->address; }

void Client::Pause(absl::Duration duration) {
  const absl::Time until = std::min(options_.clock->Now() + duration, options_.deadline);
  absl::Mutex mu;
  absl::MutexLock lock(&mu);
  const bool never = false;
  options_.clock->AwaitWithDeadline(&mu, absl::Condition(&never), until);
}

absl::Duration Client::CallTimeout() const {
  return std::min(options_.deadline - options_.clock->Now(), kMaxCall);
}

template <typename Response, typename Stub, typename Method, typename Request>
absl::StatusOr<Response> Client::Call(const char* name, std::unique_ptr<Stub> Endpoint::*stub,
                                      Method method, const Request& request) {
  absl::Duration backoff = options_.first_backoff;
  for (int round = 1;; ++round, backoff = std::min(2 * backoff, kMaxBackoff)) {
    absl::Status last;
    absl::Status stands_by;
    for (size_t i = 0; i < endpoints_.size(); ++i) {
      const Endpoint& endpoint = *endpoints_[current_];
      grpc::ClientContext context;
      SetDeadline(context, CallTimeout());
      Response response;
      const absl::Time start = options_.clock->Now();
      const grpc::Status status = ((*(endpoint.*stub)).*method)(&context, request, &response);
      const absl::Duration elapsed = options_.clock->Now() - start;
      if (options_.trace != nullptr) {
        *options_.trace << "rpc " << name << " " << endpoint.address << " "
                        << absl::FormatDuration(absl::Trunc(elapsed, absl::Microseconds(1))) << " "
                        << (status.ok() ? "OK" : status.error_message()) << std::endl;
      }
      if (status.ok()) return response;
      last = endpoint.Failure(status, elapsed);
      if (!absl::IsUnavailable(last)) return last;
      if (ReasonOf(last) == Reason::kNotLeader) stands_by = last;
      MoveOn(last);
    }
    const int rounds = stands_by.ok() ? kMaxRounds : kMaxRoundsWithoutLeader;
    if (round >= rounds || options_.clock->Now() + backoff >= options_.deadline) {
      if (!stands_by.ok()) return stands_by;
      if (endpoints_.size() == 1) return last;
      return Annotate(last, absl::StrCat("none of ", absl::StrJoin(options_.addresses, ", "),
                                         " answers; the last"));
    }
    Pause(backoff);
  }
}

template <typename Response, typename Stub, typename Method, typename Request>
absl::Status Client::Stream(const char* name, std::unique_ptr<Stub> Endpoint::*stub, Method method,
                            const Request& request, const OnMessage<Response>& on_message) {
  const Endpoint& endpoint = *endpoints_[current_];
  grpc::ClientContext context;
  // A watch may last for ever, if the user says so.
  if (options_.deadline != absl::InfiniteFuture()) {
    SetDeadline(context, options_.deadline - options_.clock->Now());
  }
  const absl::Time start = options_.clock->Now();
  if (options_.trace != nullptr) {
    *options_.trace << "rpc " << name << " " << endpoint.address << " opened" << std::endl;
  }
  const auto reader = ((*(endpoint.*stub)).*method)(&context, request);
  Response response;
  bool stopped = false;
  while (!stopped && reader->Read(&response)) stopped = on_message(response) == Next::kStop;
  if (stopped) context.TryCancel();
  const grpc::Status status = reader->Finish();
  if (options_.trace != nullptr) {
    *options_.trace << "rpc " << name << " " << endpoint.address << " closed "
                    << (stopped       ? "by us"
                        : status.ok() ? "OK"
                                      : status.error_message())
                    << std::endl;
  }
  if (stopped || status.ok()) return absl::OkStatus();
  absl::Status failure = endpoint.Failure(status, options_.clock->Now() - start);
  if (absl::IsUnavailable(failure)) MoveOn(failure);
  return failure;
}

// All methods of a service are forwarded in the same way.
#define BERTH_CLI_CALL(Service, stub, Method, Response)                                       \
  absl::StatusOr<v1::Response> Client::Method(const v1::Method##Request& request) {           \
    return Call<v1::Response>(#Method, &Endpoint::stub, &v1::Service::Stub::Method, request); \
  }
#define BERTH_CLI_STREAM(Service, stub, Method)                                               \
  absl::Status Client::Method(const v1::Method##Request& request,                             \
                              const OnMessage<v1::Method##Response>& on_message) {            \
    return Stream<v1::Method##Response>(#Method, &Endpoint::stub, &v1::Service::Stub::Method, \
                                        request, on_message);                                 \
  }

BERTH_CLI_CALL(AssignmentService, assignments, CreateAssignment, Assignment)
BERTH_CLI_CALL(AssignmentService, assignments, BatchCreateAssignments,
               BatchCreateAssignmentsResponse)
BERTH_CLI_CALL(AssignmentService, assignments, GetAssignment, Assignment)
BERTH_CLI_CALL(AssignmentService, assignments, ListAssignments, ListAssignmentsResponse)
BERTH_CLI_CALL(AssignmentService, assignments, DeleteAssignment, Assignment)
BERTH_CLI_CALL(AssignmentService, assignments, RenewAssignment, Assignment)
BERTH_CLI_CALL(AssignmentService, assignments, RotateToken, Assignment)
BERTH_CLI_CALL(AssignmentService, assignments, ExplainPlacement, ExplainPlacementResponse)
BERTH_CLI_CALL(HostService, hosts, GetHost, Host)
BERTH_CLI_CALL(HostService, hosts, ListHosts, ListHostsResponse)
BERTH_CLI_CALL(HostService, hosts, CordonHost, Host)
BERTH_CLI_CALL(HostService, hosts, UncordonHost, Host)
BERTH_CLI_CALL(HostService, hosts, DrainHost, Host)
BERTH_CLI_CALL(HostService, hosts, DeleteHost, Host)
BERTH_CLI_CALL(CapacityService, capacity, GetCapacity, Capacity)
BERTH_CLI_CALL(AuditService, audits, Audit, AuditResponse)
BERTH_CLI_STREAM(AssignmentService, assignments, WatchAssignments)
BERTH_CLI_STREAM(HostService, hosts, WatchHosts)

#undef BERTH_CLI_CALL
#undef BERTH_CLI_STREAM

}  // namespace berth::cli
