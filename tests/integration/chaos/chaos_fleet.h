// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_TESTS_INTEGRATION_CHAOS_CHAOS_FLEET_H_
#define BERTH_TESTS_INTEGRATION_CHAOS_CHAOS_FLEET_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/integration/chaos/host_networks.h"
#include "tests/integration/chaos/schedule.h"
#include "tests/integration/chaos/users.h"
#include "tests/integration/cluster.h"
#include "tests/integration/controllers.h"
#include "tests/integration/history.h"
#include "tests/integration/middleman.h"

namespace berth::testing {

// Three controllers on an etcd of three, and hosts: what a schedule does to them, and what must be
// true meanwhile and afterwards. Of one thread; what is broken is a failure of the test.
class ChaosFleet {
 public:
  // `networks` outlives it; null: hosts share that of this process.
  ChaosFleet(size_t hosts, HostNetworks* networks);

  // Does the faults of a round, and looks at the fleet all the while. When it returns all have been
  // mended.
  void Suffer(const std::vector<ScheduledFault>& round);
  // Waits until users pause and all records agree; holds them against what users were told.
  void Check(Users& users);

  [[nodiscard]] const std::string& folder() const { return cluster_.folder(); }
  [[nodiscard]] std::vector<std::string> controllers() const { return controllers_.apis(); }
  // How often each kind of fault has struck.
  [[nodiscard]] const std::map<std::string, uint64_t>& struck() const { return struck_; }
  // What users and hosts say. Nothing in it is a violation, or Check() has failed.
  History& history() { return history_; }
  // From the end of the faults until an audit of all hosts was clean, of each Check().
  [[nodiscard]] const std::vector<absl::Duration>& audits() const { return audits_; }
  // The same until all agreed.
  [[nodiscard]] const std::vector<absl::Duration>& recoveries() const { return recoveries_; }

 private:
  using Place = std::pair<Target, size_t>;

  void Strike(const ScheduledFault& fault);
  void Mend(const ScheduledFault& fault);
  void StrikeHost(const ScheduledFault& fault, Host& host);
  void MendHost(const ScheduledFault& fault, Host& host);
  // Controllers that have lost the lead end, and are started again; nobody else ends by himself.
  void KeepUp();
  void LookAtNextHost();
  bool IsStruck(Target target, size_t index) const { return ill_.contains({target, index}); }
  // One leads and the others stand by.
  bool IsInOrder();
  // Every host has answered, and nothing differs.
  void AwaitCleanAudit();
  void CheckBook();
  Host& host(size_t index) { return cluster_.host(names_.at(index)); }

  History history_{History::Hold::kWhilePlaced};
  Cluster cluster_;
  HostNetworks* const networks_;
  Controllers controllers_;
  std::vector<std::unique_ptr<Middleman>> middlemen_;  // of each controller
  std::vector<std::string> names_;                     // of hosts
  std::set<Place> ill_;
  std::map<std::string, uint64_t> struck_;
  std::set<std::string> checked_gone_;  // assignments whose end was looked at
  size_t next_look_ = 0;
  absl::Time mended_;
  std::vector<absl::Duration> audits_;
  std::vector<absl::Duration> recoveries_;
};

}  // namespace berth::testing

#endif  // BERTH_TESTS_INTEGRATION_CHAOS_CHAOS_FLEET_H_
