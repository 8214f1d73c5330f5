// SPDX-License-Identifier: Apache-2.0
#include "lib/rpc/credentials.h"

#include <fcntl.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "lib/base/absl_view.h"
#include "lib/base/status.h"
#include "lib/base/unique_fd.h"

namespace berth {
namespace {

using grpc::experimental::FileWatcherCertificateProvider;

absl::Status NotUsable(const std::string& path, std::string_view what) {
  // OpenSSL's queue is per thread; what is left in it would show up in somebody else's error.
  const char* detail = ERR_reason_error_string(ERR_peek_error());
  absl::Status status =
      Error(Reason::kInvalidField,
            absl::StrCat(path, ": ", AbslView(what),
                         detail == nullptr ? "" : absl::StrCat(" (", detail, ")")),
            {{"path", path}});
  ERR_clear_error();
  return status;
}

absl::Status CheckReadable(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.valid()) return absl::OkStatus();
  return WithMetadata(ErrnoToStatus(errno, absl::StrCat("open ", path)), "path", path);
}

struct FreeSslContext {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};

// gRPC's file watcher logs unusable files and then fails every handshake without a word to either
// side, so they are tried first.
absl::Status CheckFiles(const TlsOptions& tls) {
  for (const std::string& path : {tls.certificate_file, tls.key_file, tls.ca_file}) {
    if (!path.empty()) BERTH_RETURN_IF_ERROR(CheckReadable(path));
  }
  const std::unique_ptr<SSL_CTX, FreeSslContext> context(SSL_CTX_new(TLS_method()));
  if (context == nullptr) return Error(Reason::kOutOfMemory, "SSL_CTX_new failed");
  ERR_clear_error();
  if (!tls.certificate_file.empty()) {
    if (SSL_CTX_use_certificate_chain_file(context.get(), tls.certificate_file.c_str()) != 1) {
      return NotUsable(tls.certificate_file, "not a PEM certificate chain");
    }
    // Also compares it with the certificate.
    if (SSL_CTX_use_PrivateKey_file(context.get(), tls.key_file.c_str(), SSL_FILETYPE_PEM) != 1) {
      return NotUsable(tls.key_file, "not the PEM private key of the certificate");
    }
  }
  if (!tls.ca_file.empty() &&
      SSL_CTX_load_verify_locations(context.get(), tls.ca_file.c_str(), nullptr) != 1) {
    return NotUsable(tls.ca_file, "not a PEM file of CA certificates");
  }
  return absl::OkStatus();
}

absl::Status Require(const std::string& value, std::string_view field, std::string_view why) {
  if (!value.empty()) return absl::OkStatus();
  return Error(Reason::kMissingField,
               absl::StrCat("TLS needs ", AbslView(field), ": ", AbslView(why)),
               {{"field", std::string(field)}});
}

absl::Status CheckPlaintext(std::string_view address, Plaintext plaintext) {
  if (plaintext == Plaintext::kAnywhere || IsLocalAddress(address)) return absl::OkStatus();
  return Error(Reason::kPermissionDenied,
               absl::StrCat("no TLS is configured for ", AbslView(address),
                            ", which is not a UNIX socket or a loopback address"),
               {{"address", std::string(address)}});
}

std::shared_ptr<FileWatcherCertificateProvider> WatchFiles(const TlsOptions& tls) {
  const auto seconds = std::clamp<int64_t>(absl::ToInt64Seconds(tls.refresh), 1, 3600);
  return std::make_shared<FileWatcherCertificateProvider>(
      tls.key_file, tls.certificate_file, tls.ca_file, static_cast<unsigned>(seconds));
}

}  // namespace

bool IsLocalAddress(std::string_view address) {
  absl::string_view rest = AbslView(address);
  if (absl::StartsWith(rest, "unix:") || absl::StartsWith(rest, "unix-abstract:")) return true;
  for (const char* scheme : {"dns:///", "ipv4:", "ipv6:"}) {
    if (absl::ConsumePrefix(&rest, scheme)) break;
  }
  const size_t colon = rest.rfind(':');
  const absl::string_view host = rest.substr(0, colon);
  const bool loopback4 =
      absl::StartsWith(host, "127.") && host.find_first_not_of("0123456789.") == host.npos;
  return colon != rest.npos && (loopback4 || host == "[::1]" || host == "localhost");
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    std::string_view address, const TlsOptions& tls, Plaintext plaintext) {
  if (tls.empty()) {
    BERTH_RETURN_IF_ERROR(CheckPlaintext(address, plaintext));
    return grpc::InsecureServerCredentials();
  }
  BERTH_RETURN_IF_ERROR(Require(tls.certificate_file, "certificate_file", "a server shows one"));
  BERTH_RETURN_IF_ERROR(Require(tls.key_file, "key_file", "the certificate's private key"));
  BERTH_RETURN_IF_ERROR(CheckFiles(tls));
  grpc::experimental::TlsServerCredentialsOptions options(WatchFiles(tls));
  options.watch_identity_key_cert_pairs();
  if (!tls.ca_file.empty()) {
    options.watch_root_certs();
    options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return grpc::experimental::TlsServerCredentials(options);
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeChannelCredentials(
    std::string_view address, const TlsOptions& tls, Plaintext plaintext) {
  if (tls.empty()) {
    BERTH_RETURN_IF_ERROR(CheckPlaintext(address, plaintext));
    return grpc::InsecureChannelCredentials();
  }
  BERTH_RETURN_IF_ERROR(Require(tls.ca_file, "ca_file", "what the server must descend from"));
  const bool mutual = !tls.certificate_file.empty() || !tls.key_file.empty();
  if (mutual) {
    BERTH_RETURN_IF_ERROR(Require(tls.certificate_file, "certificate_file", "key_file is set"));
    BERTH_RETURN_IF_ERROR(Require(tls.key_file, "key_file", "certificate_file is set"));
  }
  BERTH_RETURN_IF_ERROR(CheckFiles(tls));
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(WatchFiles(tls));
  options.watch_root_certs();
  if (mutual) options.watch_identity_key_cert_pairs();
  return grpc::experimental::TlsCredentials(options);
}

}  // namespace berth
