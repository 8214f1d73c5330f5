// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_DAEMON_CONTROLLER_CONFIG_H_
#define BERTH_CTL_CONTROLLER_DAEMON_CONTROLLER_CONFIG_H_

#include <string>

#include "absl/status/status.h"
#include "berth/internal/v1/controller_config.pb.h"

namespace berth {

// Fills in every default that proto/berth/internal/v1/controller_config.proto names, makes the
// paths that are relative to the file `config_path` absolute, and checks the rest. Errors:
// MISSING_FIELD, INVALID_FIELD.
absl::Status FinishControllerConfig(const std::string& config_path,
                                    internal::v1::ControllerConfig* config);

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_DAEMON_CONTROLLER_CONFIG_H_
