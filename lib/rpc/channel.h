// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_RPC_CHANNEL_H_
#define BERTH_LIB_RPC_CHANNEL_H_

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "lib/rpc/credentials.h"

namespace grpc {
class Channel;
}

namespace berth {

struct ChannelOptions {
  std::string address = {};  // "127.0.0.1:7440", "unix:/run/berth/x.sock"
  TlsOptions tls = {};
  Plaintext plaintext = Plaintext::kLocalOnly;
  // The name that the server's certificate must have; empty: the host of `address`.
  std::string server_name = {};

  enum class Keepalive {
    kDuringCalls,  // clients that come and go
    kAlways,       // the agent link: a dead peer is noticed within kClientKeepalive + its time-out
  };
  Keepalive keepalive = Keepalive::kDuringCalls;
};

// A channel; it connects when it is first used, and again whenever it has to. Methods that change
// nothing are tried again on UNAVAILABLE (service_config.json); mutations are not: their callers
// repeat them with the same request_id. Errors: those of MakeChannelCredentials().
absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const ChannelOptions& options);

// The service config that channels use: the text of lib/rpc/service_config.json.
std::string_view ServiceConfigJson();

}  // namespace berth

#endif  // BERTH_LIB_RPC_CHANNEL_H_
