// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_DAEMON_OPEN_STORE_H_
#define BERTH_CTL_CONTROLLER_DAEMON_OPEN_STORE_H_

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "berth/internal/v1/controller_config.pb.h"
#include "lib/base/clock.h"
#include "lib/store/medium.h"
#include "lib/store/store.h"

namespace berth {

// The store that a finished configuration names. `clock` outlives it. `on_lost` is called at most
// once, on a thread of the store's, when another controller may have the store now; it must not
// destroy the store. Errors: those of the store, and of the password's file.
absl::StatusOr<std::unique_ptr<Store>> OpenStore(const internal::v1::ControllerConfig& config,
                                                 Clock* clock,
                                                 std::function<void(const absl::Status&)> on_lost);

// Where that store is. `clock` outlives it. UNSUPPORTED: a store in memory, which only its
// controller has; INVALID_FIELD and others of the password's file.
absl::StatusOr<std::unique_ptr<StoreMedium>> StoreMediumOf(
    const internal::v1::ControllerConfig& config, Clock* clock);

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_DAEMON_OPEN_STORE_H_
