// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_DAEMON_STANDBY_H_
#define BERTH_CTL_CONTROLLER_DAEMON_STANDBY_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "berth/internal/v1/controller_config.pb.h"
#include "berth/internal/v1/etcd_store.pb.h"

namespace berth {

// The listeners of a controller that does not lead, or not yet: whoever may call is told
// NOT_LEADER, with the address of the leader in the metadata "leader" (of its API or of its agents'
// listener, as the caller came; none while nobody leads). Health is NOT_SERVING. Thread-safe.
class Standby {
 public:
  // `config` is finished and outlives the object. Errors: those of RpcServer::Start().
  static absl::StatusOr<std::unique_ptr<Standby>> Start(
      const internal::v1::ControllerConfig& config);
  // Leaves both addresses to others.
  ~Standby();
  Standby(const Standby&) = delete;
  Standby& operator=(const Standby&) = delete;

  // Where it listens, with the ports that were bound.
  const std::string& api_address() const;
  const std::string& agent_link_address() const;

  void SetLeader(const internal::v1::EtcdLeader& leader);

 private:
  class Impl;
  explicit Standby(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_DAEMON_STANDBY_H_
