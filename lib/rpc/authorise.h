// SPDX-License-Identifier: Apache-2.0
//
// Who calls, and may they? The first line of every handler:
//   BERTH_ASSIGN_OR_RETURN(const PeerIdentity peer, authoriser.Authorise(*context, kMethod));
#ifndef BERTH_LIB_RPC_AUTHORISE_H_
#define BERTH_LIB_RPC_AUTHORISE_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace grpc {
class ServerContextBase;
}

namespace berth {

enum class Role : uint8_t {
  kNone,      // may do nothing
  kViewer,    // reads
  kUser,      // and makes and deletes assignments
  kOperator,  // and cordons, drains, sets quotas
  kAdmin,     // and everything else that people do
  kAgent,     // what agents do, and nothing else; no other role includes it
};

std::string_view RoleName(Role role);

// Whether one who has `held` may do what needs `required`.
bool Includes(Role held, Role required);

struct PeerIdentity {
  enum class Kind : uint8_t {
    kAnonymous,    // over the network, unauthenticated
    kLoopback,     // from this machine over TCP, unauthenticated
    kUnixSocket,   // passed the permissions of a UNIX socket (gRPC tells no uid)
    kCertificate,  // showed a certificate that was verified
  };
  Kind kind = Kind::kAnonymous;
  // Of the certificate: the subject alternative names, then the common name. Empty for other kinds.
  std::vector<std::string> names;

  // For logs and owners: the first name, else "unix", "loopback" or "anonymous".
  std::string name() const;
};

PeerIdentity IdentifyPeer(const grpc::ServerContextBase& context);

struct AuthorisationPolicy {
  struct Binding {
    // A name of a certificate; a '*' at the end stands for anything: "spiffe://fleet/agent/*".
    std::string identity;
    Role role = Role::kNone;
  };

  // Full method name ("/berth.v1.HostService/GetHost") to the role that it needs. What is not here
  // is refused to everybody.
  std::map<std::string, Role, std::less<>> methods;
  // A certificate has every role that is bound to one of its names.
  std::vector<Binding> bindings;
  Role unix_socket = Role::kAdmin;
  Role loopback = Role::kAdmin;
  Role anonymous = Role::kNone;
};

// Immutable; thread-safe.
class Authoriser {
 public:
  explicit Authoriser(AuthorisationPolicy policy) : policy_(std::move(policy)) {}

  // Who calls, when they may. kUnauthenticated: they showed no certificate, and without one they
  // may not. kPermissionDenied: they may not. Both say what role is needed and nothing of any
  // resource.
  absl::StatusOr<PeerIdentity> Authorise(const grpc::ServerContextBase& context,
                                         std::string_view method) const;
  // The decision by itself.
  absl::Status Check(const PeerIdentity& peer, std::string_view method) const;

 private:
  bool Allows(const PeerIdentity& peer, Role required) const;

  const AuthorisationPolicy policy_;
};

}  // namespace berth

#endif  // BERTH_LIB_RPC_AUTHORISE_H_
