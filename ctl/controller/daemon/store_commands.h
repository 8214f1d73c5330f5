// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_DAEMON_STORE_COMMANDS_H_
#define BERTH_CTL_CONTROLLER_DAEMON_STORE_COMMANDS_H_

#include <vector>

#include "berth/internal/v1/controller_config.pb.h"
#include "lib/base/clock.h"
#include "lib/daemon/daemon.h"

namespace berth {

// `berth-controller store check|backup|restore|migrate`: what an administrator does to the store
// that `config` names. Both outlive the commands; `config` is finished when one is run.
std::vector<DaemonCommand> StoreCommands(const internal::v1::ControllerConfig* config,
                                         Clock* clock);

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_DAEMON_STORE_COMMANDS_H_
