// SPDX-License-Identifier: Apache-2.0
#include "agent/daemon/agent_metrics.h"

#include <algorithm>
#include <utility>

#include "lib/base/status.h"

namespace berth {
namespace {

constexpr char kFenced[] = "berth_agent_fenced_total";
constexpr char kFencedHelp[] =
    "What was refused because something newer is known, by what of it was too old";
constexpr char kGrants[] = "berth_agent_grants";
constexpr char kGrantsHelp[] = "Grants of this host that are not GONE, by state";
constexpr char kSessions[] = "berth_agent_sessions_total";
constexpr char kSessionsHelp[] = "Sessions with a controller that got as far as Welcome";
constexpr char kAdopted[] = "berth_agent_adopted_grants";
constexpr char kAdoptedHelp[] = "Grants that were taken up from the agent before this one";
constexpr char kLostVintfs[] = "berth_agent_lost_vintfs";
constexpr char kLostVintfsHelp[] = "VINTFs of a unit that a VMM has not given back";
constexpr char kFaults[] = "berth_agent_unit_faults_total";
constexpr char kFaultsHelp[] = "Failures of a unit's hardware that a grant met, by reason";

}  // namespace

// Each series that alerts may be built on is there from the start, with 0.
AgentMetrics::AgentMetrics(Metrics* metrics) : metrics_(metrics) {
  if (metrics_ == nullptr) return;
  for (const char* what : {"store", "epoch", "generation"}) {
    metrics_->AddCounter(kFenced, kFencedHelp, {{"what", what}});
  }
  metrics_->AddCounter(kSessions, kSessionsHelp);
  metrics_->AddGauge(kAdopted, kAdoptedHelp);
}

void AgentMetrics::NoteFenced(const std::string& what) {
  if (metrics_ != nullptr) metrics_->AddCounter(kFenced, kFencedHelp, {{"what", what}}).Increment();
}

void AgentMetrics::NoteEpoch(const agent::v1::Epoch& epoch, const absl::Status& status) {
  if (ReasonOf(status) != Reason::kFenced) return;
  NoteFenced(MetadataOf(status)["store_uid"] == epoch.store_uid() ? "epoch" : "store");
}

void AgentMetrics::NoteFencedGeneration() { NoteFenced("generation"); }

void AgentMetrics::NoteWelcome() {
  if (metrics_ != nullptr) metrics_->AddCounter(kSessions, kSessionsHelp).Increment();
}

void AgentMetrics::NoteAdopted(size_t grants) {
  if (metrics_ != nullptr) {
    metrics_->AddGauge(kAdopted, kAdoptedHelp).Set(static_cast<double>(grants));
  }
}

void AgentMetrics::ShowGrants(v1::Assignment::Observed observed) {
  const auto count = std::count_if(grants_.begin(), grants_.end(), [observed](const auto& grant) {
    return grant.second == observed;
  });
  metrics_->AddGauge(kGrants, kGrantsHelp, {{"state", v1::Assignment::Observed_Name(observed)}})
      .Set(static_cast<double>(count));
}

void AgentMetrics::NoteGrant(const agent::v1::GrantStatus& status) {
  if (metrics_ == nullptr) return;
  const v1::Assignment::Observed now = status.observed();
  absl::MutexLock lock(&mu_);
  const auto known = grants_.find(status.assignment_uid());
  const auto before = known == grants_.end() ? v1::Assignment::GONE : known->second;
  if (before == now) return;
  if (now == v1::Assignment::GONE) {
    grants_.erase(known);
  } else {
    grants_[status.assignment_uid()] = now;
    ShowGrants(now);
  }
  if (before != v1::Assignment::GONE) ShowGrants(before);
}

void AgentMetrics::NoteUnitFault(const UnitId& unit, const absl::Status& fault) {
  if (metrics_ == nullptr) return;
  const std::string reason(ReasonName(ReasonOf(fault)));
  metrics_->AddCounter(kFaults, kFaultsHelp, {{"unit", unit.str()}, {"reason", reason}})
      .Increment();
}

void AgentMetrics::ShowLostVintfs(const agent::v1::Inventory& inventory) {
  if (metrics_ == nullptr) return;
  for (const v1::Unit& unit : inventory.units()) {
    metrics_->AddGauge(kLostVintfs, kLostVintfsHelp, {{"unit", unit.id()}}).Set(unit.lost_vintfs());
  }
}

}  // namespace berth
