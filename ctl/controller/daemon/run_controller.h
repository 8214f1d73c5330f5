// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_DAEMON_RUN_CONTROLLER_H_
#define BERTH_CTL_CONTROLLER_DAEMON_RUN_CONTROLLER_H_

#include "absl/status/status.h"
#include "berth/internal/v1/controller_config.pb.h"
#include "lib/daemon/daemon.h"

namespace berth {

// Runs a controller until it is told to stop. Not OK: it could not start, or it ended because it
// must start anew; the service manager does that.
absl::Status RunController(const internal::v1::ControllerConfig& config, Daemon& daemon);

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_DAEMON_RUN_CONTROLLER_H_
