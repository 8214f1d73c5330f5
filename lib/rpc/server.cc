// SPDX-License-Identifier: Apache-2.0
#include "lib/rpc/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "lib/base/absl_view.h"
#include "lib/base/status.h"
#include "lib/base/unique_fd.h"
#include "lib/rpc/limits.h"

namespace berth {
namespace {

// gRPC keeps these switches per process, and they are not thread-safe.
void EnableHealthAndReflection() {
  static std::once_flag once;
  std::call_once(once, [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
}

// The path of "unix:path" or "unix:///path"; empty for other addresses.
std::string UnixPath(const std::string& address) {
  absl::string_view rest = address;
  if (!absl::ConsumePrefix(&rest, "unix:")) return "";
  absl::ConsumePrefix(&rest, "//");
  return std::string(rest);
}

absl::Status Occupied(const std::string& address) {
  return Error(Reason::kStateConflict, absl::StrCat("somebody listens on ", address, " already"),
               {{"address", address}});
}

absl::Status BadAddress(const std::string& address, std::string_view why) {
  return Error(Reason::kInvalidField,
               absl::StrCat("cannot listen on \"", address, "\": ", AbslView(why)),
               {{"address", address}, {"field", "address"}});
}

// gRPC unlinks whatever socket is in its way, also one that is in use.
absl::Status CheckNobodyAnswers(const std::string& address, const std::string& path) {
  sockaddr_un name = {};
  name.sun_family = AF_UNIX;
  if (path.size() >= sizeof(name.sun_path)) {
    return BadAddress(address, absl::StrCat("the path of a UNIX socket has at most ",
                                            sizeof(name.sun_path) - 1, " bytes"));
  }
  std::memcpy(name.sun_path, path.c_str(), path.size() + 1);
  const UniqueFd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe.valid()) return ErrnoToStatus(errno, "socket");
  const int result = connect(probe.get(), reinterpret_cast<sockaddr*>(&name), sizeof(name));
  // EAGAIN: its backlog is full.
  if (result == 0 || errno == EAGAIN) return Occupied(address);
  return absl::OkStatus();
}

absl::Status CheckAddress(const std::string& address) {
  if (const std::string path = UnixPath(address); !path.empty()) {
    return CheckNobodyAnswers(address, path);
  }
  const size_t colon = address.rfind(':');
  uint32_t port = 0;
  if (colon == std::string::npos || colon == 0 ||
      !absl::SimpleAtoi(address.substr(colon + 1), &port) || port > 65535) {
    return BadAddress(address, "it has the form HOST:PORT or unix:PATH");
  }
  return absl::OkStatus();
}

void SetLimits(grpc::ServerBuilder& builder, const RpcServerOptions& options) {
  builder.SetMaxReceiveMessageSize(kMaxRpcMessageBytes);
  builder.SetResourceQuota(
      grpc::ResourceQuota("berth").Resize(static_cast<size_t>(options.max_buffer_bytes)));
  const std::pair<const char*, int> arguments[] = {
      {GRPC_ARG_MAX_METADATA_SIZE, kMaxRpcMetadataBytes},
      {GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_streams_per_connection},
      {GRPC_ARG_KEEPALIVE_TIME_MS, RpcMillis(kServerKeepalive)},
      {GRPC_ARG_KEEPALIVE_TIMEOUT_MS, RpcMillis(kServerKeepaliveTimeout)},
      {GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1},
      {GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0},
      {GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, RpcMillis(kServerLeastPingInterval)},
      // With it a second server would silently share the port.
      {GRPC_ARG_ALLOW_REUSEPORT, 0},
  };
  for (const auto& [name, value] : arguments) builder.AddChannelArgument(name, value);
}

// `address` with the port that was bound.
std::string DialAddress(const std::string& address, int port) {
  if (!UnixPath(address).empty()) return address;
  return absl::StrCat(address.substr(0, address.rfind(':')), ":", port);
}

}  // namespace

RpcServer::RpcServer(std::unique_ptr<grpc::Server> server, std::string address, int port)
    : server_(std::move(server)), address_(std::move(address)), port_(port) {}

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(
    const RpcServerOptions& options, const std::vector<grpc::Service*>& services,
    RpcObserver* observer) {
  BERTH_RETURN_IF_ERROR(CheckAddress(options.address));
  BERTH_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ServerCredentials> credentials,
                         MakeServerCredentials(options.address, options.tls, options.plaintext));
  EnableHealthAndReflection();
  grpc::ServerBuilder builder;
  SetLimits(builder, options);
  for (grpc::Service* service : services) builder.RegisterService(service);
  if (options.other_methods != nullptr) {
    builder.RegisterCallbackGenericService(options.other_methods);
  }
  if (observer != nullptr) {
    std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> factories;
    factories.push_back(ObserveCalls(*observer));
    builder.experimental().SetInterceptorCreators(std::move(factories));
  }
  int port = 0;
  builder.AddListeningPort(options.address, credentials, &port);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) {
    return Error(Reason::kStateConflict,
                 absl::StrCat("cannot listen on ", options.address,
                              ": it is in use, or not an address of this machine"),
                 {{"address", options.address}});
  }
  const std::string path = UnixPath(options.address);
  std::unique_ptr<RpcServer> started(new RpcServer(
      std::move(server), DialAddress(options.address, port), path.empty() ? port : 0));
  if (!path.empty() && chmod(path.c_str(), options.unix_socket_mode) != 0) {
    return ErrnoToStatus(errno, absl::StrCat("chmod ", path));
  }
  return started;
}

RpcServer::~RpcServer() { Shutdown(absl::ZeroDuration()); }

void RpcServer::SetServing(Serving serving) {
  if (auto* health = server_->GetHealthCheckService(); health != nullptr) {
    health->SetServingStatus(serving == Serving::kYes);
  }
}

void RpcServer::Shutdown(absl::Duration grace) {
  if (auto* health = server_->GetHealthCheckService(); health != nullptr) health->Shutdown();
  server_->Shutdown(absl::ToChronoTime(absl::Now() + grace));
  server_->Wait();
}

}  // namespace berth
