// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_RPC_INTERCEPTORS_H_
#define BERTH_LIB_RPC_INTERCEPTORS_H_

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace grpc::experimental {
class ServerInterceptorFactoryInterface;
}

namespace berth {

// Names of the metrics that an observer keeps, and their labels: those of existing dashboards for
// gRPC servers. handling_seconds is a histogram; grpc_code is on handled_total only.
inline constexpr char kRpcStartedTotal[] = "grpc_server_started_total";
inline constexpr char kRpcHandledTotal[] = "grpc_server_handled_total";
inline constexpr char kRpcHandlingSeconds[] = "grpc_server_handling_seconds";
inline constexpr char kRpcLabelType[] = "grpc_type";
inline constexpr char kRpcLabelService[] = "grpc_service";
inline constexpr char kRpcLabelMethod[] = "grpc_method";
inline constexpr char kRpcLabelCode[] = "grpc_code";

// One call that a server serves.
struct RpcCall {
  std::string_view type;     // "unary", "client_stream", "server_stream", "bidi_stream"
  std::string_view service;  // "berth.v1.HostService"
  std::string_view method;   // "GetHost"
  std::string peer;          // "ipv4:127.0.0.1:4711", "unix:"
  std::string traceparent;   // W3C trace context of the caller; empty when there is none
};

// Hears of every call of the methods that a server has (not of calls to methods that it lacks).
// Called on gRPC's threads, several at once: implementations are thread-safe, short and never
// block.
class RpcObserver {
 public:
  virtual ~RpcObserver() = default;
  virtual void OnStarted(const RpcCall& call) = 0;
  // Exactly once per OnStarted(), with an equal `call`. kCancelled when the caller left before an
  // answer was sent.
  virtual void OnHandled(const RpcCall& call, absl::StatusCode code, absl::Duration elapsed) = 0;
};

// The spelling of the label grpc_code: "OK", "PermissionDenied".
std::string_view RpcCodeLabel(absl::StatusCode code);

// What makes a server report to `observer`, which must outlive the server.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> ObserveCalls(
    RpcObserver& observer);

}  // namespace berth

#endif  // BERTH_LIB_RPC_INTERCEPTORS_H_
