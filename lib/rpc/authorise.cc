// SPDX-License-Identifier: Apache-2.0
#include "lib/rpc/authorise.h"

#include <grpcpp/server_context.h>

#include <algorithm>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "lib/base/absl_view.h"
#include "lib/base/status.h"
#include "lib/rpc/text.h"

namespace berth {
namespace {

// Names of the properties of gRPC's authentication context (grpc/grpc_security_constants.h).
constexpr char kSubjectAlternativeName[] = "x509_subject_alternative_name";
constexpr char kCommonName[] = "x509_common_name";

constexpr size_t kMaxNameBytes = 256;

void AddNames(const grpc::AuthContext& context, const char* property, PeerIdentity& peer) {
  for (const grpc::string_ref& value : context.FindPropertyValues(property)) {
    const std::string name(value.data(), value.size());
    // A name that had to be changed to be shown must not match anything.
    if (PrintableUtf8(name, kMaxNameBytes) != name) continue;
    if (std::find(peer.names.begin(), peer.names.end(), name) == peer.names.end()) {
      peer.names.push_back(name);
    }
  }
}

// "ipv4:127.0.0.1:4711", "ipv6:%5B::1%5D:4711", "ipv6:[::1]:4711".
bool IsLoopbackPeer(std::string_view peer) {
  for (const char* prefix : {"ipv4:127.", "ipv6:%5B::1%5D:", "ipv6:[::1]:"}) {
    if (absl::StartsWith(AbslView(peer), prefix)) return true;
  }
  return false;
}

bool Matches(std::string_view pattern, std::string_view name) {
  if (!pattern.empty() && pattern.back() == '*') {
    return absl::StartsWith(AbslView(name), AbslView(pattern.substr(0, pattern.size() - 1)));
  }
  return pattern == name;
}

}  // namespace

std::string_view RoleName(Role role) {
  switch (role) {
    case Role::kNone:
      return "none";
    case Role::kViewer:
      return "viewer";
    case Role::kUser:
      return "user";
    case Role::kOperator:
      return "operator";
    case Role::kAdmin:
      return "admin";
    case Role::kAgent:
      return "agent";
  }
  return "none";
}

bool Includes(Role held, Role required) {
  if (held == Role::kNone || required == Role::kNone) return false;
  if (held == Role::kAgent || required == Role::kAgent) return held == required;
  return held >= required;
}

std::string PeerIdentity::name() const {
  switch (kind) {
    case Kind::kCertificate:
      return names.empty() ? "unnamed" : names.front();
    case Kind::kUnixSocket:
      return "unix";
    case Kind::kLoopback:
      return "loopback";
    case Kind::kAnonymous:
      break;
  }
  return "anonymous";
}

PeerIdentity IdentifyPeer(const grpc::ServerContextBase& context) {
  PeerIdentity peer;
  const std::shared_ptr<const grpc::AuthContext> auth = context.auth_context();
  if (auth != nullptr && auth->IsPeerAuthenticated()) {
    peer.kind = PeerIdentity::Kind::kCertificate;
    AddNames(*auth, kSubjectAlternativeName, peer);
    AddNames(*auth, kCommonName, peer);
    return peer;
  }
  const std::string address = context.peer();
  if (absl::StartsWith(address, "unix:") || absl::StartsWith(address, "unix-abstract:")) {
    peer.kind = PeerIdentity::Kind::kUnixSocket;
  } else if (IsLoopbackPeer(address)) {
    peer.kind = PeerIdentity::Kind::kLoopback;
  }
  return peer;
}

bool Authoriser::Allows(const PeerIdentity& peer, Role required) const {
  switch (peer.kind) {
    case PeerIdentity::Kind::kCertificate:
      break;
    case PeerIdentity::Kind::kUnixSocket:
      return Includes(policy_.unix_socket, required);
    case PeerIdentity::Kind::kLoopback:
      return Includes(policy_.loopback, required);
    case PeerIdentity::Kind::kAnonymous:
      return Includes(policy_.anonymous, required);
  }
  return std::any_of(policy_.bindings.begin(), policy_.bindings.end(), [&](const auto& binding) {
    return Includes(binding.role, required) &&
           std::any_of(peer.names.begin(), peer.names.end(),
                       [&](const auto& name) { return Matches(binding.identity, name); });
  });
}

absl::Status Authoriser::Check(const PeerIdentity& peer, std::string_view method) const {
  const auto entry = policy_.methods.find(method);
  const Role required = entry == policy_.methods.end() ? Role::kNone : entry->second;
  if (Allows(peer, required)) return absl::OkStatus();
  const bool authenticated = peer.kind == PeerIdentity::Kind::kCertificate;
  return Error(authenticated ? Reason::kPermissionDenied : Reason::kUnauthenticated,
               absl::StrCat(peer.name(), " may not call ", AbslView(method),
                            ", which needs the role ", AbslView(RoleName(required)),
                            authenticated ? "" : "; show a client certificate that has it"),
               {{"method", std::string(method)}, {"role", std::string(RoleName(required))}});
}

absl::StatusOr<PeerIdentity> Authoriser::Authorise(const grpc::ServerContextBase& context,
                                                   std::string_view method) const {
  PeerIdentity peer = IdentifyPeer(context);
  BERTH_RETURN_IF_ERROR(Check(peer, method));
  return peer;
}

}  // namespace berth
