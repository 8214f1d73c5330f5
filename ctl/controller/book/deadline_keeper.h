// SPDX-License-Identifier: Apache-2.0
#ifndef BERTH_CTL_CONTROLLER_BOOK_DEADLINE_KEEPER_H_
#define BERTH_CTL_CONTROLLER_BOOK_DEADLINE_KEEPER_H_

#include <functional>
#include <string>

#include "absl/time/time.h"
#include "ctl/controller/book/fleet.h"
#include "ctl/controller/book/grant_tracker.h"

namespace berth {

// Releases assignments whose time is over: leases that were not renewed, grants that nobody
// attached to, what may be evicted from hosts that are drained or tainted. Never early: a
// controller that has begun to lead, or was stopped for a while, grants leases and attach time-outs
// afresh, since nobody could renew meanwhile; the deadline of a drain stays what it was.
// Thread-safe.
class DeadlineKeeper {
 public:
  struct Options {
    // A longer time between two calls of Tick() is taken for a pause of this process, or a jump of
    // its clock.
    absl::Duration longest_pause = absl::Seconds(10);
    // Something was handed to the store for the sake of `why`. May be empty.
    std::function<void(const std::string& name, const absl::Status& why)> on_release;
    // A commit that the store did not accept; it is tried again at the next Tick().
    std::function<void(const absl::Status&)> on_error;
  };

  // Both outlive the keeper.
  DeadlineKeeper(Fleet* fleet, GrantTracker* tracker, Options options);

  // Releases what is due. Call it often: deadlines are kept to the time between two calls.
  void Tick();

 private:
  void Look(const std::string& id, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  absl::Status Why(const AssignmentEntry& entry, const Fleet::Deadline& deadline) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);
  absl::Status Release(const std::string& id, const AssignmentEntry& entry, const absl::Status& why)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(fleet_->mu);

  Fleet* const fleet_;
  GrantTracker* const tracker_;
  const Options options_;
  absl::Time last_tick_ ABSL_GUARDED_BY(fleet_->mu);
};

}  // namespace berth

#endif  // BERTH_CTL_CONTROLLER_BOOK_DEADLINE_KEEPER_H_
