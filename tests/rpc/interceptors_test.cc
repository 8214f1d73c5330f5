// SPDX-License-Identifier: Apache-2.0
#include "lib/rpc/interceptors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/status.h"
#include "tests/rpc/test_service.h"

namespace berth {
namespace {

using testing::ElementsAre;
using testing::StartsWith;

class Recorder : public RpcObserver {
 public:
  void OnStarted(const RpcCall& call) override {
    absl::MutexLock lock(&mu_);
    started_.push_back(call);
  }
  void OnHandled(const RpcCall& call, absl::StatusCode code, absl::Duration elapsed) override {
    EXPECT_GE(elapsed, absl::ZeroDuration());
    absl::MutexLock lock(&mu_);
    handled_.push_back(std::string(call.type) + " " + std::string(call.service) + " " +
                       std::string(call.method) + " " + std::string(RpcCodeLabel(code)));
  }
  // gRPC ends a call at the server a moment after the client has its answer.
  std::vector<std::string> AwaitHandled(size_t count) {
    absl::MutexLock lock(&mu_);
    const auto enough = [&]()
                            ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return handled_.size() >= count; };
    mu_.Await(absl::Condition(&enough));
    return handled_;
  }
  std::vector<RpcCall> started() {
    absl::MutexLock lock(&mu_);
    return started_;
  }

 private:
  absl::Mutex mu_;
  std::vector<RpcCall> started_ ABSL_GUARDED_BY(mu_);
  std::vector<std::string> handled_ ABSL_GUARDED_BY(mu_);
};

TEST(Observer, HearsOfEveryCallOnceWithItsCode) {
  TestService service;
  Recorder recorder;
  const auto server = MustStart({.address = "127.0.0.1:0"}, service, &recorder);
  const auto channel = MustDial({.address = server->address()});
  EXPECT_TRUE(CallGetHost(channel).ok());
  recorder.AwaitHandled(1);
  service.FailWith(Error(Reason::kNotFound, "no host"));
  EXPECT_FALSE(CallGetHost(channel).ok());
  EXPECT_THAT(recorder.AwaitHandled(2), ElementsAre("unary berth.v1.HostService GetHost OK",
                                                    "unary berth.v1.HostService GetHost NotFound"));
  ASSERT_EQ(recorder.started().size(), 2u);
  EXPECT_THAT(recorder.started()[0].peer, StartsWith("ipv4:127.0.0.1:"));
}

TEST(Observer, ACallThatTheCallerLeavesIsCancelled) {
  TestService service;
  Recorder recorder;
  const auto server = MustStart({.address = "127.0.0.1:0"}, service, &recorder);
  const auto stub = v1::HostService::NewStub(MustDial({.address = server->address()}));
  grpc::ClientContext context;
  const auto stream = stub->WatchHosts(&context, {});
  stream->WaitForInitialMetadata();
  context.TryCancel();
  EXPECT_FALSE(stream->Finish().ok());
  EXPECT_THAT(recorder.AwaitHandled(1),
              ElementsAre("server_stream berth.v1.HostService WatchHosts Canceled"));
}

TEST(Observer, TheTraceOfTheCallerIsPassedOn) {
  TestService service;
  Recorder recorder;
  const auto server = MustStart({.address = "127.0.0.1:0"}, service, &recorder);
  const auto stub = v1::HostService::NewStub(MustDial({.address = server->address()}));
  const std::string trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  grpc::ClientContext context;
  context.AddMetadata("traceparent", trace);
  v1::Host host;
  ASSERT_TRUE(stub->GetHost(&context, {}, &host).ok());
  EXPECT_EQ(recorder.started().at(0).traceparent, trace);
}

TEST(CodeLabels, CoverAllCodes) {
  EXPECT_EQ(RpcCodeLabel(absl::StatusCode::kOk), "OK");
  EXPECT_EQ(RpcCodeLabel(absl::StatusCode::kUnauthenticated), "Unauthenticated");
  EXPECT_EQ(RpcCodeLabel(static_cast<absl::StatusCode>(99)), "Unknown");
}

}  // namespace
}  // namespace berth
