// SPDX-License-Identifier: Apache-2.0
//
// The part of Grant for attach_mode HAND_OFF: a VMM that makes its own ioctls.
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "agent/grants/grant.h"
#include "lib/base/status.h"
#include "lib/vmm/berth_vmm_wire.h"

namespace berth {

// Proves that the devices can be had, and keeps nothing: a VMM gets a context of its own, and what
// is bound here could not be bound there.
absl::Status Grant::BuildHandOff(const GrantPlan& plan) {
  if (plan.devices.size() > BERTH_VMM_MAX_HAND_OFF_DEVICES) {
    return Error(Reason::kTooLarge,
                 absl::StrCat("attach_mode HAND_OFF: ", plan.devices.size(), " devices, at most ",
                              BERTH_VMM_MAX_HAND_OFF_DEVICES, " can be handed off"));
  }
  BERTH_RETURN_IF_ERROR(HandOff::CheckAllowed(env_.options.kernel));
  if (!bound_.has_value() || bound_->devices.size() != plan.devices.size()) {
    bound_.reset();
    BERTH_ASSIGN_OR_RETURN(bound_, BoundContext::Bind(env_.options.kernel, plan.devices, {}));
    env_.claims->NoteBound(uid_);
    // These may be others than those that were reset, or somebody else had them in between.
    devices_reset_ = false;
  }
  BERTH_RETURN_IF_ERROR(ResetHandedOff());
  bound_.reset();
  return absl::OkStatus();
}

// Whoever had the devices has left no trace in them: what `bound_` holds is reset, once after each
// VMM.
absl::Status Grant::ResetHandedOff() {
  if (!(hand_off() || context_lost_) || devices_reset_ || !bound_.has_value())
    return absl::OkStatus();
  BERTH_RETURN_IF_ERROR(bound_->ResetDevices(*env_.options.devices));
  devices_reset_ = true;
  CountVintfs();
  return absl::OkStatus();
}

absl::StatusOr<std::vector<UniqueFd>> Grant::HandOut(uint64_t session) {
  if (!attached(session)) return Error(Reason::kNoSession, "the session has ended; say HELLO");
  if (session_->confirmed) {
    return Error(Reason::kStateConflict, "the fds were handed off, and that was confirmed");
  }
  if (!handed_.has_value()) {
    TakeVintfs(VintfUse::Share::kMayHave);
    fds_given_ = true;
    BERTH_ASSIGN_OR_RETURN(handed_, HandOff::Open(env_.options.kernel, held_));
    devices_reset_ = false;
  }
  return handed_->Duplicate();
}

absl::Status Grant::CheckUnconfirmed(uint64_t session) const {
  if (!attached(session)) return Error(Reason::kNoSession, "the session has ended; say HELLO");
  if (session_->confirmed) return Error(Reason::kStateConflict, "confirmed already");
  if (!handed_.has_value()) return Error(Reason::kStateConflict, "nothing was handed off");
  return absl::OkStatus();
}

absl::Status Grant::Confirm(uint64_t session, const Vmm& holder, UniqueFd process) {
  BERTH_RETURN_IF_ERROR(CheckUnconfirmed(session));
  session_->confirmed = true;
  session_->holder = holder;
  if (process.valid()) std::swap(session_->process, process);
  if (absl::Status status = Keep(); !status.ok()) {
    session_->confirmed = false;
    session_->holder = {};
    if (process.valid()) std::swap(session_->process, process);
    return status;
  }
  handed_.reset();
  last_vmm_ = holder;
  return absl::OkStatus();
}

}  // namespace berth
