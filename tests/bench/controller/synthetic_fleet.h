// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_BENCH_CONTROLLER_SYNTHETIC_FLEET_H_
#define BERTH_TESTS_BENCH_CONTROLLER_SYNTHETIC_FLEET_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/notification.h"

namespace berth::bench {

// Of each unit.
inline constexpr int kUnitVintfs = 63;

struct FleetShape {
  int hosts = 1000;
  int units_per_host = 2;
  int gpus_per_unit = 5;
  // Raised by each start of the agents.
  int64_t incarnation = 1;

  [[nodiscard]] int devices_per_host() const { return units_per_host * gpus_per_unit; }
  // How many assignments of one device there is room for.
  [[nodiscard]] int capacity() const {
    return hosts * units_per_host * std::min(gpus_per_unit, kUnitVintfs);
  }
};

// As an agent does with its default options: below that it wants no answer to a heartbeat.
inline constexpr int kAsksAfterSilenceSeconds = 5;

// Told on gRPC's threads that an agent has heard of a grant that it is to prepare.
using OnGrant = std::function<void(const std::string& assignment_uid)>;

class SyntheticAgent;

// Agents without hosts: each keeps a session of the agent link with heartbeats, and reports every
// grant that it is told of as PREPARED at once, or as GONE when it is released.
class SyntheticFleet {
 public:
  // `on_grant` may be null.
  SyntheticFleet(const std::string& agents_address, const FleetShape& shape,
                 OnGrant on_grant = nullptr);
  ~SyntheticFleet();
  SyntheticFleet(const SyntheticFleet&) = delete;
  SyntheticFleet& operator=(const SyntheticFleet&) = delete;

  // Waits until the controller has welcomed every agent.
  absl::Status AwaitWelcome();
  int connections() const { return connections_; }
  // Of all Welcomes: how many grants the controller wants.
  int64_t desired() const;
  // OK while every session stands.
  absl::Status Check() const;

 private:
  void SendHeartbeats();

  const OnGrant on_grant_;
  int connections_ = 0;
  std::vector<std::unique_ptr<SyntheticAgent>> agents_;
  absl::Notification stop_;
  std::thread heartbeats_;
};

}  // namespace berth::bench

#endif  // BERTH_TESTS_BENCH_CONTROLLER_SYNTHETIC_FLEET_H_
