// SPDX-License-Identifier: Apache-2.0
//
// What the listeners of a controller have in common, whether it leads or stands by.
#ifndef BERTH_CTL_CONTROLLER_DAEMON_LISTEN_H_
#define BERTH_CTL_CONTROLLER_DAEMON_LISTEN_H_

#include "berth/internal/v1/common_config.pb.h"
#include "berth/internal/v1/controller_config.pb.h"
#include "lib/rpc/authorise.h"
#include "lib/rpc/server.h"

namespace berth {

RpcServerOptions ServerOptionsOf(const internal::v1::ListenConfig& listen);

// Who may call what of the public API, and of the agents' listener.
AuthorisationPolicy ApiPolicy(const internal::v1::ControllerConfig& config);
AuthorisationPolicy LinkPolicy(const internal::v1::ControllerConfig& config);

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_DAEMON_LISTEN_H_
