// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_AGENT_DAEMON_AGENT_METRICS_H_
#define BERTH_AGENT_DAEMON_AGENT_METRICS_H_

#include <map>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "berth/agent/v1/agent_link.pb.h"
#include "berth/agent/v1/grant.pb.h"
#include "berth/agent/v1/inventory.pb.h"
#include "lib/base/ids.h"
#include "lib/daemon/metrics.h"

namespace berth {

// What one agent counts. Thread-safe.
class AgentMetrics {
 public:
  // `metrics` outlives it; null: nothing is counted.
  explicit AgentMetrics(Metrics* metrics);

  // What came with `epoch` was answered with `status`. Counted when it is FENCED: as "store" when
  // the epoch is of another store than the host's, else as "epoch".
  void NoteEpoch(const agent::v1::Epoch& epoch, const absl::Status& status);
  // An older generation of a grant was refused, or an intent that goes back on the known one.
  void NoteFencedGeneration();

  // A session with the controller has got as far as Welcome.
  void NoteWelcome();
  // How many grants of the agent before this one were taken up at the start.
  void NoteAdopted(size_t grants);
  // One that is GONE holds nothing and is not counted.
  void NoteGrant(const agent::v1::GrantStatus& status);
  // The hardware of a unit, or what the kernel tells of it, has failed a grant.
  void NoteUnitFault(const UnitId& unit, const absl::Status& fault);
  // Of each unit.
  void ShowLostVintfs(const agent::v1::Inventory& inventory);

 private:
  void NoteFenced(const std::string& what);
  void ShowGrants(v1::Assignment::Observed observed) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  Metrics* const metrics_;
  absl::Mutex mu_;
  std::map<std::string, v1::Assignment::Observed> grants_ ABSL_GUARDED_BY(mu_);  // by uid
};

}  // namespace berth

#endif  // BERTH_AGENT_DAEMON_AGENT_METRICS_H_
