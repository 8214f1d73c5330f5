// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_LIB_RPC_CREDENTIALS_H_
#define BERTH_LIB_RPC_CREDENTIALS_H_

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace grpc {
class ChannelCredentials;
class ServerCredentials;
}  // namespace grpc

namespace berth {

// PEM files. They are read again every `refresh`, so that certificates can be rotated without a
// restart: replace all files in one step (rename a folder or a symlink); a pair that does not
// match leaves the old one in force.
struct TlsOptions {
  std::string certificate_file = {};  // this side's chain
  std::string key_file = {};          // its private key
  std::string ca_file = {};           // what the peer's certificate must descend from
  absl::Duration refresh = absl::Seconds(30);

  [[nodiscard]] bool empty() const {
    return certificate_file.empty() && key_file.empty() && ca_file.empty();
  }
};

// Where a connection without TLS is accepted.
enum class Plaintext {
  kLocalOnly,  // UNIX sockets and loopback addresses
  kAnywhere,   // the operator has said so
};

// Whether nobody outside this machine can be at the other end: "unix:...", "unix-abstract:...",
// "127.x.y.z:port", "[::1]:port", "localhost:port", also behind "dns:///", "ipv4:" or "ipv6:".
bool IsLocalAddress(std::string_view address);

// Credentials for listening on `address`. Without TLS: insecure, where `plaintext` allows it. With
// TLS, certificate_file and key_file are required; with ca_file, clients must show a certificate
// that descends from it.
//   kMissingField, kInvalidField   the options contradict themselves, a file is no PEM or the key
//   is
//                                  not that of the certificate; metadata "path"
//   kPermissionDenied              plaintext is not accepted for this address
//   the errno of open(2)           a file cannot be read
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    std::string_view address, const TlsOptions& tls, Plaintext plaintext);

// Credentials for dialling `address`. With TLS, ca_file is required; certificate_file and key_file
// make it mutual. Errors as above.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeChannelCredentials(
    std::string_view address, const TlsOptions& tls, Plaintext plaintext);

}  // namespace berth

#endif  // BERTH_LIB_RPC_CREDENTIALS_H_
