// SPDX-License-Identifier: Apache-2.0
#include "lib/store/etcd/client.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <chrono>
#include <functional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "etcd/rpc.grpc.pb.h"
#include "lib/base/absl_view.h"
#include "lib/base/status.h"
#include "lib/rpc/channel.h"
#include "lib/rpc/error.h"
#include "lib/rpc/request.h"
#include "lib/rpc/why_not_connected.h"

namespace berth {
namespace {

namespace pb = etcdserverpb;

// Between two attempts at a member that is connected, and has no leader for example.
constexpr std::chrono::milliseconds kPause(100);

struct Member {
  Member(std::string at, const std::shared_ptr<grpc::Channel>& dialled)
      : address(std::move(at)),
        channel(dialled),
        kv(pb::KV::NewStub(dialled)),
        lease(pb::Lease::NewStub(dialled)),
        watch(pb::Watch::NewStub(dialled)),
        maintenance(pb::Maintenance::NewStub(dialled)),
        auth(pb::Auth::NewStub(dialled)) {}

  const std::string address;
  const std::shared_ptr<grpc::Channel> channel;
  const std::unique_ptr<pb::KV::Stub> kv;
  const std::unique_ptr<pb::Lease::Stub> lease;
  const std::unique_ptr<pb::Watch::Stub> watch;
  const std::unique_ptr<pb::Maintenance::Stub> maintenance;
  const std::unique_ptr<pb::Auth::Stub> auth;
};

using Attempt = std::function<grpc::Status(Member&, grpc::ClientContext&)>;

bool IsTransient(absl::StatusCode code) {
  return code == absl::StatusCode::kUnavailable || code == absl::StatusCode::kDeadlineExceeded;
}

// The messages are those of etcd api/v3rpc/rpctypes/error.go; tokens live for five minutes, and do
// not survive the member that gave them or a change of users.
bool IsTokenStale(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAUTHENTICATED ||
         absl::StrContains(status.error_message(), "invalid auth token") ||
         absl::StrContains(status.error_message(), "revision of auth store is old");
}

absl::Status Describe(const grpc::Status& status, const Member& member, const char* what) {
  if (status.ok()) return absl::OkStatus();
  const absl::Status error = FromGrpcStatus(status);
  const std::string_view why = WhyNotConnected(StdView(error.message()));
  const std::string place = absl::StrCat("etcd at ", member.address, ", ", what);
  if (why.empty()) return Annotate(error, place);
  return Error(ReasonOf(error), absl::StrCat(place, ": ", AbslView(why)));
}

}  // namespace

class EtcdClient::Impl {
 public:
  Impl(EtcdClientOptions options, std::vector<std::unique_ptr<Member>> members)
      : options_(std::move(options)), members_(std::move(members)) {}

  absl::Status Once(const char* what, const Attempt& attempt) {
    return Once(what, options_.attempt_timeout, attempt);
  }

  absl::Status Once(const char* what, absl::Duration timeout, const Attempt& attempt) {
    const size_t index = Current();
    Member& member = *members_[index];
    grpc::Status status = WithToken(member, timeout, attempt);
    if (IsTokenStale(status) && !options_.user.empty()) {
      ForgetToken();
      status = WithToken(member, timeout, attempt);
    }
    absl::Status described = Describe(status, member, what);
    if (IsTransient(described.code())) MoveOnFrom(index);
    return described;
  }

  absl::Status Repeatedly(const char* what, const Attempt& attempt) {
    for (int made = 1;; ++made) {
      absl::Status status = Once(what, attempt);
      if (!IsTransient(status.code()) || made >= options_.attempts) return status;
      AwaitConnection();
    }
  }

  void AwaitConnection() {
    const std::shared_ptr<grpc::Channel>& channel = members_[Current()]->channel;
    const auto now = std::chrono::system_clock::now();
    channel->WaitForStateChange(channel->GetState(/*try_to_connect=*/true), now + kPause);
    channel->WaitForConnected(now + absl::ToChronoMilliseconds(options_.attempt_timeout));
  }

 private:
  size_t Current() {
    absl::MutexLock lock(&mu_);
    return current_;
  }

  // Only the first of those who have found out.
  void MoveOnFrom(size_t index) {
    absl::MutexLock lock(&mu_);
    if (current_ == index) current_ = (index + 1) % members_.size();
  }

  grpc::Status WithToken(Member& member, absl::Duration timeout, const Attempt& attempt) {
    grpc::ClientContext context;
    SetDeadline(context, timeout);
    if (!options_.user.empty()) {
      std::string token;
      grpc::Status known = FindToken(member, &token);
      if (!known.ok()) return known;
      context.AddMetadata("token", token);
    }
    return attempt(member, context);
  }

  grpc::Status FindToken(Member& member, std::string* token) {
    // Held during the call, so that one thread asks and the others wait for its answer.
    absl::MutexLock lock(&token_mu_);
    if (token_.empty()) {
      grpc::ClientContext context;
      SetDeadline(context, options_.attempt_timeout);
      pb::AuthenticateRequest request;
      request.set_name(options_.user);
      request.set_password(options_.password);
      pb::AuthenticateResponse response;
      grpc::Status status = member.auth->Authenticate(&context, request, &response);
      if (!status.ok()) return status;
      token_ = response.token();
    }
    *token = token_;
    return grpc::Status::OK;
  }

  void ForgetToken() {
    absl::MutexLock lock(&token_mu_);
    token_.clear();
  }

  const EtcdClientOptions options_;
  const std::vector<std::unique_ptr<Member>> members_;
  absl::Mutex mu_;
  size_t current_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Mutex token_mu_;
  std::string token_ ABSL_GUARDED_BY(token_mu_);
};

bool WasRefused(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kUnimplemented:
      return true;
    default:
      return false;
  }
}

EtcdClient::EtcdClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
EtcdClient::~EtcdClient() = default;

absl::StatusOr<std::shared_ptr<EtcdClient>> EtcdClient::Make(EtcdClientOptions options) {
  if (options.endpoints.empty()) {
    return Error(Reason::kMissingField, "an etcd cluster needs at least one endpoint");
  }
  std::vector<std::unique_ptr<Member>> members;
  for (const std::string& address : options.endpoints) {
    BERTH_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel,
                           MakeChannel({.address = address, .tls = options.tls}));
    members.push_back(std::make_unique<Member>(address, channel));
  }
  return std::shared_ptr<EtcdClient>(
      new EtcdClient(std::make_unique<Impl>(std::move(options), std::move(members))));
}

absl::StatusOr<pb::StatusResponse> EtcdClient::Status() {
  pb::StatusResponse response;
  BERTH_RETURN_IF_ERROR(
      impl_->Repeatedly("Status", [&](Member& member, grpc::ClientContext& context) {
        return member.maintenance->Status(&context, pb::StatusRequest(), &response);
      }));
  return response;
}

absl::StatusOr<pb::RangeResponse> EtcdClient::Range(const pb::RangeRequest& request) {
  pb::RangeResponse response;
  BERTH_RETURN_IF_ERROR(
      impl_->Repeatedly("Range", [&](Member& member, grpc::ClientContext& context) {
        return member.kv->Range(&context, request, &response);
      }));
  return response;
}

absl::StatusOr<pb::TxnResponse> EtcdClient::RepeatTxn(const pb::TxnRequest& request) {
  pb::TxnResponse response;
  BERTH_RETURN_IF_ERROR(impl_->Repeatedly("Txn", [&](Member& member, grpc::ClientContext& context) {
    return member.kv->Txn(&context, request, &response);
  }));
  return response;
}

absl::StatusOr<pb::TxnResponse> EtcdClient::Txn(const pb::TxnRequest& request) {
  pb::TxnResponse response;
  BERTH_RETURN_IF_ERROR(impl_->Once("Txn", [&](Member& member, grpc::ClientContext& context) {
    return member.kv->Txn(&context, request, &response);
  }));
  return response;
}

absl::StatusOr<pb::LeaseGrantResponse> EtcdClient::GrantLease(absl::Duration ttl) {
  pb::LeaseGrantRequest request;
  request.set_ttl(absl::ToInt64Seconds(absl::Ceil(ttl, absl::Seconds(1))));
  pb::LeaseGrantResponse response;
  // One that is granted twice, because an answer was lost, ends by itself.
  BERTH_RETURN_IF_ERROR(
      impl_->Repeatedly("LeaseGrant", [&](Member& member, grpc::ClientContext& context) {
        return member.lease->LeaseGrant(&context, request, &response);
      }));
  return response;
}

absl::Status EtcdClient::RevokeLease(int64_t id) {
  pb::LeaseRevokeRequest request;
  request.set_id(id);
  return impl_->Once("LeaseRevoke", [&](Member& member, grpc::ClientContext& context) {
    pb::LeaseRevokeResponse response;
    return member.lease->LeaseRevoke(&context, request, &response);
  });
}

absl::StatusOr<absl::Duration> EtcdClient::KeepAlive(int64_t id, absl::Duration limit) {
  pb::LeaseKeepAliveRequest request;
  request.set_id(id);
  pb::LeaseKeepAliveResponse response;
  BERTH_RETURN_IF_ERROR(
      impl_->Once("LeaseKeepAlive", limit, [&](Member& member, grpc::ClientContext& context) {
        const auto stream = member.lease->LeaseKeepAlive(&context);
        const bool answered = stream->Write(request) && stream->Read(&response);
        // The server keeps the stream open for more.
        if (answered) context.TryCancel();
        const grpc::Status status = stream->Finish();
        return answered ? grpc::Status::OK : status;
      }));
  return absl::Seconds(response.ttl());
}

absl::Status EtcdClient::AwaitDeletion(const std::string& key, int64_t from, absl::Duration limit) {
  return impl_->Once("Watch", limit, [&](Member& member, grpc::ClientContext& context) {
    const auto stream = member.watch->Watch(&context);
    pb::WatchRequest request;
    request.mutable_create_request()->set_key(key);
    request.mutable_create_request()->set_start_revision(from);
    bool deleted = false;
    std::string canceled;
    stream->Write(request);
    for (pb::WatchResponse response; !deleted && stream->Read(&response);) {
      for (const mvccpb::Event& event : response.events()) {
        deleted |= event.type() == mvccpb::Event::DELETE;
      }
      if (response.canceled()) {
        canceled = absl::StrCat("watch canceled: ", response.cancel_reason());
        break;
      }
    }
    // The server keeps the stream open for more.
    if (deleted || !canceled.empty()) context.TryCancel();
    const grpc::Status status = stream->Finish();
    if (deleted) return grpc::Status::OK;
    // That nothing has happened says nothing against this member.
    if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
      return grpc::Status(grpc::StatusCode::ABORTED, "it was not deleted in time");
    }
    return canceled.empty() ? status : grpc::Status(grpc::StatusCode::ABORTED, canceled);
  });
}

void EtcdClient::AwaitConnection() { impl_->AwaitConnection(); }

}  // namespace berth
