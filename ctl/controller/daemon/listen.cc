// SPDX-License-Identifier: Apache-2.0
#include "ctl/controller/daemon/listen.h"

#include <utility>

#include "ctl/controller/api/methods.h"

namespace berth {
namespace {

using internal::v1::ControllerConfig;
using internal::v1::RoleBinding;

Role ToRole(RoleBinding::Role role) {
  switch (role) {
    case RoleBinding::VIEWER:
      return Role::kViewer;
    case RoleBinding::USER:
      return Role::kUser;
    case RoleBinding::OPERATOR:
      return Role::kOperator;
    case RoleBinding::ADMIN:
      return Role::kAdmin;
    case RoleBinding::AGENT:
      return Role::kAgent;
    default:
      return Role::kNone;
  }
}

AuthorisationPolicy WithRoles(AuthorisationPolicy policy, const ControllerConfig& config) {
  for (const RoleBinding& binding : config.roles()) {
    policy.bindings.push_back({.identity = binding.identity(), .role = ToRole(binding.role())});
  }
  return policy;
}

}  // namespace

RpcServerOptions ServerOptionsOf(const internal::v1::ListenConfig& listen) {
  RpcServerOptions options;
  options.address = listen.address();
  options.tls.certificate_file = listen.tls().certificate_file();
  options.tls.key_file = listen.tls().key_file();
  options.tls.ca_file = listen.tls().ca_file();
  return options;
}

AuthorisationPolicy ApiPolicy(const ControllerConfig& config) {
  return WithRoles(ControllerPolicy(), config);
}

AuthorisationPolicy LinkPolicy(const ControllerConfig& config) {
  AuthorisationPolicy policy;
  policy.methods = {{"/berth.agent.v1.AgentLink/Session", Role::kAgent}};
  // The listener is for agents alone: who reaches it without TLS is local, and taken for one.
  policy.unix_socket = Role::kAgent;
  policy.loopback = Role::kAgent;
  return WithRoles(std::move(policy), config);
}

}  // namespace berth
