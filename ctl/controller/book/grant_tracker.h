// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_BOOK_GRANT_TRACKER_H_
#define BERTH_CTL_CONTROLLER_BOOK_GRANT_TRACKER_H_

#include <functional>
#include <string>
#include <vector>

#include "berth/agent/v1/grant.pb.h"
#include "ctl/controller/book/fleet.h"
#include "ctl/controller/book/token.h"

namespace berth {

// What follows from the reports of agents and from capacity that comes: states are noted, a failed
// prepare is placed anew, a release ends, waiting assignments are placed. Thread-safe.
class GrantTracker {
 public:
  // Hosts that are tried before an assignment FAILS.
  static constexpr int kMaxAttempts = 3;

  // Both outlive the tracker. `on_error` hears of commits that the store did not accept; they are
  // tried again at the next Sweep().
  GrantTracker(Fleet* fleet, const TokenMaker* tokens,
               std::function<void(const absl::Status&)> on_error)
      : fleet_(fleet), tokens_(tokens), on_error_(std::move(on_error)) {}

  // News from the agent of `host_id`, over `session`; ignored when another one has taken its place.
  // What is about another generation, host or assignment than the book has is ignored too: the
  // agent was told at Welcome. A state that cannot follow what was reported before is refused.
  void Report(const std::string& host_id, const HostSession* session,
              const std::vector<agent::v1::GrantStatus>& statuses);

  // All that an agent holds, as it says in Hello. What it does not name it does not have.
  void ReportAll(const std::string& host_id, const std::vector<agent::v1::GrantStatus>& statuses)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);

  // For those who hold the fleet's mutex by another name: the analysis cannot know that it is one.
  void AssertFleetHeld() const ABSL_ASSERT_EXCLUSIVE_LOCK(fleet_->mu) { fleet_->mu.AssertHeld(); }

  // Everything that the host is to have.
  std::vector<agent::v1::DesiredGrant> DesiredFor(const std::string& host_id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);

  // Places what waits, as far as capacity goes: highest priority first, then oldest; a gang that
  // waits as a whole all at once. What does not fit does not hold up what comes after it. Also ends
  // what a store that was busy left undone. Called after capacity came, and from time to time.
  void Sweep();

  // After the commit of `record`, on the store's thread: tells its host, and does what a report
  // that came meanwhile asks for.
  void Tell(const AssignmentRecordPtr& record) ABSL_LOCKS_EXCLUDED(fleet_->mu);

 private:
  void Note(const std::string& host_id, const agent::v1::GrantStatus& status)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  // What the entry's last report asks for: the end of a release, or another host.
  void Act(AssignmentEntry* entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  void EndRelease(AssignmentEntry* entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  void PlaceAnew(AssignmentEntry* entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  void PlacePending() ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  // Puts those that wait for each other where `places` says, in one commit, or none of them.
  void PlaceParty(const std::vector<const AssignmentEntry*>& party,
                  const std::vector<placement::Placement>& places)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  // Reserves the placement and notes it in `assignment`, which held `held` before. QUOTA_EXCEEDED.
  absl::Status Charge(const placement::Placement& placement, const QuotaUse& held,
                      v1::Assignment* assignment) ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  void SubmitRecord(const AssignmentEntry& before, const AssignmentRecordPtr& record)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  std::shared_ptr<HostSession> SessionOf(const std::string& host_id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  void Forget(const std::string& host_id, const std::string& uid);

  Fleet* const fleet_;
  const TokenMaker* const tokens_;
  const std::function<void(const absl::Status&)> on_error_;
};

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_BOOK_GRANT_TRACKER_H_
