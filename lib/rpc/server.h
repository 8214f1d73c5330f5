// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_RPC_SERVER_H_
#define BERTH_LIB_RPC_SERVER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "lib/rpc/credentials.h"
#include "lib/rpc/interceptors.h"

namespace grpc {
class CallbackGenericService;
class Server;
class Service;
}  // namespace grpc

namespace berth {

struct RpcServerOptions {
  // "127.0.0.1:7440", "[::]:7440", "unix:/run/berth/x.sock"; port 0 takes a free one.
  std::string address = {};
  TlsOptions tls = {};
  Plaintext plaintext = Plaintext::kLocalOnly;
  // Calls at once on one connection; more wait at the client.
  int max_streams_per_connection = 1000;
  // What gRPC may use for buffers; connections are closed to stay below.
  int64_t max_buffer_bytes = int64_t{512} << 20;
  // Answers calls of all other methods than those of `services` and of health and reflection; the
  // caller keeps it as it keeps the services. Null: gRPC does, with UNIMPLEMENTED.
  grpc::CallbackGenericService* other_methods = nullptr;
  // Mode of a UNIX socket. Whoever can open it is admin unless the authoriser says otherwise.
  uint32_t unix_socket_mode = 0660;
};

enum class Serving { kNo, kYes };

// One gRPC listener with the standard health service (grpc.health.v1) and reflection (v1alpha, what
// gRPC 1.51 has). Thread-safe.
class RpcServer {
 public:
  // Listens and serves `services`, which the caller keeps, as it keeps `observer` (may be null),
  // until the server is gone. Health starts as SERVING. A UNIX socket whose owner has died is
  // replaced; one that somebody answers on is not.
  //   those of MakeServerCredentials()
  //   kInvalidField    `address` cannot be parsed
  //   kStateConflict   somebody listens there already; metadata "address"
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(
      const RpcServerOptions& options, const std::vector<grpc::Service*>& services,
      RpcObserver* observer);

  // Shutdown() without grace, if it has not been called.
  ~RpcServer();
  RpcServer(const RpcServer&) = delete;
  RpcServer& operator=(const RpcServer&) = delete;

  // Where to dial: the address given, with the port that was bound.
  const std::string& address() const { return address_; }
  // 0 for UNIX sockets.
  int port() const { return port_; }

  // What the health service says, for the server as a whole ("") and for each service.
  void SetServing(Serving serving);

  // Says NOT_SERVING, takes no more calls, waits up to `grace` for those that run, cancels the rest
  // and waits until their handlers are done. Streams do not end by themselves: finish them with
  // SHUTTING_DOWN first. Calling it again is harmless.
  void Shutdown(absl::Duration grace);

 private:
  RpcServer(std::unique_ptr<grpc::Server> server, std::string address, int port);

  const std::unique_ptr<grpc::Server> server_;
  const std::string address_;
  const int port_;
};

}  // namespace berth

#endif  // BERTH_LIB_RPC_SERVER_H_
