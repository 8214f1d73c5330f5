// SPDX-License-Identifier: Apache-2.0
#include "lib/rpc/why_not_connected.h"

#include "absl/strings/match.h"
#include "lib/base/absl_view.h"

namespace berth {

std::string_view WhyNotConnected(std::string_view grpc_message) {
  constexpr std::string_view kHandshake =
      "the TLS handshake failed; are both sides using TLS, and its CA?";
  constexpr struct {
    std::string_view fragment;
    std::string_view cause;
  } kCauses[] = {
      {"Connection refused", "connection refused"},
      {"DNS resolution failed", "the name does not resolve"},
      {"No such file or directory", "there is no such socket"},
      {"Permission denied", "permission denied"},
      {"No route to host", "no route to host"},
      {"Network is unreachable", "the network is unreachable"},
      {"Ssl handshake failed", kHandshake},
      {"Tls handshake failed", kHandshake},
      {"SSL_ERROR", kHandshake},
      {"Connection reset", "the connection was closed; does it expect TLS?"},
      {"Socket closed", "the connection was closed"},
      {"Timeout", "no answer to the connection attempt"},
  };
  for (const auto& [fragment, cause] : kCauses) {
    if (absl::StrContains(AbslView(grpc_message), AbslView(fragment))) return cause;
  }
  return "";
}

}  // namespace berth
