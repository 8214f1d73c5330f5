// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_RPC_TEST_SERVICE_H_
#define BERTH_TESTS_RPC_TEST_SERVICE_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "berth/v1/host_service.grpc.pb.h"
#include "lib/rpc/authorise.h"
#include "lib/rpc/channel.h"
#include "lib/rpc/error.h"
#include "lib/rpc/request.h"
#include "lib/rpc/server.h"

namespace berth {

// GetHost answers with `answer` (or fails with `failure`), WatchHosts is silent until it is
// cancelled. Remembers who called last.
class TestService : public v1::HostService::CallbackService {
 public:
  grpc::ServerUnaryReactor* GetHost(grpc::CallbackServerContext* context,
                                    const v1::GetHostRequest* request,
                                    v1::Host* response) override {
    absl::MutexLock lock(&mu_);
    peer_ = IdentifyPeer(*context);
    remaining_ = DeadlineOf(*context, absl::Now()) - absl::Now();
    response->set_name(request->name());
    auto* reactor = context->DefaultReactor();
    reactor->Finish(ToGrpcStatus(failure_));
    return reactor;
  }

  grpc::ServerWriteReactor<v1::WatchHostsResponse>* WatchHosts(
      grpc::CallbackServerContext*, const v1::WatchHostsRequest*) override {
    class Silent : public grpc::ServerWriteReactor<v1::WatchHostsResponse> {
      void OnCancel() override { Finish(ToGrpcStatus(absl::CancelledError("over"))); }
      void OnDone() override { delete this; }
    };
    auto* reactor = new Silent;
    // The client sees headers, and so knows that the stream is there.
    reactor->StartSendInitialMetadata();
    return reactor;
  }

  void FailWith(absl::Status failure) {
    absl::MutexLock lock(&mu_);
    failure_ = std::move(failure);
  }
  PeerIdentity peer() const {
    absl::MutexLock lock(&mu_);
    return peer_;
  }
  absl::Duration remaining() const {
    absl::MutexLock lock(&mu_);
    return remaining_;
  }

 private:
  mutable absl::Mutex mu_;
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
  PeerIdentity peer_ ABSL_GUARDED_BY(mu_);
  absl::Duration remaining_ ABSL_GUARDED_BY(mu_);
};

inline std::unique_ptr<RpcServer> MustStart(const RpcServerOptions& options, grpc::Service& service,
                                            RpcObserver* observer = nullptr) {
  auto server = RpcServer::Start(options, {&service}, observer);
  if (!server.ok()) {
    ADD_FAILURE() << server.status();
    std::abort();
  }
  return *std::move(server);
}

inline std::shared_ptr<grpc::Channel> MustDial(const ChannelOptions& options) {
  auto channel = MakeChannel(options);
  if (!channel.ok()) {
    ADD_FAILURE() << channel.status();
    std::abort();
  }
  return *std::move(channel);
}

// What a client of Berth sees of GetHost("hosts/a").
inline absl::Status CallGetHost(const std::shared_ptr<grpc::Channel>& channel,
                                const std::string& name = "hosts/a") {
  grpc::ClientContext context;
  SetDeadline(context, absl::Seconds(20));
  v1::GetHostRequest request;
  request.set_name(name);
  v1::Host host;
  const grpc::Status status = v1::HostService::NewStub(channel)->GetHost(&context, request, &host);
  EXPECT_EQ(host.name(), status.ok() ? name : "");
  return FromGrpcStatus(status);
}

}  // namespace berth

#endif  // BERTH_TESTS_RPC_TEST_SERVICE_H_
