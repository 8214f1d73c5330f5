// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_DAEMON_OPEN_STORE_H_
#define BERTH_CTL_CONTROLLER_DAEMON_OPEN_STORE_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "berth/internal/v1/controller_config.pb.h"
#include "berth/internal/v1/etcd_store.pb.h"
#include "lib/base/clock.h"
#include "lib/store/medium.h"
#include "lib/store/store.h"

namespace berth {

// A store that several controllers share: one of them has it open, and leads.
struct SharedStoreOptions {
  // Where others reach this controller.
  std::string api_address;
  std::string agent_link_address;
  std::string cluster_key_fingerprint;
  // Called while another leads, several times a second: who, and whether to go on waiting.
  std::function<bool(const internal::v1::EtcdLeader&)> keep_waiting;
  // Called at most once, on a thread of the store's, when another may lead now. It must not destroy
  // the store.
  std::function<void(const absl::Status&)> on_lost;
};

// Whether the store of a finished configuration is a shared one.
bool IsShared(const internal::v1::ControllerConfig& config);

// The store that a finished configuration names and that is not shared. Errors: those of the store.
absl::StatusOr<std::unique_ptr<Store>> OpenStore(const internal::v1::ControllerConfig& config);

// A shared one, when it is this controller's turn; waits for that. `clock` outlives it. Errors:
// those of the store and of the password's file; kStoreLocked when it was not to wait any more.
absl::StatusOr<std::unique_ptr<Store>> OpenSharedStore(const internal::v1::ControllerConfig& config,
                                                       Clock* clock, SharedStoreOptions options);

// Where that store is. `clock` outlives it. UNSUPPORTED: a store in memory, which only its
// controller has; INVALID_FIELD and others of the password's file.
absl::StatusOr<std::unique_ptr<StoreMedium>> StoreMediumOf(
    const internal::v1::ControllerConfig& config, Clock* clock);

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_DAEMON_OPEN_STORE_H_
