// SPDX-License-Identifier: Apache-2.0
#include "lib/rpc/interceptors.h"

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_interceptor.h>

#include <algorithm>
#include <array>
#include <atomic>

#include "absl/time/clock.h"
#include "lib/rpc/text.h"

namespace berth {
namespace {

using grpc::experimental::InterceptionHookPoints;
using grpc::experimental::InterceptorBatchMethods;
using grpc::experimental::ServerRpcInfo;

constexpr std::array<std::string_view, 17> kCodeLabels = {
    "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
    "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
    "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
    "DataLoss", "Unauthenticated"};

// The fixed form of W3C trace context version 00 has 55 characters.
constexpr size_t kMaxTraceparent = 64;

std::string_view TypeName(ServerRpcInfo::Type type) {
  switch (type) {
    case ServerRpcInfo::Type::UNARY:
      return "unary";
    case ServerRpcInfo::Type::CLIENT_STREAMING:
      return "client_stream";
    case ServerRpcInfo::Type::SERVER_STREAMING:
      return "server_stream";
    case ServerRpcInfo::Type::BIDI_STREAMING:
      return "bidi_stream";
  }
  return "unknown";
}

RpcCall Describe(ServerRpcInfo& info) {
  RpcCall call;
  call.type = TypeName(info.type());
  // "/package.Service/Method": a string of the generated code, which lives as long as the process.
  const std::string_view path = info.method();
  const size_t slash = path.rfind('/');
  call.service = path.substr(1, slash - 1);
  call.method = path.substr(slash + 1);
  call.peer = info.server_context()->peer();
  const auto& metadata = info.server_context()->client_metadata();
  const auto trace = metadata.find("traceparent");
  if (trace != metadata.end()) {
    call.traceparent = PrintableUtf8({trace->second.data(), trace->second.size()}, kMaxTraceparent);
  }
  return call;
}

class ObservedCall : public grpc::experimental::Interceptor {
 public:
  ObservedCall(RpcObserver& observer, ServerRpcInfo& info)
      : observer_(observer), call_(Describe(info)), start_(absl::Now()) {
    observer_.OnStarted(call_);
  }
  // gRPC destroys the interceptors of a call when all of it is over.
  ~ObservedCall() override { observer_.OnHandled(call_, code_, absl::Now() - start_); }

  void Intercept(InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(InterceptionHookPoints::PRE_SEND_STATUS)) {
      code_ = static_cast<absl::StatusCode>(methods->GetSendStatus().error_code());
    }
    methods->Proceed();
  }

 private:
  RpcObserver& observer_;
  const RpcCall call_;
  const absl::Time start_;
  std::atomic<absl::StatusCode> code_ = absl::StatusCode::kCancelled;
};

class Factory : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  explicit Factory(RpcObserver& observer) : observer_(observer) {}
  grpc::experimental::Interceptor* CreateServerInterceptor(ServerRpcInfo* info) override {
    return new ObservedCall(observer_, *info);  // gRPC takes it
  }

 private:
  RpcObserver& observer_;
};

}  // namespace

std::string_view RpcCodeLabel(absl::StatusCode code) {
  const auto index = static_cast<size_t>(code);
  return index < kCodeLabels.size() ? kCodeLabels[index] : "Unknown";
}

std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> ObserveCalls(
    RpcObserver& observer) {
  return std::make_unique<Factory>(observer);
}

}  // namespace berth
