// SPDX-License-Identifier: Apache-2.0
#include "lib/rpc/channel.h"

#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/support/channel_arguments.h>

#include "lib/base/status.h"
#include "lib/rpc/limits.h"

namespace berth {
absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const ChannelOptions& options) {
  BERTH_ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ChannelCredentials> credentials,
                         MakeChannelCredentials(options.address, options.tls, options.plaintext));
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(std::string(ServiceConfigJson()));
  arguments.SetMaxReceiveMessageSize(kMaxRpcMessageBytes);
  arguments.SetInt(GRPC_ARG_MAX_METADATA_SIZE, kMaxRpcMetadataBytes);
  const bool always = options.keepalive == ChannelOptions::Keepalive::kAlways;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, RpcMillis(kClientKeepalive));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, RpcMillis(kClientKeepaliveTimeout));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, always ? 1 : 0);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // gRPC's default backs off to two minutes, which is long for a controller that has restarted.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5000);
  if (!options.server_name.empty()) arguments.SetSslTargetNameOverride(options.server_name);
  return grpc::CreateCustomChannel(options.address, credentials, arguments);
}

}  // namespace berth
